"""httpx-sse. It reads one response; reconnecting is left to its user."""

import asyncio
import json
import os
import sys
from importlib.metadata import version

import httpx
import httpx_sse

options = json.loads(os.environ.get("SSE_CASE_OPTIONS") or "{}")


def say(**record):
    print(json.dumps(record), flush=True)


async def read(url):
    """Runs the case to the end of its stream."""
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
            events = 0
            async for event in source.aiter_sse():
                say(k="event", type=event.event, data=event.data, id=event.id)
                events += 1
                if events == options.get("closeAfterEvents"):
                    return


async def run(url):
    """Reads until the stream ends or the harness says close; stays until the harness has seen enough."""
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    reading = asyncio.create_task(read(url))
    command = asyncio.create_task(commands.readline())
    await asyncio.wait([reading, command], return_when=asyncio.FIRST_COMPLETED)
    reading.cancel()
    result = (await asyncio.gather(reading, return_exceptions=True))[0]
    if isinstance(result, Exception):
        print(repr(result), file=sys.stderr)
        say(k="error", fatal=True)
    say(k="closed")
    while await command:
        command = asyncio.create_task(commands.readline())


if sys.argv[-1] == "--describe":
    say(name="httpx-sse", version=version("httpx-sse"), capabilities=["Hd", "Bd", "To", "Gz", "Ch"])
else:
    asyncio.run(run(sys.argv[-1]))
