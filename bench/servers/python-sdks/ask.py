"""The other ends, of the same SDKs: ask.py BASE_URL prints the text of the model, then the progress and the result of the tool."""

import asyncio
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from openai import OpenAI

BASE = sys.argv[1]

model = OpenAI(base_url=f"{BASE}/v1", api_key="s3cret")
stream = model.chat.completions.create(
    model="parrot", stream=True, messages=[{"role": "user", "content": "Polly wants a cracker."}]
)
print("".join(chunk.choices[0].delta.content for chunk in stream))


async def call():
    async def progress(n, to, message):
        print(f"{n:.0f} of {to:.0f}")

    async with streamable_http_client(f"{BASE}/mcp") as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            result = await session.call_tool("count", {"to": 3}, progress_callback=progress)
            print(result.content[0].text)


asyncio.run(call())
