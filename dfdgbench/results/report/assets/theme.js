"use strict";
// The page works without a script; what needs one is shown once it runs.
document.documentElement.classList.add("scripted");

function say(text) {
  document.getElementById("said").textContent = text;
}

(function theme() {
  const choice = document.querySelector("[data-theme-switch]");
  const key = "dfdgbench-theme";
  function apply(value) {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  }
  // A page opened from a disk may have no storage; the switch works all the same.
  function remembered() { try { return localStorage.getItem(key) || ""; } catch { return ""; } }
  function remember(value) { try { localStorage.setItem(key, value); } catch { /* for this view only */ } }
  choice.value = ["light", "dark"].includes(remembered()) ? remembered() : "";
  apply(choice.value);
  choice.addEventListener("change", () => { apply(choice.value); remember(choice.value); });
})();
