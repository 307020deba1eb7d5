// @microsoft/fetch-event-source, on the fetch of Node.

import { createRequire } from "node:module";

import { onCommand, options, say, versionOf } from "../adapter.mjs";

// It is made for pages, and asks for these.
globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };

const { fetchEventSource } = createRequire(import.meta.url)("@microsoft/fetch-event-source");

class FatalError extends Error {}

if (process.argv.includes("--describe")) {
  const manifest = new URL("node_modules/@microsoft/fetch-event-source/package.json", import.meta.url);
  say({ name: "fetch-event-source", version: versionOf(manifest), capabilities: ["R", "Hd", "Bd", "Gz", "Ch"] });
} else {
  run(process.argv.at(-1));
}

function run(url) {
  const { headers, method, body, closeAfterEvents } = options;
  const controller = new AbortController();
  let events = 0;
  // The handlers are those of its README; but the type is checked as it does by itself: there a charset would not do.
  const source = fetchEventSource(url, {
    headers,
    method,
    body,
    signal: controller.signal,
    openWhenHidden: true,
    async onopen({ ok, status, headers }) {
      const type = headers.get("content-type");
      if (ok && type?.startsWith("text/event-stream")) return say({ k: "open" });
      if (status >= 400 && status < 500 && status !== 429) throw new FatalError(`status ${status}`);
      throw new Error(`status ${status}, type ${type}`);
    },
    onmessage({ event, data, id }) {
      say({ k: "event", type: event || "message", data, id });
      events += 1;
      if (events === closeAfterEvents) controller.abort();
    },
    onclose() {
      throw new Error("the stream has ended");
    },
    onerror(error) {
      const fatal = error instanceof FatalError;
      say({ k: "error", fatal });
      if (fatal) throw error;
    },
  });
  const closed = () => say({ k: "closed" });
  source.then(closed, closed);
  onCommand((command) => command === "close" && controller.abort());
}
