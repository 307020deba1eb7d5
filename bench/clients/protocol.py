"""Shared by the adapters in Python: the protocol with the harness, for clients that read one response."""

import asyncio
import contextlib
import json
import os
import re
import sys
from importlib.metadata import version

options = json.loads(os.environ.get("SSE_CASE_OPTIONS") or "{}")

# The part that a parser leaves to its user.
headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", **options.get("headers", {})}


def say(**record):
    print(json.dumps(record), flush=True)


def accept(status, content_type):
    """The part that a parser leaves to its user: the status and the type of the answer, as the standard has them."""
    if status != 200:
        raise ValueError(f"status {status}")
    if not re.match(r"text/event-stream *(;|$)", content_type or "", re.IGNORECASE):
        raise ValueError(f"Content-Type {content_type}")
    say(k="open")


def adapt(package, capabilities, events):
    """Runs one case; `events(url)` is an async generator of (type, data, id)."""
    if sys.argv[-1] == "--describe":
        say(name=package, version=version(package), capabilities=capabilities)
    else:
        asyncio.run(run(events(sys.argv[-1])))


async def read(events):
    """Reports the events to the end of their stream."""
    async with contextlib.aclosing(events):
        count = 0
        async for type, data, id in events:
            say(k="event", type=type, data=data, id=id)
            count += 1
            if count == options.get("closeAfterEvents"):
                return


async def run(events):
    """Reads until the stream ends or the harness says close; stays until the harness has seen enough."""
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    reading = asyncio.create_task(read(events))
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
