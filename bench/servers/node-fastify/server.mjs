import sse from "@fastify/sse";
import Fastify from "fastify";
import { setTimeout as sleep } from "node:timers/promises";

const fastify = Fastify({ forceCloseConnections: true });
const rooms = new Map();

function room(name) {
  if (!rooms.has(name)) rooms.set(name, new Set());
  return rooms.get(name);
}

await fastify.register(sse);

fastify.get("/ticks", { sse: "only" }, async (request, reply) => {
  for (let id = 1; reply.sse.isConnected; id++) {
    await reply.sse.send({ id: String(id), data: `tick ${id}` });
    await sleep(500);
  }
});

fastify.get("/rooms/:name", { sse: "only" }, async (request, reply) => {
  const readers = room(request.params.name);
  reply.sse.keepAlive();
  reply.sse.sendHeaders();
  readers.add(reply.sse);
  reply.sse.onClose(() => readers.delete(reply.sse));
});

fastify.post("/rooms/:name", async (request, reply) => {
  for (const reader of room(request.params.name)) await reader.send({ data: request.body.text });
  return reply.code(204).send();
});

await fastify.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
