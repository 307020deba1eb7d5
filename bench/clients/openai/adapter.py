"""The decoder of the openai SDK for streamed answers, behind the HTTP library that the SDK uses."""

import sys

import httpx2
from openai._streaming import SSEDecoder

sys.path.append("..")
from protocol import accept, adapt, headers, options


async def events(url):
    request = {"headers": headers, "content": options.get("body")}
    # As the SDK sets it up: redirects are followed, and ten minutes of silence are too many.
    silence = options.get("readTimeoutMs", 600_000) / 1000
    async with httpx2.AsyncClient(timeout=silence, follow_redirects=True) as client:
        async with client.stream(options.get("method", "GET"), url, **request) as response:
            accept(response.status_code, response.headers.get("content-type"))
            async for event in SSEDecoder().aiter_bytes(response.aiter_bytes()):
                yield event.event or "message", event.data, event.id or ""


adapt("openai", ["Hd", "Bd", "To", "Gz", "Ch"], events)
