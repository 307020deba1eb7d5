// Runs inside the page, as text: it has only its arguments and `report`, by which it reports to browser.mjs.

/* global report */
export function page(watch, url, options) {
  if (options.cookie) document.cookie = options.cookie;
  const source = new EventSource(url, { withCredentials: options.withCredentials ?? false });
  const say = (record) => report(JSON.stringify(record));
  const shape = ({ isTrusted: trusted, bubbles, cancelable, origin }) => ({ trusted, bubbles, cancelable, origin });
  const { onEvent, close } = watch(source, options, say, shape);
  globalThis.closeSource = close;
  const types = ["open", "error", "message", ...(options.eventTypes ?? [])];
  for (const type of new Set(types)) source.addEventListener(type, onEvent);
}
