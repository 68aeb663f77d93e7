"use strict";
// Tables of numbers: sorted by a heading, searched, copied as CSV or Markdown as they stand.
{
  for (const table of document.querySelectorAll("table.numbers")) {
    makeSortable(table);
    if (table.querySelector("thead [data-column]")) addTools(table);
  }

  // A press on a heading sorts, a second one reverses. Cells without a number stay last.
  function makeSortable(table) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button")?.addEventListener("click", () => {
        const down = heading.classList.contains("number")
          ? heading.ariaSort !== "descending"
          : heading.ariaSort === "ascending";
        for (const other of headings) other.ariaSort = "none";
        heading.ariaSort = down ? "descending" : "ascending";
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1)));
      });
    });
  }

  function compare(a, b, sign) {
    if (a.dataset.order === undefined) return sign * a.textContent.localeCompare(b.textContent);
    if (a.dataset.order === "" || b.dataset.order === "") return (a.dataset.order === "") - (b.dataset.order === "");
    return sign * (Number(a.dataset.order) - Number(b.dataset.order));
  }

  function addTools(table) {
    const tools = document.createElement("div");
    tools.className = "tools";
    const said = document.createElement("span");
    said.className = "aside";
    said.setAttribute("role", "status");
    const rows = [...table.tBodies[0].rows];
    if (rows.length > 1) tools.append(searchBox(rows, said));
    for (const [label, write] of [["Copy as CSV", asCsv], ["Copy as Markdown", asMarkdown]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", async () => {
        said.textContent = (await copy(write(table))) ? "Copied." : "This browser did not allow copying.";
      });
      tools.append(button);
    }
    tools.append(said);
    table.parentElement.before(tools);
  }

  // Rows stay that have every word somewhere in their text.
  function searchBox(rows, said) {
    const box = document.createElement("input");
    box.type = "search";
    box.placeholder = "Search";
    box.setAttribute("aria-label", "Search the rows of this table");
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = `${row.textContent} ${row.querySelector("[data-name]")?.dataset.name}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      said.textContent = words.length ? `${left} of ${rows.length} rows` : "";
    });
    return box;
  }

  // --- copies: the rows that are shown, in the order in which they are shown -----------------------------------------

  function shownRows(table) {
    return [...table.tBodies[0].rows].filter((row) => !row.hidden);
  }

  // The columns of table.csv: full numbers under the names of metrics, the ends of intervals beside them.
  function asCsv(table) {
    const headings = [...table.tHead.rows[0].cells];
    const rows = shownRows(table);
    const lines = [[], ...rows.map(() => [])];
    headings.forEach((heading, column) => {
      const name = heading.dataset.column;
      const cells = rows.map((row) => row.cells[column]);
      const parts = cells.some((cell) => cell.dataset.low) ? ["order", "low", "high"] : ["order"];
      for (const part of parts) {
        lines[0].push(part === "order" ? name : `${name}_${part}`);
        cells.forEach((cell, place) => {
          const text =
            cell.dataset.order === undefined ? cell.dataset.name ?? cell.textContent.trim() : cell.dataset[part] ?? "";
          lines[place + 1].push(cell.dataset.order === undefined ? inert(text) : text);
        });
      }
    });
    return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  }

  // A text that a spreadsheet would take for a formula starts with an apostrophe.
  function inert(text) {
    return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  }

  function quoted(text) {
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  // As the page shows it: rounded, with units, intervals and marks; the best of a column in bold.
  function asMarkdown(table) {
    const headings = [...table.tHead.rows[0].cells];
    const line = (texts) => `| ${texts.join(" | ")} |`;
    return [
      line(headings.map((heading) => asText(heading))),
      line(headings.map((heading) => (heading.classList.contains("number") ? "---:" : "---"))),
      ...shownRows(table).map((row) =>
        line([...row.cells].map((cell) => (cell.classList.contains("best") ? `**${asText(cell)}**` : asText(cell)))),
      ),
      "",
    ].join("\n");
  }

  function asText(cell) {
    const copied = cell.cloneNode(true);
    copied.querySelectorAll(".unseen").forEach((part) => part.remove());
    const asides = [...copied.querySelectorAll("small")].map((part) => (part.remove(), part.textContent.trim()));
    const text = copied.textContent.replace(/\s+/g, " ").trim() + asides.map((aside) => ` (${aside})`).join("");
    const plain = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    return plain.replace(/[\\|`*_[\]]/g, "\\$&");
  }

  // A page that is opened as a file has the newer way in some browsers only.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      const before = document.activeElement;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      before?.focus();
      return done;
    }
  }
}
