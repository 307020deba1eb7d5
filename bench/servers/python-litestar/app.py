import asyncio
from typing import Any

from litestar import Litestar, get, post
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.response import ServerSentEvent


@get("/ticks")
async def ticks() -> ServerSentEvent:
    async def events():
        n = 0
        while True:
            n += 1
            yield f"tick {n}"
            await asyncio.sleep(0.5)

    return ServerSentEvent(events())


@get("/rooms/{name:str}")
async def join(name: str, channels: ChannelsPlugin) -> ServerSentEvent:
    async def events():
        async with channels.start_subscription(name) as subscriber:
            async for message in subscriber.iter_events():
                yield message

    return ServerSentEvent(events())


@post("/rooms/{name:str}", status_code=204)
async def say(name: str, data: dict[str, Any], channels: ChannelsPlugin) -> None:
    await channels.wait_published(data, name)


rooms = ChannelsPlugin(MemoryChannelsBackend(), arbitrary_channels_allowed=True)
app = Litestar([ticks, join, say], plugins=[rooms])
