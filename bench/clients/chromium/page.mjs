// Runs inside the page, as text: it has only its arguments and `tell`, by which the page reports to browser.mjs.

/* global tell */
export function page(watch, url, options) {
  if (options.cookie) document.cookie = options.cookie;
  const source = new EventSource(url, { withCredentials: options.withCredentials ?? false });
  const say = (record) => tell(JSON.stringify(record));
  const shape = ({ isTrusted: trusted, bubbles, cancelable, origin }) => ({ trusted, bubbles, cancelable, origin });
  const { heard, close } = watch(source, options, say, shape);
  globalThis.closeSource = close;
  const types = ["open", "error", "message", ...(options.eventTypes ?? [])];
  for (const type of new Set(types)) source.addEventListener(type, heard);
}
