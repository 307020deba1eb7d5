"""GET /script for Starlette and FastAPI: the suite chooses events, your code encodes them."""

import asyncio
import base64
import json


async def script(text, encode):
    """The body of the answer to ?events=text. Your encode takes id, event, data, retry and comment."""
    for item in json.loads(base64.urlsafe_b64decode(text + "==")):
        delay_ms, times = item.pop("delay_ms", 0), item.pop("times", 1)
        repeat, then = item.pop("repeat", 1), item.pop("then", None)
        if then == "hold":  # The stream stays open and silent.
            await asyncio.Event().wait()
        if "data" in item:
            item["data"] *= times
        for _ in range(repeat):
            await asyncio.sleep(delay_ms / 1000)
            yield encode(**item)
