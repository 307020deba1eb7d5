// A client that is right but for one thing: it hands its events out when the stream has ended.

import http from "node:http";

import { Parser } from "../../../client/node/sse.mjs";
import { onCommand, say } from "../../clients/adapter.mjs";

const parser = new Parser();
const events = [];
let isClosed = false;

function end(line) {
  if (isClosed) return;
  isClosed = true;
  for (const { event: type, data, id } of events) say({ k: "event", type, data, id });
  if (line) say(line);
  say({ k: "closed" });
}

const headers = { accept: "text/event-stream", "cache-control": "no-cache" };
const request = http.get(process.argv.at(-1), { agent: false, headers }, (response) => {
  const type = (response.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
  if (response.statusCode !== 200 || type !== "text/event-stream") return end({ k: "error", fatal: true });
  say({ k: "open" });
  response.on("data", (bytes) => events.push(...[...parser.push(bytes)].filter((it) => it.event !== undefined)));
  response.on("end", () => end());
  response.on("error", () => end({ k: "error", fatal: true }));
});
request.on("error", () => end({ k: "error", fatal: true }));
onCommand((command) => {
  if (command !== "close") return;
  isClosed = true;
  say({ k: "closed" });
  request.destroy();
});
