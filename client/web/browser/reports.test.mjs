// The reports and the site of sse-bench in Chromium, opened from the disk: what is kept, rendered as today.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";

import axe from "axe-core";

import { launch } from "./chromium.mjs";
import { cargo, root, target } from "./servers.mjs";

const WIDTHS = [390, 768, 1400];
const SCHEMES = ["light", "dark"];

/** One test, beside others on two busy cores. */
const TEST_MS = 120_000;

const folder = `${target}/reports`;
const results = `${root}bench/results`;

/** The newest folder of results whose name ends so, and that has this file. */
function newest(file, suffix = "") {
  const holds = (name) => name.endsWith(suffix) && readdirSync(`${results}/${name}`).includes(file);
  return `${results}/${readdirSync(results).filter(holds).sort().at(-1)}`;
}

let browser;
before(async () => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  cpSync(`${newest("report.json")}/report.json`, `${folder}/report.json`);
  const sseBench = (...args) => cargo("run", "--quiet", "--locked", "-p", "sse-bench", "--", ...args);
  sseBench("report", folder);
  const verdicts = newest("matrix.html", "-conformance");
  const files = readdirSync(verdicts).filter((it) => it.endsWith(".json")).map((it) => `${verdicts}/${it}`);
  sseBench("conform", "report", ...files, "--html", `${folder}/matrix.html`);
  sseBench("site", "--out", `${folder}/site`);
  browser = await launch();
});
after(() => browser?.close());

/** Opens a page of the folder; what its console says is an error. */
async function visiting(name, options, run) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(`${error}`));
  try {
    await page.goto(pathToFileURL(`${folder}/${name}`).href);
    await run(page);
    assert.deepEqual(said, []);
  } finally {
    await context.close();
  }
}

/** Elements that are wider than the window or than what holds them, unless they may be scrolled with the keyboard. */
function cutOff() {
  const wide = [...document.querySelectorAll("main *, header *")].filter((it) => {
    if (it.closest("svg, .scroll, pre") || it.checkVisibility?.() === false) return false;
    const box = it.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 1 || (it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).overflowX !== "visible"));
  });
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wide.unshift(page);
  return wide.slice(0, 5).map((it) => `${it.tagName} ${it.className}: ${it.textContent.slice(0, 60)}`);
}

/** Words of charts that leave their drawing. */
function cutWords() {
  const isCut = (it) => {
    const [words, drawing] = [it, it.ownerSVGElement].map((part) => part.getBoundingClientRect());
    return words.left < drawing.left - 1 || words.right > drawing.right + 1 || words.top < drawing.top - 1 || words.bottom > drawing.bottom + 1;
  };
  return [...document.querySelectorAll("svg text")].filter(isCut).map((it) => it.textContent).slice(0, 5);
}

/** Tables on paper: buttons to sort by have no use there, and a table that is one has its heads. */
function wrongHeads() {
  const isWrong = (table) => (getComputedStyle(table).display === "table") !== (getComputedStyle(table.tHead).display !== "none");
  return [...document.querySelectorAll("table.sortable")].filter(isWrong).map((it) => it.className);
}

/** Of parts that are there dozens of times one or two are left: axe looks at each element for long. */
function leaveSome() {
  const some = { ".of-category": 1, "article": 6, ".matrix tbody": 1, ".matrix tbody tr": 8, "main > h3 ~ .table": 2, ".lines": 2, ".sortable tbody tr": 20, "dl.cases": 1, "dl.cases > *": 8, ".all > a": 12 };
  for (const [selector, count] of Object.entries(some)) [...document.querySelectorAll(selector)].slice(count).forEach((it) => it.remove());
}

/** A page is whole at each width and in print, and axe finds nothing in light and dark. */
async function isSound(page, name, widths) {
  const picture = (it) => `${folder}/${name.replaceAll("/", "-")}-${it}.png`;
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({ path: picture(width) });
    assert.deepEqual(await page.evaluate(cutOff), [], `${width} px`);
    assert.deepEqual(await page.evaluate(cutWords), [], `words of charts at ${width} px`);
  }
  await page.emulateMedia({ media: "print" });
  await page.setViewportSize({ width: 718, height: 1000 });
  assert.deepEqual(await page.evaluate(cutOff), [], "in print");
  assert.deepEqual(await page.evaluate(cutWords), [], "words of charts in print");
  assert.deepEqual(await page.evaluate(wrongHeads), [], "heads in print");
  await page.evaluate(leaveSome);
  await page.evaluate(axe.source);
  for (const colorScheme of SCHEMES) {
    for (const width of widths) {
      await page.emulateMedia({ media: "screen", colorScheme });
      await page.setViewportSize({ width, height: 900 });
      // A page of the site lets nothing be fetched, its own style neither.
      const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"], preload: false, rules: { "target-size": { enabled: true } } }));
      const found = violations.map((it) => `${it.id}: ${it.nodes[0].html.slice(0, 120)}`);
      assert.deepEqual(found, [], `${width} px, ${colorScheme}`);
    }
  }
}

describe("the reports", () => {
  for (const name of ["report.html", "matrix.html"]) {
    it(`${name} has no fault that axe finds, and nothing is cut off`, { timeout: TEST_MS }, () =>
      visiting(name, {}, (page) => isSound(page, name, WIDTHS)));
  }

  it("the summary is a table but on a phone, where values stand in lines", { timeout: TEST_MS }, () =>
    visiting("report.html", {}, async (page) => {
      const table = page.locator("table.sortable").first();
      const form = () => table.evaluate((it) => getComputedStyle(it).display);
      const heads = () => table.locator("thead th:visible").count();
      for (const [width, least] of [[768, 6], [1100, 10], [1400, 13]]) {
        await page.setViewportSize({ width, height: 900 });
        assert.equal(await form(), "table", `${width} px`);
        assert.ok((await heads()) >= least, `${width} px: ${await heads()}`);
      }
      await page.emulateMedia({ media: "print" });
      await page.setViewportSize({ width: 718, height: 1000 });
      assert.equal(await form(), "table", "in print");
      await page.emulateMedia({ media: "screen" });
      await page.setViewportSize({ width: 390, height: 900 });
      assert.equal(await form(), "block");
      /** In a line of cards each value stands as high as its neighbours. */
      const uneven = await table.locator("tbody tr").evaluateAll((rows) => rows.flatMap((row) => {
        const tops = new Map();
        for (const cell of row.querySelectorAll("td")) {
          const words = document.createRange();
          words.selectNodeContents(document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode());
          const line = Math.round(cell.getBoundingClientRect().top);
          tops.set(line, [...(tops.get(line) ?? []), Math.round(words.getBoundingClientRect().top)]);
        }
        return [...tops.values()].filter((it) => Math.max(...it) - Math.min(...it) > 1);
      }));
      assert.deepEqual(uneven, []);
    }));

  it("a click on a title sorts a table, rows without a number last", { timeout: TEST_MS }, () =>
    visiting("report.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const table = page.locator("table.sortable").first();
      const column = (await table.locator("thead th").allTextContents()).indexOf("CPU ns/event");
      const values = () => table.locator("tbody tr").evaluateAll((rows, column) => rows.map((row) => Number.parseFloat(row.cells[column]?.textContent ?? "")), column);
      const numbers = async () => (await values()).filter((it) => !Number.isNaN(it));
      const sorted = (await numbers()).sort((a, b) => a - b);
      const button = table.getByRole("button", { name: "CPU ns/event" });
      await button.click();
      assert.deepEqual(await numbers(), sorted);
      assert.deepEqual((await values()).slice(0, sorted.length), sorted);
      await button.click();
      assert.deepEqual((await values()).slice(0, sorted.length), sorted.reverse());
      assert.equal(await table.locator("th[aria-sort=descending]").count(), 1);
    }));

  it("a chart with lines shows its values at the pointer and with the arrow keys", { timeout: TEST_MS }, () =>
    visiting("report.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const chart = page.locator(".lines").first();
      await chart.focus();
      const values = () => chart.locator("output").allTextContents();
      assert.match((await values())[0], /^\d.* ms$/);
      const at = chart.locator(".at");
      const before = await at.textContent();
      await page.keyboard.press("ArrowLeft");
      assert.notEqual(await at.textContent(), before);
      const svg = await chart.locator("svg").last().boundingBox();
      await page.mouse.move(svg.x + svg.width * 0.3, svg.y + svg.height / 2);
      assert.match(await at.textContent(), /^at \d.* %$/);
      assert.ok((await chart.locator("svg").count()) > 3, "a small chart for each server");
      assert.equal(await chart.locator("svg .one").count(), await chart.locator("svg").count(), "the place is marked in each");
      await chart.locator(".legend button").nth(1).focus();
      assert.ok((await chart.locator("path.faded").count()) > 3);
    }));

  it("the matrix is searched by id, slug and word, and says how much it hides", { timeout: TEST_MS }, () =>
    visiting("matrix.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const shown = () => page.locator(".matrix tr[data-case]:visible").count();
      const status = page.getByRole("status");
      const all = await shown();
      assert.equal(await status.textContent(), `${all} cases`);
      const search = page.getByRole("searchbox");
      for (const [words, most] of [["S5.01", 1], ["early-head", 1], ["last-event-id resume", all - 1]]) {
        await search.fill(words);
        const count = await shown();
        assert.ok(count > 0 && count <= most, `${words}: ${count}`);
        assert.equal(await status.textContent(), `${count} of ${all} cases, ${all - count} hidden`);
        assert.equal(await page.locator("article:visible").count(), count);
      }
      await search.fill("");
      await page.getByLabel("only rows that differ").check();
      const differing = await shown();
      assert.ok(differing > 0 && differing < all / 2, `${differing} of ${all}`);
      const isSame = (rows) => rows.some((row) => new Set([...row.querySelectorAll("td .v")].map((it) => it.textContent).filter((it) => it !== "–")).size < 2);
      assert.equal(await page.locator(".matrix tr[data-case]:visible").evaluateAll(isSame), false);
      // A link to a case that is hidden shows it.
      await search.fill("no such case");
      assert.equal(await shown(), 0);
      await page.evaluate(() => { location.hash = "S5.01"; });
      await page.locator("article[id='S5.01']:visible").waitFor();
    }));

  it("the summary of the matrix is a table, its numbers below each other", { timeout: TEST_MS }, () =>
    visiting("matrix.html", {}, async (page) => {
      for (const width of [768, 1400]) {
        await page.setViewportSize({ width, height: 900 });
        const lefts = await page.locator(".summary tr :nth-child(4)").evaluateAll((cells) => cells.map((it) => Math.round(it.getBoundingClientRect().right)));
        assert.ok(lefts.length > 2 && new Set(lefts).size === 1, `${width} px: ${lefts}`);
      }
    }));

  it("the heads of the matrix stay in sight", { timeout: TEST_MS }, () =>
    visiting("matrix.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const head = page.locator(".matrix thead .run").nth(3);
      await page.locator(".matrix tr[data-case]").nth(80).scrollIntoViewIfNeeded();
      const box = await head.boundingBox();
      assert.ok(box.y >= 0 && box.y + box.height < 900, JSON.stringify(box));
      const isOnTop = ([x, y]) => document.elementFromPoint(x, y).closest("th")?.className.includes("run");
      assert.ok(await page.evaluate(isOnTop, [box.x + box.width / 2, box.y + box.height / 2]));
    }));
});

describe("the site", () => {
  const pages = ["index", "servers", "clients", "cases", "rules", "sets", "figures", "scaling", "methodology", "case/S5.01", "case/C2.01", "server/axum", "client/undici"];
  for (const name of pages) {
    it(`${name} has no fault that axe finds, and nothing is cut off`, { timeout: TEST_MS }, () =>
      visiting(`site/${name}.html`, {}, async (page) => {
        const style = await page.evaluate(() => getComputedStyle(document.body).maxWidth);
        assert.notEqual(style, "none", "the style is not there");
        await isSound(page, `site/${name}`, [390, 1400]);
      }));
  }

  it("links to failed cases stand on the line of their row", { timeout: TEST_MS }, () =>
    visiting("site/index.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const apart = await page.locator("table.sortable").first().locator("tbody tr").evaluateAll((rows) => rows.flatMap((row) => {
        const link = row.querySelector("td.long a");
        const bottom = (node) => {
          const words = document.createRange();
          words.selectNodeContents(node);
          return words.getClientRects()[0].bottom;
        };
        return link ? [Math.abs(bottom(link.firstChild) - bottom(row.querySelector("td.n").firstChild))] : [];
      }));
      assert.ok(apart.length > 10 && Math.max(...apart) <= 1, `${apart}`);
    }));

  it("asks no other host, and works without a script", { timeout: TEST_MS }, () =>
    visiting("site/index.html", { javaScriptEnabled: false }, async (page) => {
      const asked = [];
      page.on("request", (request) => asked.push(request.url()));
      await page.reload();
      assert.deepEqual(asked.filter((it) => !it.startsWith("file:") && !it.startsWith("data:")), []);
      await page.getByRole("link", { name: "Servers", exact: true }).click();
      await page.locator(".matrix").waitFor();
    }));

  it("a reader goes from the picture to the bytes of a failure, and on to its program", { timeout: TEST_MS }, () =>
    visiting("site/index.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      await page.locator("svg.picture a text").first().click();
      await page.getByRole("heading", { name: "Bytes of one that fails" }).waitFor();
      assert.match(await page.locator("pre").first().textContent(), /ms > /);
      const result = page.locator("details.result[open]").first();
      const name = await result.locator("summary b").textContent();
      await result.getByRole("link", { name: /^all of / }).click();
      await page.getByRole("heading", { name: `Verdicts: ${name}` }).waitFor();
    }));

  it("its matrix is searched, and a letter leads to the result of its program", { timeout: TEST_MS }, () =>
    visiting("site/servers.html", { viewport: { width: 1400, height: 900 } }, async (page) => {
      const shown = () => page.locator(".matrix tr[data-case]:visible").count();
      const all = await shown();
      await page.getByLabel("only rows that differ").check();
      assert.ok((await shown()) < all);
      const letter = page.locator(".matrix a.fail:visible").first();
      const [id, program] = (await letter.getAttribute("title")).split(/ · |: /);
      await letter.click();
      await page.getByRole("heading", { level: 1, name: new RegExp(`^${id} `) }).waitFor();
      const target = page.locator("details.result:target");
      assert.equal(await target.locator("summary b").textContent(), program);
    }));
});
