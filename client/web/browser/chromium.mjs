// Chromium, headless.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/** Starts the Chromium of this machine: `SSE_CHROMIUM`, or the first in PATH. */
export function launch() {
  const executablePath = process.env.SSE_CHROMIUM ?? find();
  if (!executablePath) throw new Error("chromium is missing: apt-get install chromium");
  // It would look for its maker's hosts otherwise.
  const args = ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath, args });
}

function find() {
  const paths = (process.env.PATH ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
