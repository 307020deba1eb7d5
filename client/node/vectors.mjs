// Reads ../vectors/*.json; their README says what the files hold.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../vectors/", import.meta.url);
export const files = readdirSync(folder).filter((name) => name.endsWith(".json"));

export function bytesOf(text) {
  if (typeof text === "string") return Buffer.from(text, "utf8");
  const piece = (part) => {
    if (typeof part === "string") return Buffer.from(part, "utf8");
    if (part.hex !== undefined) return Buffer.from(part.hex, "hex");
    return Buffer.from(part.repeat.repeat(part.times), "utf8");
  };
  return Buffer.concat(text.map(piece));
}

export const textOf = (text) => bytesOf(text).toString("utf8");

/** Every LF replaced, byte for byte: a stream need not be UTF-8. */
export function withLineEnd(stream, lineEnd) {
  return Buffer.from(stream.toString("latin1").replaceAll("\n", lineEnd), "latin1");
}

export function vectorsOf(file) {
  const { schema, vectors } = JSON.parse(readFileSync(new URL(file, folder), "utf8"));
  assert.equal(schema, "sse-vectors/1");
  return vectors;
}
