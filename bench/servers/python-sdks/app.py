import asyncio
import time

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

tools = MCPServer("counter")


@tools.tool()
async def count(to: int, context: Context) -> str:
    for n in range(1, to + 1):
        await context.report_progress(n, to)
        await asyncio.sleep(0.01)
    return f"counted to {to}"


async def complete(request):
    if request.headers.get("authorization") != "Bearer s3cret":
        return JSONResponse({"error": {"message": "no such key"}}, status_code=401)
    asked = await request.json()

    async def chunks():
        for word in asked["messages"][-1]["content"].split(" "):
            chunk = ChatCompletionChunk(
                id="answer",
                choices=[Choice(index=0, delta=ChoiceDelta(content=f"{word} "))],
                created=int(time.time()),
                model=asked["model"],
                object="chat.completion.chunk",
            )
            yield f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"
            await asyncio.sleep(0.01)
        yield "data: [DONE]\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


app = tools.streamable_http_app(stateless_http=True)
app.routes.append(Route("/v1/chat/completions", complete, methods=["POST"]))
