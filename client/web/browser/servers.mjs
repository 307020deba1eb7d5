// The servers of this workspace as processes: found by their manifests, built, started, killed.

import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));

/** How long a server may take until it listens: a debug build on a busy machine. */
const READY_MS = 20_000;

/** The deadline of every wait: debug builds and a software-drawn browser on two busy cores. */
export const PATIENCE_MS = 30_000;

const metadata = JSON.parse(cargo("metadata", "--no-deps", "--locked", "--format-version", "1"));

/** Where cargo puts what it makes. */
export const target = metadata.target_directory;

/** Screenshots go here, beside what cargo makes. */
export const artefacts = `${metadata.target_directory}/page`;

/** Packages with `[package.metadata.server]`; `SSE_TEST_SERVERS=axum,poem` restricts a run. */
export const servers = metadata.packages
  .filter((it) => it.metadata?.server)
  .map((it) => ({ package: it.name, name: it.name.replace(/^sse-/, ""), ...it.metadata.server }))
  .filter((it) => !process.env.SSE_TEST_SERVERS || process.env.SSE_TEST_SERVERS.split(",").includes(it.name));
if (!servers.length) throw new Error("no server: is SSE_TEST_SERVERS right?");

/** Builds a server; the path of its binary. One package at a time: together they would share features. */
export function build(server) {
  const messages = cargo("build", "--quiet", "--locked", "--message-format", "json", "-p", server.package);
  const built = messages.trim().split("\n").map((line) => JSON.parse(line));
  return built.findLast((it) => it.executable).executable;
}

export function cargo(...args) {
  const stdio = ["ignore", "pipe", "inherit"];
  return execFileSync("cargo", args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 26, stdio });
}

let addresses = 0;

/** A loopback address of one test of this process: a program that binds 127.0.0.1 takes no port on it that is free for a moment. */
export function ownAddress() {
  return `127.${++addresses}.${(process.pid >> 8) & 255}.${process.pid & 255}`;
}

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A server process. */
export class Server {
  #child;

  /** Starts it; `port` 0 takes any. */
  static async start(binary, { host = "127.0.0.1", port = 0, args = [] } = {}) {
    const server = new Server();
    server.#child = spawn(binary, ["--host", host, "--port", port, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const child = server.#child;
    running.add(child);
    server.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
    const late = setTimeout(() => child.kill("SIGKILL"), READY_MS);
    const lines = createInterface({ input: child.stdout });
    const firstLine = new Promise((resolve) => lines.once("line", resolve));
    const line = await Promise.race([firstLine, server.ended.then(() => undefined)]);
    clearTimeout(late);
    const ready = line?.match(/^listening on (http:\/\/127(?:\.\d+){3}:(\d+))$/);
    if (!ready) throw new Error(`${binary} is not ready: ${line ?? "it ended"}`);
    server.url = ready[1];
    server.port = Number(ready[2]);
    return server;
  }

  /** Kills it: the streams break without a last chunk. */
  kill() {
    return this.#end("SIGKILL");
  }

  /** Ends it as its operator would: each stream gets a `retry`, and ends whole. */
  stop() {
    return this.#end("SIGTERM");
  }

  async #end(signal) {
    this.#child.kill(signal);
    const ended = await this.ended;
    running.delete(this.#child);
    return ended;
  }

  /** Waits until it has so many open streams. */
  async streams(count) {
    const deadline = Date.now() + PATIENCE_MS;
    for (let open; open !== count; ) {
      const answer = await fetch(`${this.url}/metrics`);
      open = Number((await answer.text()).match(/^sse_open_streams (\d+)/m)[1]);
      if (Date.now() > deadline) throw new Error(`${open} open streams, not ${count}`);
    }
  }

  async publish(topic, body) {
    const answer = await fetch(`${this.url}/messages/${topic}`, { method: "POST", body });
    if (answer.status !== 201) throw new Error(`publishing got ${answer.status}`);
    return (await answer.json()).id;
  }
}
