// GET /script for node:http and all that is built on it: the suite chooses events, your code sends them.
import { setTimeout as sleep } from "node:timers/promises";

/** `response` is a stream that your server has opened, `send(response, event)` its way to send an event. */
export async function script(request, response, send) {
  const { searchParams } = new URL(request.url, "http://localhost");
  const items = JSON.parse(Buffer.from(searchParams.get("events"), "base64url"));
  for (const { delay_ms, times = 1, repeat = 1, then, ...event } of items) {
    if (then === "hold") return; // The stream stays open and silent.
    if (event.data !== undefined) event.data = event.data.repeat(times);
    for (let n = 0; n < repeat && !response.destroyed; n++) {
      if (delay_ms) await sleep(delay_ms);
      send(response, event);
    }
  }
  response.end();
}
