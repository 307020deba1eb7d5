// Shared by the adapters in JavaScript of clients that are no EventSource: their user asks, reads, and closes.

import { onCommand, options, say } from "./adapter.mjs";

/** The headers and the body that a case asks for, in the words of `fetch`. */
export const request = {
  method: options.method,
  body: options.body,
  headers: { Accept: "text/event-stream", "Cache-Control": "no-cache", ...options.headers },
};

/** The part that a parser leaves to its user: the status and the type of the answer, as the standard has them. */
export function accept(response) {
  const type = response.headers.get("content-type") ?? "none";
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  if (!/^text\/event-stream *(;|$)/i.test(type)) throw new Error(`Content-Type ${type}`);
  say({ k: "open" });
}

/** Runs one case for a client that does not come back: `read(url, signal)` reads to the end of its stream. */
export async function adaptReader({ name, version, capabilities, read }) {
  if (process.argv.includes("--describe")) return say({ name, version, capabilities });
  const stop = new AbortController();
  onCommand((command) => command === "close" && stop.abort());
  try {
    await read(process.argv.at(-1), stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) {
      console.error(error);
      say({ k: "error", fatal: true });
    }
  }
  say({ k: "closed" });
}
