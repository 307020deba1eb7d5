import { EventSource } from "eventsource";

import { adapt, options, versionOf } from "../adapter.mjs";

adapt({
  name: "eventsource",
  version: versionOf(new URL("node_modules/eventsource/package.json", import.meta.url)),
  capabilities: ["R", "St", "Hd", "Gz", "Ch"],
  open: (url) =>
    new EventSource(url, {
      withCredentials: options.withCredentials,
      // The way its README shows for headers.
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...options.headers } }),
    }),
});
