// A visitor of the page: a browser context with its windows, and their messages on the console.

import { PATIENCE_MS, artefacts } from "./servers.mjs";

export const WIDE = { width: 1400, height: 1000 };
export const NARROW = { width: 390, height: 844 };

/** Windows that share storage, locks and connections, as those of one person do. */
export class Visit {
  #context;
  /** Console errors and warnings, exceptions, dialogs. There should be none. */
  said = [];
  /** Requests, in order: `{ path, request }`, or `{ foreign }` for one that left the origin. */
  requests = [];

  static async begin(browser, server, options = {}) {
    const visit = new Visit();
    visit.server = server;
    // The chart would keep both cores busy; one test asks for motion.
    visit.#context = await browser.newContext({ viewport: WIDE, reducedMotion: "reduce", ...options });
    visit.#context.setDefaultTimeout(PATIENCE_MS);
    await visit.#context.addInitScript(watch);
    return visit;
  }

  /** Runs this in each window before the page's own script. */
  async before(script) {
    await this.#context.addInitScript(script);
  }

  /** Opens the page in one more window. */
  async open() {
    const page = await this.#context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.said.push(message.text());
    });
    page.on("pageerror", (error) => this.said.push(`${error}`));
    page.on("dialog", (dialog) => {
      this.said.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol === "data:") return;
      const at = url.pathname + url.search;
      this.requests.push(url.origin === this.server.url ? { path: at, request } : { foreign: url.href });
    });
    this.answer = await page.goto(`${this.server.url}/`);
    return page;
  }

  /** How often an EventSource asked for a path, whatever the query. */
  asked(path) {
    return this.requests.filter((it) => it.path?.split("?")[0] === path && it.request.resourceType() === "eventsource");
  }

  /** Changes the interval or the step in the page's requests. */
  async reroute(path, query) {
    await this.#context.route(`${this.server.url}${path}`, (route) => route.continue({ url: `${this.server.url}${path}?${query}` }));
  }

  /** A picture of each window, under `target/page`. */
  async picture(name) {
    for (const [n, page] of this.#context.pages().entries()) {
      await page.screenshot({ path: `${artefacts}/${name}${n || ""}.png`, fullPage: true });
    }
  }

  async end() {
    await this.#context.close();
  }
}

/** In the page: the id of every tick that was ever shown, beside the page's own count; what was announced. */
function watch() {
  window.shownTicks = [];
  window.news = [];
  new MutationObserver((records) => {
    for (const { target, addedNodes } of records) {
      if (target.id === "news") window.news.push(target.textContent);
      if (target.id !== "tick-list") continue;
      for (const line of addedNodes) window.shownTicks.push(Number(line.querySelector(".id").textContent));
    }
  }).observe(document, { childList: true, subtree: true });
}

/** Waits until `count` ticks were shown; returns all of them. */
export async function ticks(page, count) {
  await page.waitForFunction((count) => window.shownTicks.length >= count, count);
  return page.evaluate(() => window.shownTicks);
}

/** Waits until the state line of a panel matches. */
export async function state(page, panel, words) {
  const line = page.locator(`#${panel} .state`);
  await line.filter({ hasText: words }).waitFor();
  return line.textContent();
}

/** Waits until the log shows `count` messages that have come; returns their texts. */
export async function messages(page, count) {
  const come = "#log :not(.sent) > .data";
  await page.waitForFunction(([come, count]) => document.querySelectorAll(come).length >= count, [come, count]);
  return page.locator(come).allTextContents();
}
