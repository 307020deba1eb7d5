"""httpx-sse. It reads one response; reconnecting is left to its user."""

import sys

import httpx
import httpx_sse

sys.path.append("..")
from protocol import adapt, options, say


async def events(url):
    # By default httpx gives up after 5 s of silence and follows no redirect.
    silence = options.get("readTimeoutMs")
    timeout = httpx.Timeout(None, read=silence and silence / 1000)
    request = {"headers": dict(options.get("headers", {}))}
    if "body" in options:
        request["content"] = options["body"]
        request["headers"].setdefault("Content-Type", "text/plain; charset=utf-8")
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        async with httpx_sse.aconnect_sse(client, options.get("method", "GET"), url, **request) as source:
            # httpx-sse leaves the status to its user. It checks the type, but only when the user asks for events.
            if source.response.status_code != 200:
                raise httpx_sse.SSEError(f"status {source.response.status_code}")
            source._check_content_type()
            say(k="open")
            async for event in source.aiter_sse():
                yield event.event, event.data, event.id


adapt("httpx-sse", ["Hd", "Bd", "To", "Gz", "Ch"], events)
