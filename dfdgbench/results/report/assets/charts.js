// Charts: what a mark says when it is pointed at, which lines are drawn, and which measure.
(function charts() {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the tables of numbers say the same
  document.body.append(tip);

  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const place = mark.getBoundingClientRect();
    const left = Math.min(place.left + place.width / 2 + 8, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, place.top - tip.offsetHeight - 6)}px`;
  });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  for (const input of document.querySelectorAll("[data-show-line]")) {
    input.checked = true;
    input.addEventListener("change", () => {
      for (const line of document.querySelectorAll(`[data-line="${input.dataset.showLine}"]`)) {
        line.classList.toggle("off", !input.checked);
      }
      input.closest(".line").classList.toggle("off", !input.checked);
    });
  }

  const measures = [...document.querySelectorAll("[data-measure]")];
  function measure(key) {
    for (const part of measures) part.hidden = part.dataset.measure !== key;
  }
  const inputs = [...document.querySelectorAll("[data-measures] input")];
  for (const input of inputs) {
    if (input.defaultChecked) { input.checked = true; measure(input.value); }
    input.addEventListener("change", () => measure(input.value));
  }
})();
