// A scripted HTTP/1.1 server on raw sockets, for tests: it can cut, break and refuse connections at any byte.

import { readFileSync } from "node:fs";
import net from "node:net";

/** The head of an event stream without framing: the body lasts until the connection is closed. */
export const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/** Writes this and closes the connection. */
export const raw = (bytes) => (socket) => socket.end(bytes);

/** An event stream that ends whole. */
export function stream(body) {
  const head = HEAD.replace("Connection: close", "Transfer-Encoding: chunked");
  const size = Buffer.byteLength(body).toString(16);
  return raw(`${head}${size}\r\n${body}\r\n0\r\n\r\n`);
}

/** An event stream that stays open until the client has gone. */
export const held = (body) => (socket) => socket.write(HEAD + body);

/** A response without a body; `fields` holds whole lines. */
export function status(words, fields = "") {
  const length = words.startsWith("204") ? "" : "Content-Length: 0\r\n";
  return raw(`HTTP/1.1 ${words}\r\n${length}Connection: close\r\n${fields}\r\n`);
}

/**
 * Waits, without reading, until the kernel has what was written for the other end. A write may return
 * earlier, even on loopback: the kernel may leave the rest to a thread of its own.
 */
export function waitUntilReceived({ localPort, remotePort }) {
  const end = (port) => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  // Number, address of this end, of the other, state, what waits to be sent and to be read.
  const isReceived = (line) => {
    const [, here, there, , queues] = line.trim().split(/\s+/);
    return here.endsWith(end(remotePort)) && there.endsWith(end(localPort)) && !queues.endsWith(":00000000");
  };
  const deadline = Date.now() + 20_000;
  while (!readFileSync("/proc/self/net/tcp", "latin1").trim().split("\n").some(isReceived)) {
    if (Date.now() > deadline) throw new Error("the bytes do not arrive");
  }
}

/** One answer for each connection, in order; after the last it answers 204. */
export class Peer {
  static #all = [];
  requests = [];
  #server;
  #sockets = new Set();

  static async start(...script) {
    const peer = new Peer();
    Peer.#all.push(peer);
    peer.#server = net.createServer((socket) => peer.#serve(socket, script));
    await new Promise((resolve) => peer.#server.listen(0, "127.0.0.1", resolve));
    return peer;
  }

  static closeAll() {
    for (const peer of Peer.#all.splice(0)) peer.close();
  }

  url(target = "/x") {
    return `http://127.0.0.1:${this.#server.address().port}${target}`;
  }

  /** Resolves when the client of the newest connection has gone. */
  async gone() {
    for (const socket of this.#sockets) {
      if (!socket.destroyed) await new Promise((resolve) => socket.once("close", resolve));
    }
  }

  close() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket, script) {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    let text = "";
    const onData = (bytes) => {
      text += bytes.toString("latin1");
      if (!text.includes("\r\n\r\n")) return;
      socket.off("data", onData);
      socket.resume();
      const [start, ...lines] = text.split("\r\n\r\n")[0].split("\r\n");
      const fields = lines.map((line) => line.split(/: ?(.*)/s, 2));
      const headers = Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));
      const [method, target] = start.split(" ");
      this.requests.push({ method, target, headers, at: performance.now() });
      (script.shift() ?? status("204 No Content"))(socket);
    };
    socket.on("data", onData);
  }
}
