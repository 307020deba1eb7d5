import asyncio
import json
import sys
from collections import defaultdict

from aiohttp import web
from aiohttp_sse import sse_response

rooms = defaultdict(set)


async def ticks(request):
    async with sse_response(request) as response:
        n = 0
        while response.is_connected():
            n += 1
            await response.send(f"tick {n}")
            await asyncio.sleep(0.5)
    return response


async def join(request):
    room = rooms[request.match_info["name"]]
    async with sse_response(request) as response:
        queue = asyncio.Queue()
        room.add(queue)
        try:
            while response.is_connected():
                await response.send(json.dumps(await queue.get()))
        finally:
            room.remove(queue)
    return response


async def say(request):
    message = await request.json()
    for queue in rooms[request.match_info["name"]]:
        queue.put_nowait(message)
    return web.Response(status=204)


app = web.Application()
app.router.add_get("/ticks", ticks)
app.router.add_get("/rooms/{name}", join)
app.router.add_post("/rooms/{name}", say)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
