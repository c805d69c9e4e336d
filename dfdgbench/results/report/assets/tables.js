// Tables: sorting by a heading, the choice of what cells show, and the filter of the runs.
(function tables() {
  const ORDERS = ["descending", "ascending", "none"];
  const ARROWS = { descending: "▼", ascending: "▲", none: "" };

  // What a column is sorted by: the numbers on view, ours before the published ones; or its texts.
  function keys(rows, column) {
    const cells = rows.map((row) => row.cells[column]);
    if (cells.every((cell) => cell.dataset.ours === undefined)) return cells.map((cell) => cell.textContent.trim());
    const view = document.documentElement.dataset.view;
    const ours = cells.some((cell) => cell.dataset.ours) ? "ours" : "published";
    return cells.map((cell) => cell.dataset[view === "both" ? ours : view]);
  }

  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is missing is last in both orders
    const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
    return sign * (numbers ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
  }

  function sort(table, column, order) {
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      rows.forEach((row, place) => { row.dataset.place ??= place; });
      const sign = order === "ascending" ? 1 : -1;
      const found = keys(rows, column);
      const keyed = rows.map((row, place) => [found[place], row]);
      keyed.sort(order === "none"
        ? (a, b) => a[1].dataset.place - b[1].dataset.place
        : (a, b) => compare(a[0], b[0], sign) || a[1].dataset.place - b[1].dataset.place);
      body.append(...keyed.map(([, row]) => row));
    }
  }

  function headings(table) {
    return [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  }

  function show(table, column, order) {
    headings(table).forEach((heading, number) => {
      const now = number === column ? order : "none";
      heading.setAttribute("aria-sort", now);
      heading.querySelector(".arrow").textContent = ARROWS[now];
    });
    sort(table, column, order);
  }

  for (const table of document.querySelectorAll("[data-sortable]")) {
    headings(table).forEach((heading, column) => {
      const button = document.createElement("button");
      const arrow = document.createElement("span");
      button.type = "button";
      arrow.className = "arrow";
      arrow.setAttribute("aria-hidden", "true");
      const left = heading.matches(".name, .text"); // the arrow stands where it moves no label away from its numbers
      button.append(...(left ? [...heading.childNodes, arrow] : [arrow, ...heading.childNodes]));
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = ORDERS[(ORDERS.indexOf(heading.getAttribute("aria-sort")) + 1) % ORDERS.length];
        show(table, column, order);
        const name = button.textContent.replace(/[▲▼]/g, "").trim();
        say(order === "none" ? "Original order" : `Sorted by ${name}, ${order}`);
      });
    });
  }

  for (const input of document.querySelectorAll("[data-views] input")) {
    if (input.defaultChecked) input.checked = true; // browsers bring back what was chosen before a reload
    input.addEventListener("change", () => {
      document.documentElement.dataset.view = input.value;
      for (const table of document.querySelectorAll("table.results")) {
        const column = headings(table).findIndex((heading) => heading.getAttribute("aria-sort") !== "none");
        if (column > 0) show(table, column, headings(table)[column].getAttribute("aria-sort"));
      }
      say(`Tables show ${input.parentElement.textContent.trim()}`);
    });
  }

  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase().split(/\s+/);
      let left = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        left += !row.hidden;
      }
      say(`${left} runs`);
    });
  }
})();
