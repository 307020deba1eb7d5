import express from "express";

const app = express();
const rooms = new Map();
const head = { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" };

function room(name) {
  if (!rooms.has(name)) rooms.set(name, new Set());
  return rooms.get(name);
}

app.get("/ticks", (request, response) => {
  response.writeHead(200, head);
  let n = 0;
  const timer = setInterval(() => response.write(`id: ${++n}\ndata: tick ${n}\n\n`), 500);
  request.on("close", () => clearInterval(timer));
});

app.get("/rooms/:name", (request, response) => {
  const readers = room(request.params.name);
  response.writeHead(200, head);
  response.flushHeaders();
  readers.add(response);
  request.on("close", () => readers.delete(response));
});

app.post("/rooms/:name", express.json(), (request, response) => {
  for (const reader of room(request.params.name)) {
    reader.write(`data: ${JSON.stringify(request.body)}\n\n`);
  }
  response.status(204).end();
});

app.listen(Number(process.argv[2]), "127.0.0.1");
