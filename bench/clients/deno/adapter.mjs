// The EventSource that Deno has built in.

import { adapt, options, versionOf } from "../adapter.mjs";

adapt({
  name: "deno",
  version: versionOf(new URL("node_modules/deno/package.json", import.meta.url)),
  capabilities: ["R", "St", "Gz", "Ch"],
  open: (url) => new EventSource(url, { withCredentials: options.withCredentials }),
});
