"use strict";
// Sort a table by the column whose heading is pressed; a second press reverses. Cells without a number stay last.
for (const table of document.querySelectorAll("table.numbers")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const down = heading.classList.contains("number")
        ? heading.ariaSort !== "descending"
        : heading.ariaSort === "ascending";
      for (const other of headings) other.ariaSort = "none";
      heading.ariaSort = down ? "descending" : "ascending";
      const body = table.tBodies[0];
      const sorted = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1));
      body.append(...sorted);
    });
  });
}

function compare(a, b, sign) {
  if (a.dataset.order === undefined) return sign * a.textContent.localeCompare(b.textContent);
  if (a.dataset.order === "" || b.dataset.order === "") return (a.dataset.order === "") - (b.dataset.order === "");
  return sign * (Number(a.dataset.order) - Number(b.dataset.order));
}
