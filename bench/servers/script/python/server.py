"""A server with its own way of encoding events, which the suite sees through /script: uvicorn server:app"""

import asyncio
import re
import time

from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from script import script


def encode(id=None, event=None, data=None, retry=None, comment=None):
    """An event of any of these."""
    block = ""
    if comment is not None:
        block += lines("", comment)
    if event is not None:
        block += line("event", event)
    if data is not None:
        block += lines("data", data)
    if id is not None:
        block += line("id", id)
    if retry is not None:
        block += f"retry: {retry}\n"
    return block + "\n"


def lines(field, value):
    """A line for each line of the value."""
    return "".join(f"{field}: {line}\n" for line in re.split("\r\n|\r|\n", value))


def line(field, value):
    """A field that has one line: a line end would begin another field."""
    value = re.sub("[\r\n\0]", " ", value)
    return f"{field}: {value}\n"


def stream(events):
    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def ticks(request):
    async def events():
        while True:
            yield encode(event="tick", data=time.ctime())
            await asyncio.sleep(0.5)

    return stream(events())


# In tests only: it lets any client choose what your server sends.
async def play(request):
    return stream(script(request.query_params["events"], encode))


app = Starlette(routes=[Route("/ticks", ticks), Route("/script", play)])
