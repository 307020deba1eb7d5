// The page in Chromium, against each server of the workspace.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";

import axe from "axe-core";

import { bytesOf, files, textOf, vectorsOf, withLineEnd } from "../../node/vectors.mjs";
import { launch } from "./chromium.mjs";
import { PATIENCE_MS, Server, artefacts, build, ownAddress, servers } from "./servers.mjs";
import { NARROW, Visit, WIDE, messages, state, ticks } from "./visit.mjs";

/** Fast enough for a test, slow enough for two cores. */
const ARGS = ["--tick-interval-ms", "200"];

/** Chromium comes back after 3 s, unless a server says `retry`. */
const RECONNECTION_S = 3;

/** Windows of the page at once: one more than a browser has connections to a server. */
const WINDOWS = 7;
/** Streams of all of them together. */
const MAX_STREAMS = 4;

/** One test, in a debug build, beside all others: seven windows at each server took 78 s on a busy machine. */
const TEST_MS = 160_000;

/** Text that runs as code in a page that does not treat it as text. */
const HOSTILE = [
  `<img src=x onerror="window.hacked = 'img'">`,
  `</script><script>window.hacked = "script"</script>`,
  `"><svg onload="window.hacked = 'svg'">`,
  "\u202Egnp.exe \u202D\u2066",
  "one\ntwo\n\nid: 99\nevent: gap\ndata: {}",
  "data: x\n\nevent: close\ndata: {\"tasks\":2}\n\n",
  "&lt;b&gt; &amp; ${7 * 7} {{7 * 7}} %3Cb%3E",
  "",
];

/** The violations that the policy has to report, one by one, for [`attack`]. */
const DIRECTIVES = ["script-src-elem", "script-src-attr", "connect-src", "img-src", "style-src-elem", "frame-src", "form-action"];

const fleet = servers.map((server) => ({ ...server, binary: build(server) }));

let browser;
before(async () => {
  // Remove the pictures of an earlier run.
  rmSync(artefacts, { recursive: true, force: true });
  browser = await launch();
});
after(() => browser.close());

describe("the page", { concurrency: fleet.length }, () => {
  for (const { name, package: package_, encodings, binary } of fleet) {
    describe(name, { concurrency: false }, () => {
      let server;
      before(async () => {
        server = await Server.start(binary, { args: ARGS });
      });
      after(() => server?.kill());

      /** A test with a separate visitor; it leaves a picture behind when it fails. */
      function test(claim, run, options) {
        it(claim, { timeout: TEST_MS }, async () => {
          const visit = await Visit.begin(browser, server, options);
          try {
            await run(visit);
          } catch (error) {
            await visit.picture(`${name} failed - ${claim}`.replace(/[^\w -]/g, "")).catch(() => {});
            if (visit.said.length) error.message += `\nconsole: ${visit.said.join("\n")}`;
            throw error;
          } finally {
            await visit.end();
          }
        });
      }

      test("loads without a word on the console, and ticks arrive", async (visit) => {
        const page = await visit.open();
        assert.equal(visit.answer.status(), 200);
        assertConsecutive(await ticks(page, 5));
        await page.getByRole("button", { name: "Open Clock" }).click();
        for (const panel of ["messages", "time", "simulation"]) await state(page, panel, /^Open/);
        await page.locator("#server", { hasText: "shared encoding" }).waitFor();
        assert.equal(await page.locator("#server strong").textContent(), package_);
        await page.waitForFunction(() => /^\d\d:\d\d:\d\d$/.test(document.getElementById("clock").textContent));
        await page.waitForFunction(() => document.querySelectorAll("#prices li").length > 1);
        assert.deepEqual(visit.said, []);
        assert.deepEqual(visit.requests.filter((it) => it.foreign), []);
        await visit.picture(name);
      });

      test("seven windows live on four connections, and outlive the one that reads for all", async (visit) => {
        const windows = [];
        for (let n = 1; n <= WINDOWS; n++) {
          const page = await visit.open();
          await state(page, "messages", /^Open/);
          windows.push(page);
        }
        const [first, latest] = [windows[0], windows.at(-1)];
        assertConsecutive(await ticks(latest, 2));
        for (const panel of ["simulation", "wire"]) await state(latest, panel, /^Open/);
        for (const panel of ["ticks", "wire"]) await state(first, panel, /^Paused/);
        await server.streams(MAX_STREAMS);
        // The windows' own requests still come through.
        await say(latest, "1");
        assert.equal(visit.asked("/messages/lobby").length, 1, "one stream for all");
        // The first window has the streams; messages go on while it is closed.
        const texts = ["1"];
        const publish = async (count) => {
          for (let n = 0; n < count; n++) {
            texts.push(`${texts.length + 1}`);
            await server.publish("lobby", texts.at(-1));
          }
        };
        await publish(2);
        for (const page of windows) assert.deepEqual(await messages(page, texts.length), texts);
        const closed = windows.shift().close();
        await publish(20);
        await closed;
        await publish(2);
        for (const page of windows) assert.deepEqual(await messages(page, texts.length), texts);
        assert.match(visit.asked("/messages/lobby").at(-1).path, /\?last_event_id=/);
        await server.streams(MAX_STREAMS);
        assert.deepEqual(visit.said, []);
      }, { viewport: NARROW });

      test("tasks run to close and do not come back", async (visit) => {
        await visit.reroute("/tasks", "step_ms=40");
        const page = await visit.open();
        await page.getByRole("button", { name: "Start Tasks" }).click();
        await state(page, "tasks", /^Done/);
        await page.getByRole("button", { name: "Open Clock" }).click();
        assert.deepEqual(await page.getByRole("progressbar", { name: /^Task [12]$/ }).evaluateAll((bars) => bars.map((bar) => bar.value)), [100, 100]);
        assert.deepEqual(await page.locator(".task .done").allTextContents(), ["done", "done"]);
        // On the page's clock one sees when an EventSource that was not closed would have been back.
        await clockMoves(page, RECONNECTION_S + 2);
        assert.equal(visit.asked("/tasks").length, 1);
        await state(page, "tasks", /^Done/);
        assert.deepEqual(visit.said, []);
      });

      it("goes on without a gap when its server is killed or stopped, and started again", { timeout: TEST_MS }, async () => {
        const host = ownAddress();
        let mortal = await Server.start(binary, { host, args: ARGS });
        const visit = await Visit.begin(browser, mortal);
        try {
          const page = await visit.open();
          await state(page, "messages", /^Open/);
          await mortal.publish("lobby", "before");
          await messages(page, 1);
          await ticks(page, 3);
          for (const [n, end] of ["kill", "stop"].entries()) {
            const ended = await mortal[end]();
            if (end === "stop") assert.deepEqual(ended, { code: 0, signal: null });
            await state(page, "ticks", /^Lost/);
            const seen = (await ticks(page, 3)).length;
            mortal = await Server.start(binary, { host, port: mortal.port, args: ARGS });
            assertConsecutive(await ticks(page, seen + 3));
            assert.match(await page.locator("#tally").textContent(), new RegExp(`over ${n + 2} connections, 0 lost$`));
            const headers = await visit.asked("/ticks").at(-1).request.allHeaders();
            assert.equal(headers["last-event-id"], `${seen}`);
            // Its messages are gone with it, and the page says so.
            await page.locator("#messages .gap", { hasText: "the server has started anew" }).waitFor();
            await mortal.publish("lobby", `after ${end}`);
            await messages(page, n + 2);
          }
          assert.deepEqual(await messages(page, 3), ["before", "after kill", "after stop"]);
          // A screen reader got all of it.
          const news = await page.evaluate(() => window.news.join());
          for (const words of ["connection lost", "connected again", "gap"]) assert.match(news, new RegExp(words));
          const other = visit.said.filter((it) => !/^Failed to load resource: net::ERR_/.test(it));
          assert.deepEqual(other, []);
        } catch (error) {
          await visit.picture(`${name} failed - restarted`).catch(() => {});
          throw error;
        } finally {
          await visit.end();
          await mortal.kill();
        }
      });

      test("hostile messages stay text", async (visit) => {
        const page = await visit.open();
        await state(page, "messages", /^Open/);
        await page.locator("#wire-stream").selectOption("messages");
        await state(page, "wire", /^Open/);
        for (const text of HOSTILE) await server.publish("lobby", text);
        assert.deepEqual(await messages(page, HOSTILE.length), HOSTILE);
        // A message with several lines came as one event.
        const lines = page.locator("#wire-lines");
        await page.waitForFunction((n) => document.querySelectorAll("#wire-lines .dispatch").length >= n, HOSTILE.length);
        assert.equal(await lines.locator(".dispatch").count(), HOSTILE.length);
        assert.ok((await lines.textContent()).includes(HOSTILE[0]));
        const tags = await page.evaluate(() => {
          const inside = document.querySelectorAll("#log *, #wire-lines *");
          return [...new Set([...inside].map((it) => it.localName))].sort();
        });
        assert.deepEqual(tags, ["div", "span"]);
        assert.equal(await page.evaluate(() => window.hacked), undefined);
        await page.locator("#topic").fill("<b>");
        await page.locator("#topic").press("Tab");
        assert.equal(await page.locator("#messages-path").textContent(), "/messages/lobby");
        assert.deepEqual(visit.said, []);
      });

      test("its policy lets no other script run and no request leave", async (visit) => {
        const trap = await Trap.start();
        try {
          const page = await visit.open();
          await state(page, "messages", /^Open/);
          await page.evaluate(attack, trap.url);
          await page.waitForFunction((all) => all.every((it) => window.blocked.includes(it)), DIRECTIVES);
          assert.deepEqual(await page.evaluate(() => window.ran), []);
          const before = (await ticks(page, 1)).length;
          assertConsecutive(await ticks(page, before + 2));
          assert.deepEqual(trap.requests, []);
        } finally {
          await trap.end();
        }
      });

      for (const encoding of encodings.filter((it) => it !== "shared")) {
        it(`works with the ${encoding} encoding`, { timeout: TEST_MS }, async () => {
          const other = await Server.start(binary, { args: [...ARGS, "--encoding", encoding] });
          const visit = await Visit.begin(browser, other);
          try {
            const page = await visit.open();
            await page.locator("#server", { hasText: `${encoding} encoding` }).waitFor();
            await state(page, "messages", /^Open/);
            await say(page, "Is anybody there?");
            assert.deepEqual(await messages(page, 1), ["Is anybody there?"]);
            assertConsecutive(await ticks(page, 3));
            assert.deepEqual(visit.said, []);
          } finally {
            await visit.end();
            await other.kill();
          }
        });
      }
    });
  }
});

// Tests that do not depend on the server, and mostly wait: several at a time, each with a server of its own.
describe("the page and its windows", { concurrency: fleet.length }, () => {
  async function visiting({ before, ...options }, run) {
    const server = await Server.start(fleet[0].binary, { args: ARGS });
    const visit = await Visit.begin(browser, server, options);
    try {
      if (before) await visit.before(before);
      await run({ visit, server, page: await visit.open() });
    } finally {
      await visit.end();
      await server.kill();
    }
  }

  it("messages sent while its stream was closed come when it is opened again", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page, server }) => {
    await page.locator("#topic").fill("missed");
    await page.locator("#topic").press("Tab");
    await state(page, "messages", /^Open/);
    await server.publish("missed", "before");
    await messages(page, 1);
    await page.getByRole("button", { name: "Close Messages" }).click();
    await server.publish("missed", "meanwhile");
    await page.getByRole("button", { name: "Open Messages" }).click();
    assert.deepEqual(await messages(page, 2), ["before", "meanwhile"]);
    assert.deepEqual(visit.said, []);
  }));

  it("the drop button resumes, and nothing is lost", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page, server }) => {
    await ticks(page, 3);
    await page.getByRole("button", { name: "Drop the connection of Ticks" }).click();
    // The state lasts for two seconds; its lines in the log stay.
    const lifecycle = page.locator("#lifecycle-log");
    const last = Number((await lifecycle.getByText(/as if the network had failed/).textContent()).match(/after (\d+)/)[1]);
    await state(page, "ticks", new RegExp(`^Open, resumed after ${last}$`));
    assertConsecutive(await ticks(page, last + 3));
    assert.equal(visit.asked("/ticks").at(-1).path, `/ticks?last_event_id=${last}`);
    assert.match(await page.locator("#tally").textContent(), /over 2 connections, 0 lost$/);
    await lifecycle.getByText(`event ${last + 1} follows ${last}: nothing is missing.`).waitFor();
    assert.deepEqual(visit.said, []);
  }));

  it("runs a window's own streams where the focus was last, and elsewhere when that window is closed", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page: one }) => {
    const seen = (await ticks(one, 2)).length;
    const two = await visit.open();
    await ticks(two, 2);
    for (const panel of ["ticks", "wire"]) await state(one, panel, /^Paused/);
    await one.evaluate(() => dispatchEvent(new Event("focus")));
    await state(one, "ticks", /^Open, resumed after/);
    assertConsecutive(await ticks(one, seen + 2));
    await state(two, "ticks", /^Paused/);
    await one.close();
    await state(two, "ticks", /^Open, resumed after/);
    assertConsecutive(await ticks(two, 4));
    assert.deepEqual(visit.said, []);
  }));

  it("gives the connection of On the wire to a panel that has none, and has it back", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page: one, server }) => {
    await visit.reroute("/tasks", "step_ms=40");
    await state(one, "wire", /^Open/);
    await one.getByRole("button", { name: "Open Clock" }).click();
    await state(one, "time", /^Open/);
    await state(one, "wire", /^Waiting: another panel/);
    await one.getByRole("button", { name: "Start Tasks" }).click();
    await state(one, "tasks", /^Waiting: four streams/);
    await one.getByRole("button", { name: "Close Clock" }).click();
    await state(one, "tasks", /^Done/);
    await state(one, "wire", /^Open/);
    // In another window too: a stream for all comes before it.
    const two = await visit.open();
    await state(two, "wire", /^Open/);
    await one.evaluate(() => time.open());
    await state(two, "wire", /^Waiting: another panel/);
    for (const page of [one, two]) await page.evaluate(() => time.open());
    await state(two, "time", /^Open, in another window/);
    assert.deepEqual(visit.said, []);
  }));

  it("brings a window up to date that was away, and tells no other window twice", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page: one, server }) => {
    await state(one, "messages", /^Open/);
    for (const text of ["1", "2"]) await server.publish("lobby", text);
    await messages(one, 2);
    await one.getByRole("button", { name: "Close Messages" }).click();
    for (const text of ["3", "4"]) await server.publish("lobby", text);
    // The second window has the stream now, and has never heard of these.
    const two = await visit.open();
    await state(two, "messages", /^Open$/);
    await server.publish("lobby", "5");
    assert.deepEqual(await messages(two, 1), ["5"]);
    await one.getByRole("button", { name: "Open Messages" }).click();
    assert.deepEqual(await messages(one, 5), ["1", "2", "3", "4", "5"]);
    await server.publish("lobby", "6");
    assert.deepEqual(await messages(two, 2), ["5", "6"]);
    assert.deepEqual(await messages(one, 6), ["1", "2", "3", "4", "5", "6"]);
    // A window that has seen nothing yet takes over where the others are.
    const three = await visit.open();
    await state(three, "messages", /^Open, in another window/);
    await one.close();
    await two.close();
    await state(three, "messages", /^Open, resumed after/);
    assert.deepEqual(visit.said, []);
  }));

  it("has streams of its own in each window where the browser has no locks", { timeout: TEST_MS }, () => {
    const before = () => Object.defineProperty(Navigator.prototype, "locks", { value: undefined });
    return visiting({ before }, async ({ visit, page: one, server }) => {
      await state(one, "messages", /^Open$/);
      const two = await visit.open();
      await state(two, "messages", /^Open$/);
      // Not by a window: its request would wait for one of six connections.
      await server.publish("lobby", "Is anybody there?");
      for (const page of [one, two]) assert.deepEqual(await messages(page, 1), ["Is anybody there?"]);
      assert.equal(visit.asked("/messages/lobby").length, 2);
      assert.deepEqual(visit.said, []);
    });
  });

  it("shows a message as sent until it comes back", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page, server }) => {
    await state(page, "messages", /^Open/);
    await say(page, "one");
    assert.deepEqual(await messages(page, 1), ["one"]);
    await page.getByRole("button", { name: "Close Messages" }).click();
    for (const text of ["two", "three"]) await say(page, text);
    assert.deepEqual(await page.locator("#log .sent").allTextContents(), ["senttwo", "sentthree"]);
    await server.publish("lobby", "four");
    await page.getByRole("button", { name: "Open Messages" }).click();
    assert.deepEqual(await messages(page, 4), ["one", "two", "three", "four"]);
    assert.equal(await page.locator("#log .sent").count(), 0);
    assert.deepEqual(visit.said, []);
  }));

  it("counts each of its five EventSources once", { timeout: TEST_MS }, () => visiting({}, async ({ visit, page }) => {
    const counts = async (...expected) => {
      await page.waitForFunction((expected) => {
        const boxes = [...document.querySelectorAll(".states .count")];
        return boxes.map((it) => it.textContent).join() === expected;
      }, expected.join());
    };
    await counts(2, 0, 3, 0);
    await page.getByRole("button", { name: "Close Ticks" }).click();
    await counts(2, 0, 2, 1);
    const two = await visit.open();
    await state(two, "simulation", /^Open, in another window/);
    await page.getByRole("button", { name: "Close Simulation" }).click();
    await state(two, "simulation", /^Open, resumed/);
    await page.getByRole("button", { name: "Open Simulation" }).click();
    await counts(3, 0, 1, 1);
  }));
});

// Tests that do not depend on the server, and need the machine for themselves.
describe("the page itself", () => {
  let server;
  before(async () => {
    server = await Server.start(fleet[0].binary, { args: ARGS });
  });
  after(() => server.kill());

  async function visiting(options, run) {
    const visit = await Visit.begin(browser, server, options);
    try {
      await run(visit, await visit.open());
    } finally {
      await visit.end();
    }
  }

  for (const file of files) {
    it(`reads lines as the standard says: ${file}`, { timeout: TEST_MS }, () => visiting({}, async (_, page) => {
      for (const vector of vectorsOf(file)) {
        const expected = {
          events: vector.events.map((event) => ({ ...event, data: textOf(event.data) })),
          comments: (vector.comments ?? []).map(textOf),
          retries: vector.retries ?? [],
          lastEventId: vector.last_event_id,
        };
        const stream = bytesOf(vector.stream);
        const forms = stream.includes("\r") ? [stream] : [stream, withLineEnd(stream, "\r\n")];
        for (const form of forms) {
          for (const seen of await page.evaluate(readLines, form.toString("base64"))) {
            assert.deepEqual(seen, expected, `${vector.case} ${vector.name}: ${vector.claim}`);
          }
        }
      }
    }));
  }

  it("draws the chart more often than events come, but once a second where motion is not wanted", { timeout: TEST_MS }, async () => {
    const drawn = async (reducedMotion, isEnough) => {
      let seen;
      await visiting({ reducedMotion }, async (_, page) => {
        await state(page, "simulation", /^Open/);
        await page.evaluate(watchDraws);
        seen = await (await page.waitForFunction(isEnough)).jsonValue();
      });
      return seen;
    };
    // A chart that is drawn with each event is never drawn twice without one.
    await drawn("no-preference", () => window.drawn.mostBetween >= 2);
    // On the page's own clock, which it asks later than this test in a draw, and earlier before the next one.
    const times = await drawn("reduce", () => window.drawn.at.length >= 4 && window.drawn.at);
    for (const [n, at] of times.slice(1).entries()) assert.ok(at - times[n] >= 1000, `drawn at ${times.join(", ")}`);
  });

  it("has no fault that axe finds, and fits, narrow and wide, light and dark", { timeout: TEST_MS }, () => visiting({}, async (visit, page) => {
    await visit.reroute("/tasks", "step_ms=40");
    await state(page, "messages", /^Open/);
    await page.getByRole("button", { name: "Start Tasks" }).click();
    await state(page, "tasks", /^Done/);
    await state(page, "wire", /^Open/);
    await say(page, "Does it fit? A line that is long enough to be broken somewhere: " + "word ".repeat(20));
    await messages(page, 1);
    await ticks(page, 3);
    await page.evaluate(axe.source);
    for (const [width, viewport] of [["wide", WIDE], ["narrow", NARROW]]) {
      await page.setViewportSize(viewport);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${width}: scrolls sideways`);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await visit.picture(`page ${width} ${colorScheme}`);
        const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
        const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((it) => it.html).join(" ")}`);
        assert.deepEqual(found, [], `${width} ${colorScheme}`);
      }
    }
    // WCAG 2.2, 1.4.10: as on a screen of 320 px.
    await page.setViewportSize({ width: 320, height: 640 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "320 px: scrolls sideways");
  }));

  it("can be used with the keyboard alone", { timeout: TEST_MS }, () => visiting({}, async (visit, page) => {
    await state(page, "messages", /^Open/);
    const stops = await page.evaluate(() => {
      const all = [...document.querySelectorAll("button, input, select, [tabindex]")];
      return all.filter((it) => it.checkVisibility()).map((it, n) => (it.dataset.stop = `${n}`));
    });
    const reached = [];
    for (const _ of stops) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        const ring = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        return document.activeElement.dataset.stop + (ring ? "" : " without a ring");
      }));
    }
    assert.deepEqual(reached, stops);
    const tabTo = async (selector) => {
      for (const _ of stops) {
        await page.keyboard.press("Tab");
        if (await page.evaluate((it) => document.activeElement.matches(it), selector)) return;
      }
      assert.fail(`${selector} is out of reach`);
    };
    await tabTo("#text");
    await page.keyboard.type("By hand");
    await page.keyboard.press("Enter");
    assert.deepEqual(await messages(page, 1), ["By hand"]);
    await tabTo("#drop");
    await page.keyboard.press("Space");
    await page.locator("#lifecycle-log").getByText(/as if the network had failed/).waitFor();
    await tabTo("#tasks .toggle");
    await page.keyboard.press("Enter");
    await state(page, "tasks", /^(Open|Done)/);
    assert.deepEqual(visit.said, []);
  }));

  it("does not read every event to a screen reader", { timeout: TEST_MS }, () => visiting({}, async (visit, page) => {
    // Four streams, so that none waits.
    for (const name of ["Close On the wire", "Close Simulation", "Open Clock", "Start Tasks"]) await page.getByRole("button", { name }).click();
    for (const panel of ["messages", "ticks", "time"]) await state(page, panel, /^Open/);
    await state(page, "tasks", /^(Open|Done)/);
    await page.evaluate(listen);
    await clockMoves(page, 3);
    assert.deepEqual(await page.evaluate(() => window.heard), []);
    await say(page, "A message is read");
    await page.waitForFunction(() => window.heard.join().includes("A message is read"));
  }));

  it("would be at its visitors' mercy without its policy: what these tests try does harm", { timeout: TEST_MS }, async () => {
    const trap = await Trap.start();
    try {
      await visiting({ bypassCSP: true }, async (_, page) => {
        await page.evaluate(attack, trap.url);
        await page.waitForFunction(() => ["script", "handler"].every((it) => window.ran.includes(it)));
        await trap.sprung("/script", "/image", "/style", "/frame", "/events", "/fetch", "/form");
      });
    } finally {
      await trap.end();
    }
  });
});

function assertConsecutive(ids) {
  assert.deepEqual(ids, ids.map((_, n) => n + 1));
}

async function say(page, words) {
  await page.locator("#text").fill(words);
  await page.locator("#text").press("Enter");
  await page.waitForFunction(() => document.getElementById("text").value === "");
}

/** Waits until the server's clock, as the page shows it, has moved on by `seconds`. */
async function clockMoves(page, seconds) {
  const clock = page.locator("#clock");
  await clock.filter({ hasText: /\d/ }).waitFor();
  const start = await clock.textContent();
  await page.waitForFunction(({ start, seconds }) => {
    const ms = (clock) => Date.parse(`1970-01-01T${clock}Z`);
    const passed = ms(document.getElementById("clock").textContent) - ms(start);
    return passed < 0 || passed >= seconds * 1000;
  }, { start, seconds });
}

/** In the page: the attempts of an attacker who got HTML into it. Resolves when each attempt has ended. */
async function attack(trap) {
  window.ran = [];
  window.blocked = [];
  document.addEventListener("securitypolicyviolation", (event) => window.blocked.push(event.effectiveDirective));
  const add = (tag, fields) => document.body.appendChild(Object.assign(document.createElement(tag), fields));
  const load = (tag, fields) => new Promise((end) => add(tag, { onload: end, onerror: end, ...fields }));
  add("script", { textContent: "window.ran.push('script')" });
  add("div", { innerHTML: `<img src="data:," onerror="window.ran.push('handler')">` });
  add("iframe", { name: "nowhere" });
  add("form", { action: `${trap}/form`, method: "post", target: "nowhere" }).submit();
  const source = new EventSource(`${trap}/events`);
  await Promise.all([
    load("script", { src: `${trap}/script` }),
    load("img", { src: `${trap}/image` }),
    load("link", { rel: "stylesheet", href: `${trap}/style` }),
    load("iframe", { src: `${trap}/frame` }),
    new Promise((end) => (source.onerror = end)),
    fetch(`${trap}/fetch`).catch(() => {}),
  ]);
  source.close();
}

/** In the page: gathers the announcements to a screen reader, in `window.heard`. */
function listen() {
  const live = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]:not([aria-live=off]), output";
  window.heard = [];
  new MutationObserver((records) => {
    for (const { target } of records) {
      const region = (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement)?.closest(live);
      if (region) window.heard.push(region.textContent);
    }
  }).observe(document, { childList: true, characterData: true, subtree: true });
}

/** In the page: the result of its own reader of lines for a stream, in any cut. */
function readLines(base64) {
  const bytes = Uint8Array.from(atob(base64), (it) => it.charCodeAt(0));
  return [bytes.length, 1, 2, 3, 7].map((size) => {
    const [decoder, lines, block] = [new TextDecoder(), new Lines(), newBlock()];
    const seen = { events: [], comments: [], retries: [] };
    for (let at = 0; at < bytes.length; at += size) {
      const text = decoder.decode(bytes.subarray(at, at + size), { stream: true });
      for (const [line] of lines.push(text)) {
        const { event, comment, retryMs } = interpret(line, block);
        if (event) seen.events.push(event);
        if (comment !== undefined) seen.comments.push(comment);
        if (retryMs !== undefined) seen.retries.push(retryMs);
      }
    }
    return { ...seen, lastEventId: block.lastEventId };
  });
}

/** In the page: gathers when the chart is drawn, and how often at most between two events, in `window.drawn`. */
async function watchDraws() {
  // The first draw, which does not wait for an event, was asked for before this frame.
  await new Promise(requestAnimationFrame);
  window.drawn = { at: [], mostBetween: 0 };
  let between = 0;
  const { clearRect } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function (...area) {
    window.drawn.at.push(performance.now());
    window.drawn.mostBetween = Math.max(window.drawn.mostBetween, ++between);
    clearRect.apply(this, area);
  };
  simulation.source.addEventListener("prices", () => (between = 0));
}

/** A server of another origin, to which no request should come. */
class Trap {
  requests = [];
  #waiting = () => {};

  static async start() {
    const trap = new Trap();
    trap.server = createServer((request, response) => {
      trap.requests.push(request.url);
      response.writeHead(200, { "Access-Control-Allow-Origin": "*" }).end();
      trap.#waiting();
    });
    await new Promise((resolve) => trap.server.listen(0, "127.0.0.1", resolve));
    trap.url = `http://127.0.0.1:${trap.server.address().port}`;
    return trap;
  }

  /** Until each of these was asked for. */
  async sprung(...paths) {
    const missing = () => paths.filter((path) => !this.requests.includes(path));
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no request for ${missing()}`)), PATIENCE_MS);
      this.#waiting = () => {
        if (missing().length) return;
        clearTimeout(late);
        resolve();
      };
      this.#waiting();
    });
  }

  async end() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
