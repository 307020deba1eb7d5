// The event source and the program, against a scripted peer on real sockets.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import http from "node:http";
import net from "node:net";
import { afterEach, test as nodeTest } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Peer, HEAD, held, raw, status, stream, waitUntilReceived } from "./peer.mjs";
import { EventSource as Source } from "./sse.mjs";

/** No test waits longer than this for anything. */
const timeout = 60_000;
const test = (name, run) => nodeTest(name, { timeout }, run);

/** A failed test must not leave a handle behind that keeps the process alive. */
const sources = [];
class EventSource extends Source {
  constructor(...args) {
    super(...args);
    sources.push(this);
  }
}
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  Peer.closeAll();
});

/** Reconnects quickly; records what happens. */
function open(peer, options = {}, url = peer.url()) {
  const source = new EventSource(url, { retryMs: 50, ...options });
  const seen = [];
  source.onopen = () => seen.push("open");
  source.onevent = ({ type, data, lastEventId }) => seen.push(`${type} ${data} ${lastEventId}`);
  const closed = new Promise((resolve) => {
    source.onerror = ({ message }) => {
      const state = source.readyState;
      seen.push(state === EventSource.CLOSED ? "closed" : `lost ${state}`);
      if (state === EventSource.CLOSED) resolve(message);
    };
  });
  return { source, seen, closed };
}

/** Resolves at the next event of this type. */
const next = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));

/** Timers of our own, and waits without chance: nothing is late but what is made so. */
function stopTimers(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(Math, "random", () => 0);
  return (ms) => t.mock.timers.tick(ms);
}

/** Shows each request that is sent, and what comes of it, before the client itself sees it. */
function watchRequests(t, see) {
  const { request } = http;
  t.mock.method(http, "request", (...args) => {
    const sent = request(...args);
    see(sent);
    return sent;
  });
}

/** Runs a script to the 204 at its end. */
async function run(script, options, target) {
  const peer = await Peer.start(...script);
  const { source, seen, closed } = open(peer, options, peer.url(target));
  const message = await closed;
  return { seen, message, requests: peer.requests, source };
}

test("the first request follows the standard", async () => {
  const { requests, seen, message } = await run([], {}, "/a?b=c");
  const [{ method, target, headers }] = requests;
  assert.deepEqual([method, target], ["GET", "/a?b=c"]);
  assert.equal(headers.accept, "text/event-stream");
  assert.equal(headers["accept-encoding"], "identity");
  assert.equal(headers["cache-control"], "no-cache");
  assert.equal(headers["last-event-id"], undefined);
  assert.deepEqual(seen, ["closed"]);
  assert.match(message, /204/);
});

test("nothing happens before the listeners are there, and states follow", async () => {
  const peer = await Peer.start(held("data: a\n\n"));
  const source = new EventSource(peer.url());
  assert.equal(source.readyState, EventSource.CONNECTING);
  assert.equal(source.url, peer.url());
  const states = [];
  source.addEventListener("open", () => states.push(source.readyState));
  const event = await new Promise((resolve) => (source.onmessage = resolve));
  assert.deepEqual(states, [source.OPEN]);
  assert.equal(event.data, "a");
  assert.equal(event.origin, new URL(peer.url()).origin);
  source.close();
  assert.equal(source.readyState, EventSource.CLOSED);
  await peer.gone();
});

test("the end of a stream reconnects and resumes", async () => {
  const { seen, requests } = await run([
    stream("id: 1\ndata: a\n\nid: 2\nevent: add\ndata: b\n\nid: 3\ndata: cut of"),
    stream("data: c\n\n"),
  ]);
  assert.deepEqual(seen, ["open", "message a 1", "add b 2", "lost 0", "open", "message c 2", "lost 0", "closed"]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "2", "2"]);
});

test("a body cut off loses no event", async () => {
  const head = HEAD.replace("Connection: close", "Transfer-Encoding: chunked");
  const { seen } = await run([raw(`${head}f\r\nid: 7\ndata: a\n\n\r\n40\r\nid: 8\nda`)]);
  assert.deepEqual(seen.slice(0, 3), ["open", "message a 7", "lost 0"]);
});

test("one end of a connection is one request", async () => {
  const head = HEAD.replace("Connection: close", "Transfer-Encoding: chunked");
  const reset = (socket) => socket.write(`${head}1f\r\ndata: h`, () => setTimeout(() => socket.resetAndDestroy(), 50));
  // The last chunk and FIN come together.
  for (const end of [reset, stream("data: a\n\n")]) {
    const peer = await Peer.start(end, held("data: next\n\n"), held("data: next\n\n"));
    const { source, seen } = open(peer);
    await new Promise((resolve) => source.addEventListener("message", ({ data }) => data === "next" && resolve()));
    await delay(5 * 50);
    assert.equal(peer.requests.length, 2);
    assert.equal(seen.filter((it) => it === "lost 0").length, 1);
    source.close();
  }
});

test("an id without data counts, an empty one forgets", async () => {
  const { requests } = await run([stream("id: 5\n\n"), stream("id\n\n")]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "5", undefined]);
});

test("ids are sent as the bytes they are, except what HTTP cannot carry", async () => {
  const { requests } = await run([stream("id: é€😀\n\n"), stream("id: a\u0001b\n\n")], { lastEventId: "ü" });
  const sent = requests.map(({ headers }) => headers["last-event-id"]);
  const bytes = (text) => Buffer.from(text, "utf8").toString("latin1");
  assert.deepEqual(sent, [bytes("ü"), bytes("é€😀"), undefined]);
});

test("retry is waited for and stays in force", async () => {
  const { requests, source } = await run([stream("retry: 300\n\n"), stream("retry: x\n\n")]);
  assert.ok(requests[1].at - requests[0].at >= 295);
  assert.ok(requests[2].at - requests[1].at >= 295);
  assert.equal(source.retryMs, 300);
});

test("a retry of years is an hour", async () => {
  const peer = await Peer.start(stream("retry: 99999999999\n\n"));
  const { source } = open(peer);
  const { message } = await new Promise((resolve) => (source.onerror = resolve));
  assert.match(message, /again in 3600\.0 s$/);
  assert.equal(source.retryMs, 3_600_000);
});

test("empty streams are asked for ever more slowly", async (t) => {
  // The longest waits of all that may come of it.
  t.mock.method(Math, "random", () => 1);
  const empty = () => stream("retry: 0\n\n");
  // A stream lasts on this clock alone.
  let now = 0;
  t.mock.method(performance, "now", () => now);
  let end;
  const lasting = (socket) => {
    end = () => socket.end();
    socket.write(HEAD);
  };
  const eight = Array.from({ length: 8 }, empty);
  const peer = await Peer.start(...eight, stream("data: a\n\n"), empty(), empty(), lasting);
  const waits = [];
  let opened = 0;
  await new Promise((resolve) => {
    const source = new EventSource(peer.url(), { maxBackoffMs: 400 });
    source.onopen = () => {
      if (++opened < 12) return;
      now += 300;
      end();
    };
    source.onerror = ({ message }) => {
      const wait = message.match(/again in (.*) s$/)?.[1];
      if (wait === undefined) resolve();
      else waits.push(1000 * Number(wait));
    };
  });
  // The least wait stands for `retry: 0`, and is shown as 0.1 s. The first end may be the server's restart.
  // An event starts it over, and so does a stream that lasted.
  assert.deepEqual(waits, [100, 200, 400, 400, 400, 400, 400, 400, 100, 100, 200, 100]);
});

test("interim answers without end are no answer", async (t) => {
  const tick = stopTimers(t);
  const flood = (socket) => {
    const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), 10);
    socket.on("close", () => clearInterval(timer));
  };
  let told;
  watchRequests(t, (sent) => sent.on("information", () => told?.()));
  const interim = () => new Promise((resolve) => (told = resolve));
  const peer = await Peer.start(flood);
  const { source, seen, closed } = open(peer, { answerTimeoutMs: 200 });
  await interim();
  tick(199);
  await interim();
  const lost = next(source, "error");
  tick(1);
  await lost;
  tick(50);
  await closed;
  assert.deepEqual(seen, ["lost 0", "closed"]);
});

test("an hour of silence is no end", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let late;
  const peer = await Peer.start((socket) => {
    socket.write(`${HEAD}data: a\n\n`);
    late = () => socket.write("data: late\n\n");
  });
  const { source, seen } = open(peer, { retryMs: 50 });
  await new Promise((resolve) => source.addEventListener("message", resolve, { once: true }));
  // Limits of ours; node:http has none, other than fetch.
  t.mock.timers.tick(3_600_000);
  late();
  await new Promise((resolve) => source.addEventListener("message", resolve, { once: true }));
  assert.deepEqual(seen, ["open", "message a ", "message late "]);
  assert.equal(peer.requests.length, 1);
});

test("bytes that wait in the socket are no silence", async (t) => {
  const timersPhase = promisify(setTimeout);
  const tick = stopTimers(t);
  let late;
  const peer = await Peer.start((socket) => {
    socket.write(`${HEAD}data: a\n\n`);
    late = () => {
      socket.write("data: late\n\n");
      waitUntilReceived(socket);
    };
  });
  const { source, seen } = open(peer, { readTimeoutMs: 200 });
  await next(source, "message");
  // As a process that was not scheduled wakes up: where Node runs timers, before it reads sockets.
  await timersPhase(0);
  late();
  const then = Promise.race([next(source, "message"), next(source, "error")]);
  tick(200);
  await then;
  assert.deepEqual(seen, ["open", "message a ", "message late "]);
});

test("a coding is an error that names it", async () => {
  const coded = (field) => raw(`${HEAD.replace("\r\n\r\n", `\r\n${field}\r\n\r\n`)}data: a\n\n`);
  for (const [field, found] of [
    ["Content-Encoding: gzip", "gzip"],
    ["Content-Encoding: identity, BR", "BR"],
    ["Content-Encoding: deflate\r\nContent-Encoding: zstd", "deflate, zstd"],
    ["Transfer-Encoding: gzip, chunked", "gzip"],
  ]) {
    const { seen, message } = await run([coded(field)]);
    assert.deepEqual(seen, ["closed"], field);
    assert.ok(message.includes(`coded as ${found},`), message);
  }
  for (const none of ["Content-Encoding: identity", "Content-Encoding: None", "Content-Encoding:"]) {
    const { seen } = await run([coded(none)]);
    assert.deepEqual(seen.slice(0, 2), ["open", "message a "], none);
  }
});

test("the words of a refusal are in the message", async () => {
  const refused = async (fields, body) => {
    const length = Buffer.byteLength(body);
    const { message } = await run([raw(`HTTP/1.1 401 X\r\n${fields}\r\nContent-Length: ${length}\r\n\r\n${body}`)]);
    return message.split(" answered ")[1];
  };
  const json = '{"error":{"message":"No auth credentials found"}}';
  for (const type of ["application/json", "application/problem+json; charset=utf-8", "Text/Plain"]) {
    assert.equal(await refused(`Content-Type: ${type}`, json), `401: ${json}`);
  }
  const text = "Content-Type: text/plain";
  assert.equal(await refused(text, " two\r\n lines\u001b[2J\u009b\n"), "401: two lines\ufffd[2J\ufffd");
  assert.equal(await refused(text, "€".repeat(1000)), `401: ${"€".repeat(341)}`);
  for (const fields of ["Content-Type: application/octet-stream", "X: y", `${text}\r\nContent-Encoding: gzip`]) {
    assert.equal(await refused(fields, "data"), "401", fields);
  }
});

test("words of a refusal that do not come are not waited for", async (t) => {
  const tick = stopTimers(t);
  let read;
  watchRequests(t, (sent) => sent.on("response", (response) => response.on("data", () => read())));
  const head = "HTTP/1.1 401 X\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\n";
  const stalled = async () => {
    // More than the silence that would end a stream, and the last look before that.
    tick(999);
    await new Promise(setImmediate);
    tick(1);
  };
  const reset = (socket) => socket.resetAndDestroy();
  for (const then of [stalled, reset]) {
    const isRead = new Promise((resolve) => (read = resolve));
    let socket;
    const peer = await Peer.start((it) => (socket = it).write(`${head}no token`));
    const { seen, closed } = open(peer, { readTimeoutMs: 500 });
    await isRead;
    await then(socket);
    assert.match(await closed, /answered 401: no token$/);
    assert.deepEqual(seen, ["closed"]);
  }
});

test("types that are named as the states are types", async () => {
  const body = "event: error\ndata: boom\n\nevent: open\ndata: o\n\nevent: close\ndata: c\n\ndata: next\n\n";
  const peer = await Peer.start(held(body));
  const source = new EventSource(peer.url());
  const seen = [];
  source.onevent = ({ type, data }) => seen.push([type, data, source.readyState]);
  await new Promise((resolve) => (source.onmessage = resolve));
  assert.deepEqual(seen, [["error", "boom", 1], ["open", "o", 1], ["close", "c", 1], ["message", "next", 1]]);
  assert.equal(peer.requests.length, 1);
});

test("retry 0 does not spin", async () => {
  const { requests } = await run([stream("retry: 0\n\n"), stream("")]);
  assert.ok(requests[2].at - requests[0].at >= 95);
});

test("other statuses and types fail for good", async () => {
  const later = `Retry-After: ${new Date(Date.now() + 2000).toUTCString()}\r\n`;
  for (const [words, fields] of [
    ["404 Not Found"],
    ["500 Oops"],
    ["503 Later", "Retry-After: 0\r\n"],
    ["503 Later", later],
    ["206 Partial"],
    ["301 Without Location"],
  ]) {
    const { seen, message, requests } = await run([status(words, fields)]);
    assert.deepEqual([seen, requests.length], [["closed"], 1], words);
    assert.match(message, new RegExp(`answered ${words.slice(0, 3)}`));
  }
  for (const type of ["Content-Type: text/plain\r\n", "Content-Type: text/event-streams\r\n", ""]) {
    const { seen, message } = await run([status("200 OK", type)]);
    assert.deepEqual(seen, ["closed"], type);
    assert.match(message, /not an event stream/);
  }
});

test("parameters and case of the type do not matter", async () => {
  const { seen } = await run([status("200 OK", "Content-Type: Text/Event-Stream ;charset=utf-8\r\n")]);
  assert.equal(seen[0], "open");
});

test("a redirect within the origin keeps the request", async () => {
  for (const code of [307, 308]) {
    const script = [stream("id: 7\ndata: a\n\n"), status(`${code} X`, "Location: /b\r\n"), stream("data: b\n\n")];
    const { requests } = await run(script, { headers: { Authorization: "Bearer a", "X-Test": "b" } });
    assert.deepEqual(requests.map(({ target }) => target), ["/x", "/x", "/b", "/x"]);
    const { method, headers } = requests[2];
    assert.equal(method, "GET");
    const { accept, authorization, "x-test": test, "last-event-id": id } = headers;
    assert.deepEqual([accept, authorization, test, id], ["text/event-stream", "Bearer a", "b", "7"]);
  }
});

test("redirects are followed, and the original URL is used again", async () => {
  const script = [301, 302, 303, 307, 308].map((code) => status(`${code} X`, "Location: /moved\r\n"));
  const { requests, seen } = await run([...script, stream("id: 1\ndata: a\n\n")]);
  assert.deepEqual(requests.map(({ target }) => target), ["/x", ...Array(5).fill("/moved"), "/x"]);
  assert.deepEqual(seen, ["open", "message a 1", "lost 0", "closed"]);
});

test("redirects without end, or to elsewhere than HTTP, fail", async () => {
  const endless = Array.from({ length: 30 }, () => status("302 X", "Location: /x\r\n"));
  const { requests, message } = await run(endless);
  assert.equal(requests.length, 21);
  assert.match(message, /more than 20 redirects/);
  assert.match((await run([status("302 X", "Location: file:///etc/passwd\r\n")])).message, /neither/);
});

test("a redirect to another origin loses the credentials, not the other headers", async () => {
  const other = await Peer.start();
  const headers = { Authorization: "Bearer a", "X-Test": "b" };
  const peer = await Peer.start(status("307 X", `Location: ${other.url()}\r\n`));
  await open(peer, { headers }).closed;
  assert.equal(peer.requests[0].headers.authorization, "Bearer a");
  assert.equal(other.requests[0].headers.authorization, undefined);
  assert.equal(other.requests[0].headers["x-test"], "b");
});

test("a server that is not there is tried until it is up", async () => {
  // An address of this process alone: no other program takes a port there while it is free.
  const host = `127.1.${(process.pid >> 8) & 255}.${process.pid & 255}`;
  const listen = (server, port) => new Promise((resolve) => server.listen(port, host, resolve));
  const first = net.createServer();
  await listen(first, 0);
  const { port } = first.address();
  await new Promise((resolve) => first.close(resolve));
  const source = new EventSource(`http://${host}:${port}/x`, { retryMs: 20 });
  await next(source, "error");
  assert.equal(source.readyState, EventSource.CONNECTING);
  const server = net.createServer((socket) => socket.write(`${HEAD}data: up\n\n`));
  const up = next(source, "message");
  await listen(server, port);
  assert.equal((await up).data, "up");
  server.close();
});

test("a connection without an answer reconnects", async () => {
  const { seen, requests } = await run([raw(""), raw("HTTP/1.1 200")]);
  assert.deepEqual(seen, ["lost 0", "lost 0", "closed"]);
  assert.equal(requests.length, 3);
});

test("silence reconnects", async (t) => {
  const tick = stopTimers(t);
  let asked;
  const isAsked = new Promise((resolve) => (asked = resolve));
  const peer = await Peer.start(held("data: a\n\n"), () => asked());
  const { source, seen, closed } = open(peer, { readTimeoutMs: 200 });
  const silence = async () => {
    const lost = next(source, "error");
    tick(200);
    await lost;
    tick(50);
  };
  await next(source, "message");
  await silence();
  // The next one is silent before its answer.
  await isAsked;
  await silence();
  await closed;
  assert.deepEqual(seen, ["open", "message a ", "lost 0", "lost 0", "closed"]);
});

test("closing in a listener drops the queued events and the connection", async () => {
  const peer = await Peer.start(held("data: a\n\ndata: b\n\n"));
  const { source, seen } = open(peer);
  await new Promise((resolve) => source.addEventListener("message", () => resolve(source.close())));
  await peer.gone();
  assert.deepEqual(seen, ["open", "message a "]);
  assert.equal(peer.requests.length, 1);
});

test("closing while it waits leaves nothing behind", async () => {
  const peer = await Peer.start(stream("retry: 60000\n\n"));
  const { source } = open(peer);
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  await new Promise((resolve) => (source.onerror = resolve));
  const before = timers();
  source.close();
  assert.equal(timers(), before - 1);
  // Node's own count of what is to run next is in order, too.
  await new Promise((resolve) => setImmediate(resolve));
});

test("an event past the limit ends for good", async () => {
  const tooLong = () => held(`data: ${"x".repeat(1000)}\n\n`);
  const { message, requests } = await run([tooLong(), tooLong()], { maxEventChars: 100 });
  assert.match(message, /larger than 100 characters/);
  // Another connection would meet the same event.
  await delay(10 * 50);
  assert.equal(requests.length, 1);
});

test("handlers are replaced, and taken away", async () => {
  const peer = await Peer.start(held("data: a\n\nevent: end\ndata:\n\n"));
  const source = new EventSource(peer.url());
  source.onmessage = () => assert.fail("replaced");
  const seen = [];
  source.onmessage = ({ data }) => seen.push(data);
  source.onopen = () => assert.fail("taken away");
  source.onopen = null;
  assert.equal(source.onopen, null);
  await new Promise((resolve) => source.addEventListener("end", resolve));
  assert.deepEqual(seen, ["a"]);
  source.close();
});

test("a URL that is not HTTP is refused at once", () => {
  for (const url of ["/ticks", "ftp://example.org", ""]) {
    assert.throws(() => new EventSource(url), { name: "SyntaxError" });
  }
});

// --- the program ---------------------------------------------------------------------------------

function program(...args) {
  return start(...args).ended;
}

/** The end of the program, and the first line of what it says before. */
function start(...args) {
  const child = spawn(process.execPath, [fileURLToPath(new URL("sse.mjs", import.meta.url)), ...args]);
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].on("data", (bytes) => (output[name] += bytes));
  const ended = new Promise((resolve) => child.on("close", (code) => resolve({ code, ...output })));
  const firstLine = new Promise((resolve) => {
    child.stderr.on("data", () => output.stderr.includes("\n") && resolve(output.stderr.split("\n")[0]));
  });
  return { ended, firstLine };
}

test("the program prints events of every type, and resumes", async () => {
  const body = "id: 1\ndata: a\n\nevent: add\nid: 2\ndata: two\ndata: \u001b[2Jlines\n\nevent: error\ndata: e\n\n";
  const peer = await Peer.start(stream(`retry: 50\n${body}`));
  const { code, stdout, stderr } = await program("-H", "X-Test: a:b", peer.url());
  const lines = stdout.trimEnd().split("\n").map((line) => line.slice("12:34:56.789  ".length));
  assert.deepEqual(lines, ["1     message  a", "2     add      two", "               ␛[2Jlines", "2     error    e"]);
  assert.match(stderr, /the server ended the stream; trying again in 0\.1 s\n.*\(204\)\n$/);
  assert.equal(code, 0);
  assert.equal(peer.requests[0].headers["x-test"], "a:b");
  assert.equal(peer.requests[1].headers["last-event-id"], "2");
});

test("the program stops after --max-events events, each a JSON object", async () => {
  const peer = await Peer.start(held("id: 1\ndata: a\n\ndata: b\n\ndata: c\n\n"));
  const { code, stdout } = await program("--json", "--max-events", "2", peer.url());
  const events = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(events.map(({ data, id, event }) => [data, id, event]), [["a", "1", "message"], ["b", "1", "message"]]);
  assert.equal(code, 0);
});

test("the program lets no control character through", async () => {
  // CR and LF end lines, and NUL makes an id void.
  const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => String.fromCodePoint(from + n)).join("");
  const c0 = range(0x01, 0x1f).replace(/[\t\n\r]/g, "");
  const text = `${c0}${range(0x7f, 0x9f)}\u061c\u200e\u200f${range(0x202a, 0x202e)}${range(0x2066, 0x2069)}`;
  const refused = `HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${text} (204)`;
  for (const mode of [[], ["--json"]]) {
    const body = `retry: 0\nevent: ${text}\nid: ${text}\ndata: ${text}\n\n`;
    const peer = await Peer.start(stream(body), raw(refused));
    const { code, stdout, stderr } = await program(...mode, peer.url());
    assert.equal(code, 2, stderr);
    assert.match(stderr, /answered 500: /);
    for (const output of [stdout, stderr]) {
      assert.deepEqual([...output].filter((c) => text.includes(c)), [], mode[0]);
    }
    if (mode.length === 0) continue;
    const { data, event, id } = JSON.parse(stdout);
    assert.deepEqual([data, event, id], [text, text, text]);
  }
});

test("the program says that it waits for an answer", async () => {
  let asked;
  const isAsked = new Promise((resolve) => (asked = resolve));
  const peer = await Peer.start((socket) => asked(socket));
  const { ended, firstLine } = start(peer.url());
  assert.equal(await firstLine, `sse: waiting for an answer from ${peer.url()}`);
  (await isAsked).destroy();
  assert.equal((await ended).code, 2);
});

test("the program fails in one line", async () => {
  const peer = await Peer.start(status("404 Not Found"));
  for (const args of [[peer.url()], ["/ticks"], [], ["--what"], ["--max-events", "0", "http://127.0.0.1:1"]]) {
    const { code, stdout, stderr } = await program(...args);
    assert.deepEqual([code, stdout, stderr.trim().split("\n").length], [2, "", 1], stderr);
  }
});
