import { adapt, options, versionOf } from "../adapter.mjs";
import { EventSource } from "../../../client/node/sse.mjs";

adapt({
  name: "node-sse",
  version: versionOf(new URL("../../../client/node/package.json", import.meta.url)),
  capabilities: ["R", "St", "Hd", "To", "Id", "Lm", "Ch"],
  open: (url) =>
    new EventSource(url, {
      headers: options.headers,
      lastEventId: options.lastEventId,
      readTimeoutMs: options.readTimeoutMs,
      retryMs: options.initialDelayMs,
      maxEventChars: options.maxEventBytes,
    }),
});
