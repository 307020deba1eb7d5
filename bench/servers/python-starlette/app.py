import asyncio
from collections import defaultdict

from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

rooms = defaultdict(set)


async def ticks(request):
    async def events():
        n = 0
        while True:
            n += 1
            yield f"data: tick {n}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(events(), media_type="text/event-stream")


async def join(request):
    queue = asyncio.Queue()
    room = rooms[request.path_params["name"]]
    room.add(queue)

    async def events():
        try:
            while True:
                yield f"data: {await queue.get()}\n\n"
        finally:
            room.remove(queue)

    return StreamingResponse(events(), media_type="text/event-stream")


async def say(request):
    text = (await request.body()).decode()
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
