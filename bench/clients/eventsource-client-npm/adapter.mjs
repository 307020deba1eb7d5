// eventsource-client of npm, which is no EventSource: it calls back, and does not end when its server fails.

import { createEventSource } from "eventsource-client";

import { onCommand, options, say, versionOf } from "../adapter.mjs";

if (process.argv.includes("--describe")) {
  const version = versionOf(new URL("node_modules/eventsource-client/package.json", import.meta.url));
  say({ name: "eventsource-client", version, capabilities: ["R", "Cm", "Hd", "Bd", "Id", "Gz", "Ch"] });
} else {
  run(process.argv.at(-1));
}

function run(url) {
  let events = 0;
  let closed = false;
  const source = createEventSource({
    url,
    method: options.method,
    body: options.body,
    headers: options.headers,
    initialLastEventId: options.lastEventId,
    onConnect: () => say({ k: "open" }),
    onMessage: ({ event, data }) => {
      say({ k: "event", type: event ?? "message", data, id: source.lastEventId ?? "" });
      events += 1;
      if (events === options.closeAfterEvents) close();
    },
    onComment: (text) => say({ k: "comment", text }),
    onScheduleReconnect: () => say({ k: "error", fatal: false }),
    // After a 204 it closes itself, as soon as this returns; else it comes back.
    onDisconnect: () => queueMicrotask(() => source.readyState === "closed" && ended()),
  });
  const close = () => {
    source.close();
    finish();
  };
  const ended = () => {
    if (!closed) say({ k: "error", fatal: true });
    finish();
  };
  const finish = () => {
    if (!closed) say({ k: "closed" });
    closed = true;
  };
  onCommand((command) => command === "close" && close());
}
