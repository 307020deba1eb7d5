// The parser, through ../vectors/*.json; their README says what the files hold.

import assert from "node:assert/strict";
import test from "node:test";

import { Parser } from "./sse.mjs";
import { bytesOf, files, textOf, vectorsOf, withLineEnd } from "./vectors.mjs";

function parse(chunks) {
  const parser = new Parser();
  const seen = { events: [], comments: [], retries: [] };
  for (const chunk of chunks) {
    for (const { event, data, id, comment, retryMs } of parser.push(chunk)) {
      if (event !== undefined) seen.events.push({ event, data, id });
      if (comment !== undefined) seen.comments.push(comment);
      if (retryMs !== undefined) seen.retries.push(retryMs);
    }
  }
  return { ...seen, last_event_id: parser.lastEventId };
}

function* cuts(stream) {
  yield ["whole", [stream]];
  for (const size of [1, 2, 3, 7]) {
    const chunks = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    yield [`chunks of ${size}`, chunks];
  }
  const nothing = Buffer.alloc(0);
  for (let cut = 0; cut <= stream.length; cut++) {
    yield [`cut at ${cut}`, [stream.subarray(0, cut), nothing, stream.subarray(cut), nothing]];
  }
}

assert.notEqual(files.length, 0, "there are vectors");
for (const file of files) {
  test(file, () => {
    for (const vector of vectorsOf(file)) {
      const expected = {
        events: vector.events.map((event) => ({ ...event, data: textOf(event.data) })),
        comments: (vector.comments ?? []).map(textOf),
        retries: vector.retries ?? [],
        last_event_id: vector.last_event_id,
      };
      const stream = bytesOf(vector.stream);
      const forms = [["as it stands", stream]];
      if (!stream.includes("\r")) {
        forms.push(["CRLF", withLineEnd(stream, "\r\n")], ["CR", withLineEnd(stream, "\r")]);
      }
      for (const [form, bytes] of forms) {
        for (const [cut, chunks] of cuts(bytes)) {
          const label = `${vector.case} ${vector.name}: ${vector.claim} (${form}, ${cut})`;
          assert.deepEqual(parse(chunks), expected, label);
        }
      }
    }
  });
}

test("an event past the limit is an error, in one line or in many", () => {
  const run = (text) => [...new Parser({ maxEventChars: 100 }).push(Buffer.from(text))];
  assert.equal(run(`data: ${"x".repeat(100)}\n\n`).length, 1);
  assert.throws(() => run(`data: ${"x".repeat(101)}\n`), RangeError);
  assert.equal(run(`data:${"x".repeat(49)}\ndata:${"x".repeat(50)}\n\n`).length, 1);
  assert.throws(() => run(`data:${"x".repeat(50)}\ndata:${"x".repeat(50)}\n`), RangeError);
  assert.throws(() => run(`id:${"x".repeat(101)}\n`), RangeError);
  assert.throws(() => run(`data: ${"x".repeat(200)}`), RangeError);
  assert.throws(() => run("data: xxxxxxxxx\n".repeat(20)), RangeError);
  assert.throws(() => run(`:${"x".repeat(200)}`), RangeError);
});

test("a long line in small chunks takes time in proportion", () => {
  const run = (times) => {
    const parser = new Parser();
    const chunk = Buffer.alloc(64, "x");
    const start = process.cpuUsage();
    for (const _ of parser.push(Buffer.from("data:"))) assert.fail();
    for (let n = 0; n < times; n++) for (const _ of parser.push(chunk)) assert.fail();
    const [item] = parser.push(Buffer.from("\n\n"));
    assert.equal(item.data.length, 64 * times);
    return process.cpuUsage(start).user;
  };
  run(20_000);
  // Quadratic would be 64 times as much for eight times the length.
  const [short, long] = [run(20_000), run(160_000)];
  assert.ok(long < 32 * Math.max(short, 2000), `${short} µs, then ${long} µs`);
});
