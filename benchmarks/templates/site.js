"use strict";

// Sorts tables by a button in each header, and shows the rows, cards and lines that a filter asks for.

const NUMBER = /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?/i;

function text(cell) {
  const first = cell && cell.firstChild;
  return first ? first.textContent.trim() : "";
}

function number(words) {
  const found = NUMBER.exec(words);
  return found ? Number(found[0].replaceAll(",", "")) : NaN;
}

function sortBy(table, column, button) {
  const header = button.closest("th");
  const rows = [...table.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, text(row.cells[column])]));
  const numbers = new Map(rows.map((row) => [row, number(words.get(row))]));
  const counted = rows.filter((row) => !Number.isNaN(numbers.get(row))).length;
  const plain = rows.filter((row) => /^(–|missing|never|on |no )/.test(words.get(row))).length;
  const numeric = column > 0 && counted > 0 && counted + plain === rows.length;
  const before = header.getAttribute("aria-sort");
  const rising = before ? before === "descending" : !numeric;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  rows.sort((a, b) => {
    if (!numeric) return (rising ? 1 : -1) * words.get(a).localeCompare(words.get(b), "en", { numeric: true });
    const [x, y] = [numbers.get(a), numbers.get(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y)); // always last
    return rising ? x - y : y - x;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, column, button));
    header.append(button);
  }
}

for (const form of document.querySelectorAll("form.filters")) {
  const labels = [...form.querySelectorAll("datalist option")].map((option) => option.value);
  const task = form.elements.namedItem("task");

  const apply = () => {
    const parts = form.elements.namedItem("names").value.toLowerCase().split(",").map((part) => part.trim()).filter(Boolean);
    const wanted = (name) => !parts.length || parts.some((part) => name.toLowerCase().includes(part));
    const chosen = task ? task.value : "";
    let shown = 0;
    for (const section of document.querySelectorAll("[data-task]")) section.hidden = Boolean(chosen) && section.dataset.task !== chosen;
    for (const card of document.querySelectorAll("[data-tasks]")) card.hidden = Boolean(chosen) && !JSON.parse(card.dataset.tasks).includes(chosen);
    for (const table of document.querySelectorAll("table")) {
      if (table.tHead.rows[0].cells[0].textContent !== form.dataset.what) continue;
      const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "task");
      for (const row of table.tBodies[0].rows) {
        row.hidden = !wanted(text(row.cells[0])) || (Boolean(chosen) && column > 0 && text(row.cells[column]) !== chosen);
        shown += Number(!row.hidden);
      }
    }
    for (const drawn of form.dataset.what === "agent" ? document.querySelectorAll("[data-agent]") : []) {
      drawn.classList.toggle("faded", !wanted(labels[Number(drawn.dataset.agent)] ?? ""));
      for (const item of drawn.closest("figure").querySelectorAll(".legend li")) item.classList.toggle("faded", !wanted(item.textContent.trim()));
    }
    form.querySelector("output").textContent = parts.length || chosen ? (shown ? "" : "No row has such a name.") : "";
  };

  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply(); // a browser may have kept what was typed
}
