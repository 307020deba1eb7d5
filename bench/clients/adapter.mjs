// Shared by the adapters in JavaScript: the protocol with the harness, for anything that is an EventSource.

import { readFileSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";

export const options = JSON.parse(process.env.SSE_CASE_OPTIONS || "{}");

/** One record a line. It blocks, as `process.stdout` does not: a harness that does not read slows the client down. */
export const say = (record) => sayLine(JSON.stringify(record));

export function sayLine(line) {
  let rest = Buffer.from(`${line}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
}

/** The version in the manifest of an installed package. */
export const versionOf = (manifest) => JSON.parse(readFileSync(manifest, "utf8")).version;

/** Passes on the harness's commands. Ends with stdin, which the harness closes when the case is over. */
export function onCommand(run) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => run(JSON.parse(line).cmd));
  lines.on("close", () => process.exit(0));
}

/** Runs one case; `open(url)` makes the EventSource. */
export function adapt({ name, version, capabilities, open }) {
  if (process.argv.includes("--describe")) return say({ name, version, capabilities });
  const source = open(process.argv.at(-1));
  const { onEvent, close } = watch(source, options, say);
  // Listeners get only the types that they ask for; here all of them pass.
  const dispatch = source.dispatchEvent;
  source.dispatchEvent = (event) => {
    onEvent(event);
    return dispatch.call(source, event);
  };
  onCommand((command) => command === "close" && close());
}

/**
 * Reports the states and events of an EventSource: pass each event to `onEvent`. `more` adds fields to the record of an
 * event.
 *
 * It goes into pages as text, so it needs nothing else of this module.
 */
export function watch(source, options, say, more = () => ({})) {
  let state;
  let events = 0;
  const readyState = () => {
    if (source.readyState === state) return;
    state = source.readyState;
    say({ k: "state", v: state });
  };
  const close = () => {
    source.close();
    if (state === 2) return;
    readyState();
    say({ k: "closed" });
  };
  const onEvent = (event) => {
    readyState();
    const { type } = event;
    // A server may call its events "open" and "error" too.
    if ("lastEventId" in event) {
      const { data, lastEventId: id } = event;
      say({ k: "event", type, data, id, ...more(event) });
      events += 1;
      if (events === options.closeAfterEvents) close();
    } else if (type === "open") {
      say({ k: "open", ...more(event) });
    } else {
      const fatal = state === 2;
      say({ k: "error", fatal, ...more(event) });
      if (fatal) say({ k: "closed" });
    }
  };
  readyState();
  return { onEvent, close };
}
