import asyncio
from collections import defaultdict

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

rooms = defaultdict(set)


async def ticks(request):
    async def events():
        n = 0
        while True:
            n += 1
            yield {"event": "tick", "id": str(n), "data": f"tick {n}"}
            await asyncio.sleep(0.5)

    return EventSourceResponse(events())


async def join(request):
    queue = asyncio.Queue()
    room = rooms[request.path_params["name"]]
    room.add(queue)

    async def events():
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            room.remove(queue)

    return EventSourceResponse(events())


async def say(request):
    text = (await request.json())["text"]
    for queue in rooms[request.path_params["name"]]:
        queue.put_nowait(text)
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/ticks", ticks),
        Route("/rooms/{name}", join),
        Route("/rooms/{name}", say, methods=["POST"]),
    ]
)
