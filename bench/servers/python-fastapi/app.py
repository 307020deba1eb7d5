import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

app = FastAPI()
rooms = defaultdict(set)


class Message(BaseModel):
    text: str


@app.get("/ticks", response_class=EventSourceResponse)
async def ticks() -> AsyncIterable[ServerSentEvent]:
    n = 0
    while True:
        n += 1
        yield ServerSentEvent(data={"tick": n}, event="tick", id=str(n))
        await asyncio.sleep(0.5)


@app.get("/rooms/{name}", response_class=EventSourceResponse)
async def join(name: str) -> AsyncIterable[Message]:
    queue = asyncio.Queue()
    rooms[name].add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        rooms[name].remove(queue)


@app.post("/rooms/{name}", status_code=204)
async def say(name: str, message: Message):
    for queue in rooms[name]:
        queue.put_nowait(message)
