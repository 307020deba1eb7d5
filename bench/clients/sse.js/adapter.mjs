// sse.js, an EventSource on XMLHttpRequest, in a page of Chromium.

import { readFileSync } from "node:fs";

import { options, say, versionOf } from "../adapter.mjs";
import { runInPage } from "../chromium/session.mjs";
import { page } from "./page.mjs";

const path = (file) => new URL(`node_modules/sse.js/${file}`, import.meta.url);

if (process.argv.includes("--describe")) {
  say({ name: "sse.js", version: versionOf(path("package.json")), capabilities: ["R", "St", "Hd", "Bd", "Gz", "Ch"] });
} else {
  // A script instead of a module: the page has no server for one.
  const library = readFileSync(path("lib/sse.js"), "utf8").replace(/^export .*$/m, "");
  runInPage(`${library}; (${page})(SSE, ${JSON.stringify(process.argv.at(-1))}, ${JSON.stringify(options)})`);
}
