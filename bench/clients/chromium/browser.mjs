// Holds one headless Chromium and runs cases in it, each in a separate profile and page.
//
// Its protocol, over a Unix socket: first a line `{ origin, script }`, then `{ command: "close" }`; the answer is the
// records of the page, and a line with an exclamation mark for an error of this process. The script runs in an empty page
// of the origin: it reports by `report(line)`, and sets `closeSource`. Chromium is spoken to by its
// debugging protocol over a pipe: JSON, each message ended by NUL. https://chromedevtools.github.io/devtools-protocol/

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { findChromium, SOCKET } from "./where.mjs";

/** Without a case for this time the run is over. */
const IDLE_LIMIT_MS = 10_000;

/** Time to close in good order. */
const END_LIMIT_MS = 5_000;

const FLAGS = [
  "--headless",
  "--remote-debugging-pipe",
  "--no-first-run",
  "--no-default-browser-check",
  "--no-proxy-server",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  // No requests but those of a case, and no host but this machine.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
  // The page comes from no address, so its requests to this machine would need the user's permission.
  "--disable-features=LocalNetworkAccessChecks",
  // Many pages at a time, none of them in front.
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

// --- the debugging protocol ----------------------------------------------------------------------

class Chromium {
  #process;
  #folder = mkdtempSync(join(tmpdir(), "sse-bench-chromium-"));
  #calls = new Map();
  #sessions = new Map();
  #id = 0;

  constructor() {
    // Its sandbox does not work for root.
    const sandbox = process.getuid() === 0 ? ["--no-sandbox"] : [];
    this.#process = spawn(findChromium(), [...FLAGS, ...sandbox, `--user-data-dir=${this.#folder}`, "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.ended = new Promise((resolve) => this.#process.once("exit", resolve));
    let pieces = [];
    // A pipe to a Chromium that is gone.
    this.#process.stdio[3].on("error", () => {});
    this.#process.stdio[4].on("data", (bytes) => {
      let start = 0;
      for (let end; (end = bytes.indexOf(0, start)) >= 0; start = end + 1) {
        const message = Buffer.concat([...pieces, bytes.subarray(start, end)]);
        pieces = [];
        this.#received(JSON.parse(message));
      }
      pieces.push(bytes.subarray(start));
    });
  }

  /** Calls a method, of a page if `sessionId` is given. */
  call(method, params = {}, sessionId) {
    const id = ++this.#id;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#calls.set(id, { method, resolve, reject }));
  }

  /** Listens to the events of a page. */
  listen(sessionId, listener) {
    this.#sessions.set(sessionId, listener);
  }

  forget(sessionId) {
    this.#sessions.delete(sessionId);
  }

  async end() {
    // On `Browser.close` it ends its helper processes first. If it is killed, they still write to the folder that is
    // about to be deleted.
    this.call("Browser.close").catch(() => {});
    const impatience = setTimeout(() => this.#process.kill("SIGKILL"), END_LIMIT_MS);
    await this.ended;
    clearTimeout(impatience);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #received({ id, method, params, sessionId, result, error }) {
    if (id === undefined) return this.#sessions.get(sessionId)?.(method, params);
    const { resolve, reject, method: called } = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) reject(new Error(`${called}: ${error.message}`));
    else resolve(result);
  }
}

// --- a case --------------------------------------------------------------------------------------

async function runCase(chromium, socket) {
  let sessionId;
  const lines = createInterface({ input: socket });
  // It passes on errors of the socket: a client that was killed.
  lines.on("error", () => {});
  const gone = new Promise((resolve) => socket.once("close", resolve));
  const first = new Promise((resolve) => lines.once("line", resolve));
  const asked = await Promise.race([first, gone]);
  if (typeof asked !== "string") return;
  const { origin, script } = JSON.parse(asked);
  const commands = [];
  lines.on("line", (line) => (sessionId ? command(line) : commands.push(line)));
  // A page that is gone needs no command.
  const command = (line) => {
    call("Runtime.evaluate", { expression: `${JSON.parse(line).command}Source()` }).catch(() => {});
  };
  const call = (method, params) => chromium.call(method, params, sessionId);

  const { browserContextId } = await chromium.call("Target.createBrowserContext");
  try {
    const { targetId } = await chromium.call("Target.createTarget", { url: "about:blank", browserContextId });
    sessionId = (await chromium.call("Target.attachToTarget", { targetId, flatten: true })).sessionId;

    // An empty page of the right origin, which no server has to serve.
    const address = `${origin}/blank`;
    const loaded = new Promise((resolve, reject) => {
      let served = false;
      chromium.listen(sessionId, (method, params) => {
        if (method === "Fetch.requestPaused") {
          served = true;
          fulfil(call, params.requestId).catch(reject);
        }
        // Not the load of about:blank, which may be late.
        if (method === "Page.loadEventFired" && served) resolve();
        if (method === "Runtime.bindingCalled") socket.write(`${params.payload}\n`);
        if (method === "Inspector.targetCrashed") socket.end("!the page has crashed\n");
      });
    });
    await call("Page.enable");
    await call("Runtime.enable");
    await call("Fetch.enable", { patterns: [{ urlPattern: address }] });
    await call("Page.navigate", { url: address });
    await Promise.race([loaded, gone]);
    await call("Fetch.disable");
    await call("Runtime.addBinding", { name: "report" });
    const { exceptionDetails } = await call("Runtime.evaluate", { expression: script });
    if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
    for (const line of commands) command(line);
    await gone;
  } finally {
    chromium.forget(sessionId);
    await chromium.call("Target.disposeBrowserContext", { browserContextId });
  }
}

function fulfil(call, requestId) {
  // With an icon, so that Chromium does not ask the server for one.
  const body = Buffer.from('<!doctype html><link rel="icon" href="data:,">').toString("base64");
  const responseHeaders = [{ name: "Content-Type", value: "text/html" }];
  return call("Fetch.fulfillRequest", { requestId, responseCode: 200, responseHeaders, body });
}

// --- the server ----------------------------------------------------------------------------------

function serve() {
  const chromium = new Chromium();
  let cases = 0;
  let idle;
  const rest = () => (idle = setTimeout(end, IDLE_LIMIT_MS));
  let ending = false;
  const end = async () => {
    if (ending) return;
    ending = true;
    server.close();
    await chromium.end();
    process.exit(0);
  };
  server.on("connection", async (socket) => {
    clearTimeout(idle);
    cases += 1;
    socket.on("error", () => {});
    try {
      await runCase(chromium, socket);
    } catch (error) {
      socket.end(`!${error.message}\n`);
    }
    cases -= 1;
    if (cases === 0) rest();
  });
  chromium.ended.then(end);
  process.on("SIGTERM", end);
  rest();
}

// Of several processes that start at a time one gets the socket. A socket left by a killed process answers no client.
const server = createServer();
server.once("listening", serve);
server.once("error", () => {
  const other = connect(SOCKET);
  other.once("connect", () => process.exit(0));
  other.once("error", () => {
    rmSync(SOCKET, { force: true });
    server.once("error", () => process.exit(1));
    server.listen(SOCKET);
  });
});
server.listen(SOCKET);
