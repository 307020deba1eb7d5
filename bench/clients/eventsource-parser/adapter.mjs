// The parser below most clients in JavaScript, behind the fetch of Bun.

import { createParser } from "eventsource-parser";

import { options, say, versionOf } from "../adapter.mjs";
import { accept, adaptReader, request } from "../reader.mjs";

async function read(url, signal) {
  const response = await fetch(url, { ...request, signal });
  accept(response);
  // As its README keeps the last event id.
  let lastEventId = "";
  const parser = createParser({
    maxBufferSize: options.maxEventBytes,
    onId: (id) => (lastEventId = id),
    onEvent: ({ event, data }) => say({ k: "event", type: event ?? "message", data, id: lastEventId }),
    onComment: (text) => say({ k: "comment", text }),
    onError: (error) => {
      // All others are lines that it ignores.
      if (error.type === "max-buffer-size-exceeded") throw error;
    },
  });
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    if (signal.aborted) return;
    parser.feed(text);
  }
}

adaptReader({
  name: "eventsource-parser",
  version: versionOf(new URL("node_modules/eventsource-parser/package.json", import.meta.url)),
  capabilities: ["Cm", "Hd", "Bd", "Lm", "Gz"],
  read,
});
