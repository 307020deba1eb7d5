// Takes the pictures of the page that client/README.md shows: node client/web/browser/picture.mjs
//
// After one drop of the connection of Ticks, and with tasks that are done, so that On the wire has its connection back.

import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { launch } from "./chromium.mjs";
import { Server, build, servers } from "./servers.mjs";
import { Visit, messages, state, ticks } from "./visit.mjs";

/** The bytes of both. Each reader of the README downloads them. */
const MAX_BYTES = 250_000;

const folder = fileURLToPath(new URL("../../pictures/", import.meta.url));
mkdirSync(folder, { recursive: true });

const server = await Server.start(build(servers[0]), { args: ["--tick-interval-ms", "500"] });
const browser = await launch();
let bytes = 0;
for (const colorScheme of ["light", "dark"]) {
  const visit = await Visit.begin(browser, server, { colorScheme, viewport: { width: 1280, height: 1000 } });
  const page = await visit.open();
  for (const panel of ["messages", "ticks", "wire", "simulation"]) await state(page, panel, /^Open/);
  await page.locator("#topic").fill(`lobby-${colorScheme}`);
  await page.locator("#topic").press("Tab");
  await state(page, "messages", /^Open/);
  await ticks(page, 4);
  await page.getByRole("button", { name: "Start Tasks" }).click();
  await page.getByRole("button", { name: "Drop the connection of Ticks" }).click();
  const talk = ["Is anybody there?", "Yes, in the other window.", "<img src=x onerror=alert(1)>", "Nice try. Text stays text."];
  for (const text of talk) await server.publish(`lobby-${colorScheme}`, text);
  await messages(page, talk.length);
  await state(page, "ticks", /^Open, resumed/);
  await state(page, "tasks", /^Done/);
  await page.waitForFunction(() => document.querySelectorAll("#wire-lines .dispatch").length > 4);
  await page.evaluate(() => scrollTo(0, 0));
  const devtools = await page.context().newCDPSession(page);
  // WebP is a third of PNG here.
  const image = { format: "webp", quality: 75, captureBeyondViewport: true, clip: await visible(page) };
  const { data } = await devtools.send("Page.captureScreenshot", image);
  const picture = Buffer.from(data, "base64");
  writeFileSync(`${folder}page-${colorScheme}.webp`, picture);
  bytes += picture.length;
  console.log(`client/pictures/page-${colorScheme}.webp: ${picture.length} bytes`);
  await visit.end();
}
await browser.close();
await server.kill();
if (bytes > MAX_BYTES) {
  console.error(`${bytes} bytes, at most ${MAX_BYTES}: make the window smaller`);
  process.exit(1);
}

/** The page down to the end of the chart. */
async function visible(page) {
  const { width } = page.viewportSize();
  const { y, height } = await page.locator("#simulation").boundingBox();
  return { x: 0, y: 0, width, height: Math.ceil(y + height + 16), scale: 1 };
}
