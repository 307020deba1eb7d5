// A click on a title sorts its table; rows without a number stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  table.classList.add("on");
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const it of heads) it.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const text = (row) => row.cells[column]?.textContent ?? "";
      const number = (row) => Number.parseFloat(text(row).match(/\d[\d.]*/)?.[0]);
      const compare = head.classList.contains("n") ? (a, b) => number(a) - number(b) : (a, b) => text(a).localeCompare(text(b));
      const isLast = (row) => head.classList.contains("n") && (row.cells.length < heads.length || Number.isNaN(number(row)));
      const rows = [...body.rows].sort((a, b) => isLast(a) - isLast(b) || (isLast(a) ? 0 : falls ? compare(b, a) : compare(a, b)));
      body.append(...rows);
    });
  });
}
