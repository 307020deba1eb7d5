// A case in Chromium, for each client that lives in a page. The browser lives in a separate process (browser.mjs), which
// many cases share: the first case starts it, and it ends when no case has come for a while.

import { execFileSync, spawn } from "node:child_process";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { onCommand, options, sayLine } from "../adapter.mjs";
import { findChromium, SOCKET } from "./where.mjs";

/** A cold start on a busy machine takes seconds. */
const START_LIMIT_MS = 30_000;
const POLL_MS = 50;

export function versionOfChromium() {
  const [version] = execFileSync(findChromium(), ["--version"], { encoding: "utf8" }).match(/[0-9.]+/);
  return version;
}

/** Runs a script in an empty page. It reports by `report(line)`, and sets `closeSource`. */
export async function runInPage(script) {
  const origin = options.pageOrigin ?? new URL(process.argv.at(-1)).origin;
  const socket = await browser();
  socket.write(`${JSON.stringify({ origin, script })}\n`);
  const lines = createInterface({ input: socket });
  lines.on("line", (line) => (line[0] === "!" ? console.error(line.slice(1)) : sayLine(line)));
  // The page, or all of Chromium, has crashed.
  lines.on("error", () => {});
  socket.on("close", () => process.exit(1));
  onCommand((command) => socket.write(`${JSON.stringify({ command })}\n`));
}

async function browser() {
  const deadline = Date.now() + START_LIMIT_MS;
  let started = false;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`no Chromium behind ${SOCKET}: ${error.message}`);
    }
    if (!started) {
      const script = fileURLToPath(new URL("browser.mjs", import.meta.url));
      spawn(process.execPath, [script], { detached: true, stdio: "ignore" }).unref();
      started = true;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const socket = connect(SOCKET, () => resolve(socket));
    socket.on("error", reject);
  });
}
