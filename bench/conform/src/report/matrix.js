// Hides the rows of the matrix, and the cases below it if they are on this page, that are not asked for.
const form = document.querySelector(".filter");
const search = form.querySelector("[type=search]");
const differ = form.querySelector("[type=checkbox]");
const count = form.querySelector("output");
const rows = [...document.querySelectorAll(".matrix tr[data-case]")].map((row) => ({
  row,
  article: document.getElementById(row.dataset.case),
  text: `${row.querySelector(".case").textContent} ${row.querySelector(".claim").textContent} ${row.closest("tbody").rows[0].textContent}`.toLowerCase(),
}));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let hidden = 0;
  for (const { row, article, text } of rows) {
    const isShown = words.every((word) => text.includes(word)) && !(differ?.checked && "same" in row.dataset);
    row.hidden = !isShown;
    article?.toggleAttribute("hidden", !isShown);
    hidden += !isShown;
  }
  for (const body of document.querySelectorAll(".matrix tbody")) {
    body.hidden = [...body.rows].every((row) => !row.dataset.case || row.hidden);
  }
  for (const category of document.querySelectorAll(".of-category")) {
    category.hidden = [...category.querySelectorAll("article")].every((it) => it.hidden);
  }
  count.textContent = hidden === 0 ? `${rows.length} cases` : `${rows.length - hidden} of ${rows.length} cases, ${hidden} hidden`;
}

// A link leads to its case, whatever is asked for.
function reveal() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !target.closest("[hidden]")) return;
  form.reset();
  filter();
  target.scrollIntoView();
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", reveal);
filter();
reveal();
