"""A receiver of events that takes each after 50 ms, as one across a network does.

uvicorn bench.receiver:app
"""

import asyncio

from starlette.types import Receive, Scope, Send

ANSWER_AFTER = 0.05  # s


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    await asyncio.sleep(ANSWER_AFTER)
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
