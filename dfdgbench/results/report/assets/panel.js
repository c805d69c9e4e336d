// The panel: the runs behind a cell, or one run. Everything is put in as text, never as markup.
(function panel() {
  const source = document.getElementById("data");
  if (!source) return;
  const dialog = document.getElementById("panel");
  const title = document.getElementById("panel-h");
  const body = document.getElementById("panel-body");
  let parsed = null;
  const data = () => (parsed ??= JSON.parse(source.textContent));

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return element;
  }
  const isolated = (text) => make("bdi", {}, text);

  function table(label, header, rows, chosen) {
    const head = make("tr", {}, ...header.map((name) => make("th", { scope: "col" }, isolated(name))));
    const lines = rows.map((row, number) => make("tr", chosen(number) ? { class: "chosen" } : {},
      make("th", { scope: "row" }, row[0]), ...row.slice(1).map((value) => make("td", {}, value ?? ""))));
    const made = make("table", {}, make("caption", {}, isolated(label)), make("thead", {}, head), make("tbody", {}, ...lines));
    return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, made);
  }

  function facts(run) {
    const made = make("dl", { class: "facts" });
    for (const [name, value] of [["state", run.state], ...run.facts]) {
      made.append(make("div", {}, make("dt", {}, name), make("dd", {}, isolated(value))));
    }
    return made;
  }

  function records(run, step) {
    const keys = data().keys[run.keys];
    if (!run.records.length) return make("p", {}, "No record.");
    const label = data().whole ? "Records, as fractions" : "The last record, as fractions";
    return table(label, ["step", ...keys], run.records, (number) => run.records[number][0] === step);
  }

  function hparams(run) {
    const values = data().hparams[run.hparams];
    if (!values.length) return make("p", {}, "No hyper-parameters.");
    const made = make("ul", { class: "hparams" });
    for (const [name, value] of values) made.append(make("li", {}, isolated(name), " = ", isolated(value)));
    return make("details", {}, make("summary", {}, `${values.length} hyper-parameters`), made);
  }

  function about(run, step) {
    const parts = [facts(run)];
    for (const note of run.notes) parts.push(make("p", { class: "quiet" }, isolated(note)));
    return [...parts, hparams(run), records(run, step)];
  }

  function open(heading, parts) {
    title.replaceChildren(isolated(heading));
    body.replaceChildren(...parts);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    title.focus();
  }

  function openRun(number) {
    const run = data().runs[number];
    open(run.name, about(run, null));
  }

  function openCell(number) {
    const cell = data().cells[number];
    const parts = [make("p", { class: "quiet" }, isolated(cell.block))];
    if (cell.mixed) parts.push(make("p", {}, "The runs differ in what computed them: ", isolated(cell.mixed)));
    if (cell.values.length) parts.push(table("Value of each trial", ["trial", "value"],
      cell.values.map(([trial, value]) => [trial, value]), () => false));
    parts.push(make("h3", {}, cell.runs.length === 1 ? "The run behind it" : `The ${cell.runs.length} runs behind it`));
    cell.runs.forEach((place, index) => {
      const run = data().runs[place];
      const step = cell.steps[index];
      const more = make("details", cell.runs.length === 1 ? { open: "" } : {},
        make("summary", {}, isolated(run.name), ` · chosen at step ${step}`), ...about(run, step));
      parts.push(more);
    });
    open(cell.title, parts);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cell], [data-run], [data-close]");
    if (!button) {
      if (event.target === dialog) dialog.close(); // beside the panel
      return;
    }
    if (button.dataset.cell !== undefined) openCell(Number(button.dataset.cell));
    else if (button.dataset.run !== undefined) openRun(Number(button.dataset.run));
    else dialog.close();
  });
})();
