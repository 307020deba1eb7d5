// A server with its own way of sending events, which the suite sees through /script: node server.mjs PORT
import { createServer } from "node:http";
import { script } from "./script.mjs";

function open(response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
}

/** An event of any of id, event, data, retry and comment. */
function send(response, { id, event, data, retry, comment }) {
  let block = "";
  if (comment !== undefined) block += lines("", comment);
  if (event !== undefined) block += line("event", event);
  if (data !== undefined) block += lines("data", data);
  if (id !== undefined) block += line("id", id);
  if (retry !== undefined) block += line("retry", String(retry));
  response.write(`${block}\n`);
}

/** A line for each line of the value. */
function lines(field, value) {
  return value.split(/\r\n|\r|\n/).reduce((block, line) => `${block}${field}: ${line}\n`, "");
}

/** A field that has one line: a line end would begin another field. */
function line(field, value) {
  return `${field}: ${value.replace(/[\r\n\0]/g, " ")}\n`;
}

function ticks(response) {
  const timer = setInterval(() => send(response, { event: "tick", data: Date() }), 500);
  response.on("close", () => clearInterval(timer));
}

createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname !== "/ticks" && pathname !== "/script") return response.writeHead(404).end();
  open(response);
  if (pathname === "/ticks") return ticks(response);
  // In tests only: it lets any client choose what your server sends.
  script(request, response, send).catch((error) => response.destroy(error));
}).listen(Number(process.argv[2]), "127.0.0.1");
