"""sseclient-py, behind requests as in its README. Both block, so they run in a thread."""

import asyncio
import contextlib
import sys

import requests
import sseclient

sys.path.append("..")
from protocol import accept, adapt, headers, options


async def events(url):
    silence = options.get("readTimeoutMs")
    request = {"headers": headers, "data": options.get("body"), "timeout": (None, silence and silence / 1000)}
    method = options.get("method", "GET")
    response = await asyncio.to_thread(requests.request, method, url, stream=True, **request)
    try:
        accept(response.status_code, response.headers.get("content-type"))
        source = sseclient.SSEClient(response).events()
        while event := await asyncio.to_thread(next, source, None):
            yield event.event, event.data, event.id or ""
    finally:
        # Closing alone would not wake the thread that reads. At the end of a stream there is nothing to shut down.
        with contextlib.suppress(RuntimeError, ValueError):
            response.raw.shutdown()
        response.close()


adapt("sseclient-py", ["Hd", "Bd", "To", "Gz", "Ch"], events)
