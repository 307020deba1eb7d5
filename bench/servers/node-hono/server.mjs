import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";

const app = new Hono();
const rooms = new Map();

function room(name) {
  if (!rooms.has(name)) rooms.set(name, new Set());
  return rooms.get(name);
}

app.get("/ticks", (c) =>
  streamSSE(c, async (stream) => {
    for (let id = 1; !stream.aborted; id++) {
      await stream.writeSSE({ data: `tick ${id}`, event: "tick", id: String(id) });
      await stream.sleep(500);
    }
  }),
);

app.get("/rooms/:name", (c) =>
  streamSSE(c, async (stream) => {
    const readers = room(c.req.param("name"));
    readers.add(stream);
    await new Promise((resolve) => stream.onAbort(resolve));
    readers.delete(stream);
  }),
);

app.post("/rooms/:name", async (c) => {
  const { text } = await c.req.json();
  for (const reader of room(c.req.param("name"))) reader.writeSSE({ data: text });
  return c.body(null, 204);
});

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.argv[2]) });
