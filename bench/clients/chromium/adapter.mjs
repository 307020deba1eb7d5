// Chromium's EventSource.

import { options, say, watch } from "../adapter.mjs";
import { page } from "./page.mjs";
import { runInPage, versionOfChromium } from "./session.mjs";

if (process.argv.includes("--describe")) {
  say({ name: "chromium", version: versionOfChromium(), capabilities: ["R", "St", "Br", "Gz", "Ch"] });
} else {
  runInPage(`(${page})(${watch}, ${JSON.stringify(process.argv.at(-1))}, ${JSON.stringify(options)})`);
}
