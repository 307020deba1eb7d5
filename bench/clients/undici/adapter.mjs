import { Agent, EventSource } from "undici";

import { adapt, options, versionOf } from "../adapter.mjs";

const dispatcher = new Agent({ eventSource: { maxEventSize: options.maxEventBytes } });

adapt({
  name: "undici",
  version: versionOf(new URL("node_modules/undici/package.json", import.meta.url)),
  capabilities: ["R", "St", "Lm", "Gz", "Ch"],
  open: (url) =>
    new EventSource(url, {
      withCredentials: options.withCredentials,
      node: { dispatcher, reconnectionTime: options.initialDelayMs },
    }),
});
