// Runs inside the page, as text: it has only its arguments and `report`, by which it reports to browser.mjs.

/* global report */
export function page(SSE, url, options) {
  const say = (record) => report(JSON.stringify(record));
  const { headers, method, body: payload, initialDelayMs: reconnectDelay } = options;
  // Without autoReconnect it does not come back.
  const source = new SSE(url, { start: false, autoReconnect: true, headers, method, payload, reconnectDelay });
  let events = 0;
  let over = false;
  const closed = () => {
    if (!over) say({ k: "closed" });
    over = true;
  };
  globalThis.closeSource = () => {
    source.close();
    closed();
  };
  const onEvent = (event) => {
    if (event.type === "readystatechange") {
      say({ k: "state", v: event.readyState });
      if (event.readyState !== SSE.CLOSED || over) return;
      // Of a stream that ended it says no more than that.
      say({ k: "error", fatal: !source.autoReconnect });
      if (!source.autoReconnect) closed();
    } else if ("lastEventId" in event) {
      say({ k: "event", type: event.type, data: event.data, id: event.lastEventId });
      events += 1;
      if (events === options.closeAfterEvents) globalThis.closeSource();
    } else if (event.type === "open") {
      say({ k: "open" });
    }
  };
  // Listeners get only the types that they ask for; here all of them pass.
  const dispatch = source.dispatchEvent;
  source.dispatchEvent = (event) => {
    if (event) onEvent(event);
    return dispatch.call(source, event);
  };
  source.stream();
}
