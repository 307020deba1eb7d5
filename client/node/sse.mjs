#!/usr/bin/env node
// An EventSource for Node 20 and newer: one file, no dependency.
//
// It does what a browser's EventSource does (https://html.spec.whatwg.org/multipage/server-sent-events.html), takes
// request headers besides, and reads nothing but `text/event-stream`. Run as a program it prints a stream's events.

import { realpathSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

/** Reconnection time until the server sets one: 3 s, as in Chromium. */
const RETRY_MS = 3_000;

/** `retry: 0` must not make a loop that takes a core on both sides. */
const MIN_WAIT_MS = 50;

/** A day. setTimeout takes no more than 24 of them. */
const MAX_WAIT_MS = 24 * 60 * 60 * 1000;

/** The most that `retry` can set: an hour. A longer time is a mistake, or an attempt to turn the client off. */
const MAX_RETRY_MS = 60 * 60 * 1000;

/** The wait after attempts that come to nothing grows to here: a server that is back is noticed within this time. */
const MAX_BACKOFF_MS = 30_000;

/** For the head of an answer; interim answers (1xx) do not prolong it. A server may take its time. */
const ANSWER_TIMEOUT_MS = 10 * 60 * 1000;

/** As much of a refusal as says what is wrong, and how long it is waited for: the status is what matters. */
const MAX_WORDS_BYTES = 1024;
const WORDS_TIMEOUT_MS = 1000;

/** As many as https://fetch.spec.whatwg.org/#http-redirect-fetch allows. */
const MAX_REDIRECTS = 20;

/** Characters of an event's data, and of any line's value: above what is seen, little enough for a small machine. */
const MAX_EVENT_CHARS = 16 << 20;

/** TCP's own probes find a peer that vanished without a word. */
const TCP_KEEP_ALIVE_MS = 60_000;

// --- the parser ----------------------------------------------------------------------------------

/** An incremental parser of one event stream: bytes in, cut anywhere; events out; no I/O. */
export class Parser {
  #decoder = new TextDecoder();
  #pieces = []; // of a line whose end has not come; joined once, so that long lines stay linear
  #lineChars = 0;
  #afterCr = false;
  #dataLines = [];
  #dataChars = 0;
  #event = "";
  #id = null;
  #maxEventChars;

  /** The id to resume from. It counts from the blank line that ends its block. */
  lastEventId;

  constructor({ lastEventId = "", maxEventChars = MAX_EVENT_CHARS } = {}) {
    this.lastEventId = lastEventId;
    this.#maxEventChars = maxEventChars;
  }

  /**
   * Yields what these bytes complete: `{ event, data, id }`, `{ comment }` or `{ retryMs }`.
   * Throws a RangeError when an event is larger than the limit.
   */
  *push(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    let start = 0;
    if (this.#afterCr && text !== "") {
      // The LF of a CRLF pair, whose CR has ended the line already.
      if (text[0] === "\n") start = 1;
      this.#afterCr = false;
    }
    const lineEnd = /\r\n?|\n/g;
    lineEnd.lastIndex = start;
    for (let end; (end = lineEnd.exec(text)); start = lineEnd.lastIndex) {
      this.#add(text.slice(start, end.index));
      const line = this.#pieces.length === 1 ? this.#pieces[0] : this.#pieces.join("");
      this.#pieces = [];
      this.#lineChars = 0;
      // A CR at the very end counts at once, and so may be followed by its LF in the next chunk.
      this.#afterCr = end[0] === "\r" && lineEnd.lastIndex === text.length;
      const item = line === "" ? this.#dispatch() : this.#field(line);
      if (item) yield item;
    }
    if (start < text.length) this.#add(text.slice(start));
  }

  #add(piece) {
    this.#pieces.push(piece);
    this.#lineChars += piece.length;
    // Of a line whose end has not come the name is not known; `event: ` and `retry: ` are the longest that count.
    this.#limit(this.#lineChars - "event: ".length);
  }

  #limit(chars) {
    if (chars > this.#maxEventChars) {
      throw new RangeError(`an event is larger than ${this.#maxEventChars} characters`);
    }
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const space = line[colon + 1] === " " ? 1 : 0;
    const value = colon < 0 ? "" : line.slice(colon + 1 + space);
    this.#limit(value.length);
    switch (name) {
      case "":
        return { comment: value };
      case "data":
        this.#dataLines.push(value);
        this.#dataChars += value.length + 1;
        // Without the last line's LF, as in the event.
        this.#limit(this.#dataChars - 1);
        return null;
      case "event":
        this.#event = value;
        return null;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        return null;
      case "retry":
        return /^[0-9]+$/.test(value) ? { retryMs: Number(value) } : null;
      default:
        return null;
    }
  }

  #dispatch() {
    // The id counts even if the block has no data.
    if (this.#id !== null) this.lastEventId = this.#id;
    const lines = this.#dataLines;
    const event = this.#event || "message";
    this.#id = null;
    this.#event = "";
    if (lines.length === 0) return null;
    this.#dataLines = [];
    this.#dataChars = 0;
    return { event, data: lines.join("\n"), id: this.lastEventId };
  }
}

// --- the event source ----------------------------------------------------------------------------

/**
 * The standard's EventSource. Options beyond the standard's `withCredentials` (which means nothing here: there are no
 * cookies of others): `headers` for every request, `lastEventId` to start from, `readTimeoutMs` without a byte after
 * which it reconnects, `answerTimeoutMs` without the head of an answer after which it does (10 minutes), `retryMs`,
 * `maxBackoffMs` (30 s) to which the wait grows, `maxEventChars`.
 *
 * Beyond the standard, `onevent` is called with every event of the stream, whatever its type, and an `error` event has a
 * `message` that says what happened.
 */
export class EventSource extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;
  CONNECTING = 0;
  OPEN = 1;
  CLOSED = 2;

  #url;
  #options;
  #state = EventSource.CONNECTING;
  #lastEventId;
  #retryMs;
  #failures = 0;
  #openedAt = 0;
  #hasEvent = false;
  #request = null;
  #start = null;
  #timer = null;
  #late = null;
  #silence = null;
  #lastLook = null;
  #handlers = new Map();

  /** Called with every event of the stream, whatever its type; null or a function. */
  onevent = null;

  constructor(url, options = {}) {
    super();
    let parsed;
    try {
      parsed = new URL(url);
    } catch {
      throw new DOMException(`${url} is not a URL`, "SyntaxError");
    }
    if (!isHttp(parsed)) throw new DOMException(`${url} is neither http nor https`, "SyntaxError");
    this.#url = parsed;
    this.#options = options;
    this.#lastEventId = options.lastEventId ?? "";
    this.#retryMs = options.retryMs ?? RETRY_MS;
    // Listeners are added behind the constructor; nothing may happen before.
    this.#start = setImmediate(() => this.#connect(this.#url, 0));
  }

  get url() {
    return this.#url.href;
  }
  get readyState() {
    return this.#state;
  }
  get withCredentials() {
    return Boolean(this.#options.withCredentials);
  }
  /** The id that a reconnection would resume from; empty if there is none. */
  get lastEventId() {
    return this.#lastEventId;
  }
  /** The reconnection time: the server's last `retry`, up to an hour, else the option. */
  get retryMs() {
    return this.#retryMs;
  }

  get onopen() {
    return this.#handler("open");
  }
  set onopen(handler) {
    this.#setHandler("open", handler);
  }
  get onmessage() {
    return this.#handler("message");
  }
  set onmessage(handler) {
    this.#setHandler("message", handler);
  }
  get onerror() {
    return this.#handler("error");
  }
  set onerror(handler) {
    this.#setHandler("error", handler);
  }

  /** Closes the connection, for good and without an event. */
  close() {
    this.#state = EventSource.CLOSED;
    this.#drop();
  }

  #handler(type) {
    return this.#handlers.get(type) ?? null;
  }

  #setHandler(type, handler) {
    const old = this.#handlers.get(type);
    if (old) this.removeEventListener(type, old);
    this.#handlers.delete(type);
    if (typeof handler !== "function") return;
    this.#handlers.set(type, handler);
    this.addEventListener(type, handler);
  }

  #connect(url, redirects) {
    const { request } = url.protocol === "https:" ? https : http;
    // No pool: a stream has its connection for itself.
    const options = { agent: false, headers: this.#requestHeaders(url) };
    let sent;
    try {
      sent = request(url, options);
    } catch (error) {
      // A header that HTTP cannot carry: trying again is futile.
      this.#fail(`the request cannot be sent: ${error.message}`);
      return;
    }
    this.#request = sent;
    const current = () => this.#request === sent;
    sent.on("socket", (socket) => socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS));
    let isAnswered = false;
    sent.on("error", (error) => {
      // Of a connection that breaks later the response says so too.
      if (current() && !isAnswered) this.#reconnect(`no answer: ${error.message || error.code}`);
    });
    sent.on("response", (response) => {
      isAnswered = true;
      if (current()) this.#answered(response, url, redirects, current);
    });
    sent.end();
    const { answerTimeoutMs = ANSWER_TIMEOUT_MS } = this.#options;
    this.#late = setTimeout(() => this.#reconnect(`no answer within ${answerTimeoutMs} ms`), answerTimeoutMs);
    this.#heard();
  }

  #requestHeaders(url) {
    const headers = new Map([
      ["accept", "text/event-stream"],
      // Without it a server may choose any coding.
      ["accept-encoding", "identity"],
      ["cache-control", "no-cache"],
    ]);
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) {
      const lower = name.toLowerCase();
      // Credentials stay with the origin that they were meant for.
      const secret = lower === "authorization" || lower === "cookie";
      if (!secret || url.origin === this.#url.origin) headers.set(lower, value);
    }
    // UTF-8 as raw bytes, says the standard; Node writes header values as Latin-1. An id with control characters fits
    // no header: it is left out and the server starts anew, which is better than never connecting again.
    if (this.#lastEventId !== "" && !/[\x00-\x08\x0a-\x1f\x7f]/.test(this.#lastEventId)) {
      headers.set("last-event-id", Buffer.from(this.#lastEventId, "utf8").toString("latin1"));
    }
    return Object.fromEntries(headers);
  }

  /** The standard's “announce the connection” or “fail the connection”. */
  #answered(response, url, redirects, current) {
    const { statusCode: status, headers } = response;
    clearTimeout(this.#late);
    if ([301, 302, 303, 307, 308].includes(status) && headers.location !== undefined) {
      this.#redirect(headers.location, url, redirects);
      return;
    }
    if (status === 204) return this.#fail(NOTHING_MORE);
    if (status !== 200) return this.#refused(response, url, current);
    if (essence(headers) !== "text/event-stream") {
      const type = headers["content-type"] ?? "missing";
      return this.#fail(`${url} is not an event stream: its Content-Type is ${type}`);
    }
    const found = codings(headers);
    if (found !== "") return this.#fail(`${url} sends a stream that is coded as ${found}, which was not asked for`);
    this.#state = EventSource.OPEN;
    this.#openedAt = performance.now();
    this.#hasEvent = false;
    this.dispatchEvent(new Event("open"));
    if (!current()) return;
    const parser = new Parser({ ...this.#options, lastEventId: this.#lastEventId });
    response.on("data", (bytes) => current() && this.#read(parser, bytes, url.origin, current));
    response.on("end", () => current() && this.#reconnect("the server ended the stream"));
    response.on("error", (error) => current() && this.#reconnect(`the connection broke: ${error.message}`));
  }

  /** Fails with the words of the server, if they are text and as far as they come in time. */
  #refused(response, url, current) {
    const pieces = [];
    let size = 0;
    const fail = () => current() && this.#fail(`${url} answered ${response.statusCode}${afterColon(pieces)}`);
    if (!isText(response.headers) || codings(response.headers) !== "") return fail();
    this.#forgetSilence();
    this.#timer = setTimeout(fail, WORDS_TIMEOUT_MS);
    response.on("end", fail);
    response.on("error", fail);
    response.on("data", (bytes) => {
      pieces.push(bytes);
      size += bytes.length;
      if (size >= MAX_WORDS_BYTES) fail();
    });
  }

  #redirect(location, from, redirects) {
    this.#drop();
    let url;
    try {
      url = new URL(location, from);
    } catch {
      return this.#fail(`${from} redirects to ${location}, which is not a URL`);
    }
    if (!isHttp(url)) return this.#fail(`${from} redirects to ${url}, which is neither http nor https`);
    if (redirects === MAX_REDIRECTS) return this.#fail(`more than ${MAX_REDIRECTS} redirects`);
    this.#connect(url, redirects + 1);
  }

  #read(parser, bytes, origin, current) {
    this.#heard();
    try {
      for (const { event, data, id, retryMs } of parser.push(bytes)) {
        if (retryMs !== undefined) this.#retryMs = Math.min(retryMs, MAX_RETRY_MS);
        if (event === undefined) continue;
        this.#hasEvent = true;
        this.#lastEventId = id;
        const message = new MessageEvent(event, { data, origin, lastEventId: id });
        this.onevent?.(message);
        if (current()) this.dispatchEvent(message);
        // A listener may have closed us.
        if (!current()) return;
      }
      // An id counts without data too.
      this.#lastEventId = parser.lastEventId;
    } catch (error) {
      // The limit; an error of a listener is its own affair.
      if (!(error instanceof RangeError)) throw error;
      this.#fail(error.message);
    }
  }

  /** The standard's “reestablish the connection”. An incomplete block is forgotten with its parser. */
  #reconnect(message) {
    const wait = this.#wait();
    this.#drop();
    this.#state = EventSource.CONNECTING;
    this.#timer = setTimeout(() => this.#connect(this.#url, 0), wait);
    this.#error(`${message}; trying again in ${(wait / 1000).toFixed(1)} s`);
  }

  /**
   * The standard's time after a stream that had an event or lasted as long as that, and after the first empty one;
   * longer, at random, after further attempts that come to nothing.
   */
  #wait() {
    const { maxBackoffMs = MAX_BACKOFF_MS } = this.#options;
    const opened = this.#state === EventSource.OPEN;
    const lasted = this.#hasEvent || performance.now() - this.#openedAt >= Math.max(this.#retryMs, MIN_WAIT_MS);
    const before = this.#failures;
    this.#failures = opened && lasted ? 0 : before + 1;
    const doublings = opened && !lasted ? before : this.#failures;
    let wait = this.#retryMs;
    if (doublings > 0) {
      const grown = Math.min(Math.max(wait, 100) * 2 ** doublings, maxBackoffMs);
      wait += Math.max(grown - wait, 0) * Math.random();
    }
    return Math.min(Math.max(wait, MIN_WAIT_MS), MAX_WAIT_MS);
  }

  #fail(message) {
    this.close();
    this.#error(message);
  }

  #error(message) {
    this.dispatchEvent(Object.assign(new Event("error"), { message }));
  }

  /** Something came, or is about to: the silence starts anew. */
  #heard() {
    const { readTimeoutMs } = this.#options;
    if (!readTimeoutMs) return;
    this.#forgetSilence();
    const giveUp = () => this.#reconnect(`nothing came for ${readTimeoutMs} ms`);
    // If this process was not scheduled for a while, bytes may wait in the socket: Node reads it between the two.
    this.#silence = setTimeout(() => (this.#lastLook = setImmediate(giveUp)), readTimeoutMs);
  }

  #forgetSilence() {
    clearTimeout(this.#silence);
    clearImmediate(this.#lastLook);
  }

  #drop() {
    clearImmediate(this.#start);
    clearTimeout(this.#timer);
    clearTimeout(this.#late);
    this.#forgetSilence();
    const request = this.#request;
    this.#request = null;
    request?.destroy();
  }
}

/** The message of the end that a server asks for with 204. */
const NOTHING_MORE = "the server has nothing more (204)";

function isHttp(url) {
  return url.protocol === "http:" || url.protocol === "https:";
}

/** The type without its parameters. */
const essence = (headers) => (headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();

const isText = (headers) => /^(text\/.*|application\/json|.*\+json)$/.test(essence(headers));

/** The codings that are still on a body; it cannot be read before they are undone (RFC 9110 8.4). */
function codings(headers) {
  const left = (name, ...harmless) => {
    const tokens = (headers[name] ?? "").split(",").map((token) => token.trim());
    return tokens.filter((token) => token !== "" && !harmless.includes(token.toLowerCase()));
  };
  const found = left("content-encoding", "identity", "none");
  return [...found, ...left("transfer-encoding", "chunked", "identity")].join(", ");
}

/** Words of a server behind a colon, as a part of one line. */
function afterColon(pieces) {
  const bytes = Buffer.concat(pieces).subarray(0, MAX_WORDS_BYTES);
  // As a stream: a character that is cut at the end is left out.
  const text = new TextDecoder().decode(bytes, { stream: true });
  const line = text.split(/\s+/).filter(Boolean).join(" ").replace(/\p{Cc}/gu, "\ufffd");
  return line && `: ${line}`;
}

// --- the program ---------------------------------------------------------------------------------

/** A server that has not answered for this long may be thinking. */
const PATIENCE_MS = 2000;

const USAGE = `Print the events of a stream as they come, across reconnections

Usage: node sse.mjs [OPTIONS] URL

Options:
      --json                   Print each event as a JSON object on its own line
      --last-event-id <ID>     Resume after the event with this id
      --max-events <N>         End after this many events
  -H, --header <NAME: VALUE>   Send this header field; may be given more than once
      --read-timeout-ms <MS>   Reconnect after this long without a byte
  -h, --help                   Print help

Examples:
  node sse.mjs http://127.0.0.1:8003/ticks
  node sse.mjs --json --max-events 3 http://127.0.0.1:8003/time

Ends with 0 when the server has nothing more (204) or after --max-events, with 2 when there is no
event stream to read.`;

/** C0 but for LF and HT, DEL, C1, and what turns the direction of text, so that it reads otherwise than it is. */
const UNSAFE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\p{Bidi_Control}]/gu;

/** Control characters as pictures: text from a server must not control the terminal. */
const visible = (text) => text.replace(UNSAFE, (c) => (c < " " ? String.fromCodePoint(0x2400 + c.codePointAt(0)) : "\ufffd"));

/** The same for JSON, which has its own way to write any character. */
const escaped = (json) => json.replace(UNSAFE, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);

function print({ type, data, lastEventId }, json) {
  const time = new Date().toISOString();
  if (json) {
    console.log(escaped(JSON.stringify({ data, event: type, id: lastEventId, time })));
  } else {
    const [id, kind] = [visible(lastEventId).padEnd(4), visible(type).padEnd(7)];
    const margin = " ".repeat(12 + id.length + kind.length + 6);
    console.log(`${time.slice(11, 23)}  ${id}  ${kind}  ${visible(data).replaceAll("\n", `\n${margin}`)}`);
  }
}

function main() {
  const number = (name, text) => {
    if (text !== undefined && !/^[1-9][0-9]*$/.test(text)) throw new Error(`--${name} is a number from 1`);
    return text && Number(text);
  };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean" },
      "last-event-id": { type: "string" },
      "max-events": { type: "string" },
      header: { type: "string", short: "H", multiple: true },
      "read-timeout-ms": { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 1) throw new Error("give one URL, as in http://127.0.0.1:8003/ticks");
  const maxEvents = number("max-events", values["max-events"]) ?? Infinity;
  const headers = (values.header ?? []).map((field) => {
    const colon = field.indexOf(":");
    if (colon < 1) throw new Error("write a header as 'Name: value'");
    return [field.slice(0, colon).trim(), field.slice(colon + 1).trim()];
  });
  const source = new EventSource(positionals[0], {
    headers: Object.fromEntries(headers),
    lastEventId: values["last-event-id"],
    readTimeoutMs: number("read-timeout-ms", values["read-timeout-ms"]),
  });
  let events = 0;
  let opened = false;
  // Silence looks like a fault of ours.
  const late = setTimeout(() => console.error(`sse: waiting for an answer from ${source.url}`), PATIENCE_MS);
  source.onevent = (event) => {
    print(event, values.json);
    events += 1;
    if (events === maxEvents) source.close();
  };
  source.onopen = (event) => {
    // A server may call its own events so.
    if (event instanceof MessageEvent) return;
    clearTimeout(late);
    const id = source.lastEventId;
    console.error(`sse: reading ${source.url}${opened ? " again" : ""}${id && `, resumed after id ${visible(id)}`}`);
    opened = true;
  };
  source.onerror = (event) => {
    if (event instanceof MessageEvent) return;
    clearTimeout(late);
    const { message } = event;
    const closed = source.readyState === EventSource.CLOSED;
    if (closed && message === NOTHING_MORE) return console.error(`sse: ${message}`);
    if (!closed && opened) return console.error(`sse: ${visible(message)}`);
    source.close();
    const reason = message.replace(/; trying again.*/, "");
    console.error(`sse: cannot read ${source.url}: ${visible(reason)}; is it an event stream, and its server running?`);
    process.exitCode = 2;
  };
  // The reader of our output (`head`, `less`) has ended.
  process.stdout.on("error", () => process.exit(0));
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    main();
  } catch (error) {
    console.error(`sse: ${error.message}; see --help`);
    process.exitCode = 2;
  }
}
