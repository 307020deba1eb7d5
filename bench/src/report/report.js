// Values of a chart with lines: at the pointer, or with the arrow keys once it has the focus.
for (const chart of document.querySelectorAll(".lines")) {
  // One, or a small one for each server: their axes are the same.
  const svgs = [...chart.querySelectorAll("svg")];
  const where = chart.querySelector(".at");
  const items = [...chart.querySelectorAll(".legend li")];
  const lines = items.map((item) => {
    const path = chart.querySelector(`path[data-line="${item.dataset.line}"]`);
    const parts = [...chart.querySelectorAll(`svg [data-line="${item.dataset.line}"]`)];
    const value = item.appendChild(document.createElement("output"));
    const places = path?.getAttribute("d").slice(1).split("L").map((it) => Number.parseFloat(it)) ?? [];
    return { item, parts, value, places, x: path?.dataset.x.split(";") ?? [], y: path?.dataset.y.split(";") ?? [] };
  });
  const stops = [...new Set(lines.flatMap((it) => it.places))].sort((a, b) => a - b);
  const marks = svgs.map((svg) => svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path")));
  marks.forEach((mark) => mark.setAttribute("class", "one"));
  const [top, bottom] = chart.dataset.span.split(" ");
  const near = svgs[0].viewBox.baseVal.width / 40;
  let at = stops.length - 1;
  const nearest = (places, x) => places.reduce((best, it, index) => (Math.abs(it - x) < Math.abs(places[best] - x) ? index : best), 0);
  const show = (x) => {
    at = nearest(stops, x);
    marks.forEach((mark) => mark.setAttribute("d", `M${stops[at]} ${top}V${bottom}`));
    let words = "";
    for (const line of lines) {
      const index = nearest(line.places, stops[at]);
      // A line that ends before has no value here.
      const isHere = line.places.length > 0 && Math.abs(line.places[index] - stops[at]) < near;
      line.value.textContent = isHere ? line.y[index] : "";
      if (line.places[index] === stops[at]) words = line.x[index];
    }
    where.textContent = `at ${words}`;
  };
  const fade = (chosen) => lines.forEach((line) => line.parts.forEach((it) => it.classList.toggle("faded", Boolean(chosen) && line !== chosen)));
  if (stops.length === 0) continue;
  for (const svg of svgs) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      show(((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width);
    });
  }
  chart.tabIndex = 0;
  chart.addEventListener("focus", () => show(stops[at]));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target !== chart) return;
    event.preventDefault();
    show(stops[Math.min(Math.max(at + step, 0), stops.length - 1)]);
  });
  for (const line of lines) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...[...line.item.childNodes].filter((it) => it !== line.value));
    line.item.prepend(button);
    for (const begin of ["pointerenter", "focus"]) button.addEventListener(begin, () => fade(line));
    for (const end of ["pointerleave", "blur"]) button.addEventListener(end, () => fade(undefined));
  }
}
