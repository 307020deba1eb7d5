import { createServer } from "node:http";

const rooms = new Map();
const head = { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" };

function ticks(response) {
  response.writeHead(200, head);
  let n = 0;
  const timer = setInterval(() => response.write(`data: tick ${++n}\n\n`), 500);
  response.on("close", () => clearInterval(timer));
}

function join(room, response) {
  response.writeHead(200, head).flushHeaders();
  room.add(response);
  response.on("close", () => room.delete(response));
}

async function say(room, request, response) {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) text += piece;
  for (const reader of room) reader.write(`data: ${text}\n\n`);
  response.writeHead(204).end();
}

createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/ticks") return ticks(response);
  if (!pathname.startsWith("/rooms/")) return response.writeHead(404).end();
  if (!rooms.has(pathname)) rooms.set(pathname, new Set());
  const room = rooms.get(pathname);
  // A client that goes in the middle of its message is no reason to end the process.
  if (request.method === "POST") return say(room, request, response).catch(() => response.destroy());
  join(room, response);
}).listen(Number(process.argv[2]), "127.0.0.1");
