// The path of Chromium, and the socket of the process that holds it.

import { accessSync, constants } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { delimiter, join } from "node:path";

/** One browser for each user and version of these files' protocol. */
export const SOCKET = join(tmpdir(), `sse-bench-chromium-${userInfo().uid}-2.sock`);

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

export function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const name of NAMES) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  console.error("there is no Chromium: apt-get install chromium, or say where it is in CHROMIUM");
  process.exit(2);
}
