"""
title: Second thoughts
description: A pipe: asks a model of this server, then asks it to make its answer shorter.
version: 1.0
"""

from collections.abc import AsyncIterator

from open_webui.utils.chat import generate_chat_completion
from pydantic import BaseModel, Field


class Pipe:
    class Valves(BaseModel):
        model: str = Field(default="demo:fast", description="The model that is asked, both times.")

    def __init__(self):
        self.valves = self.Valves()

    async def pipe(self, body: dict, __user__: dict, __request__, __event_emitter__) -> AsyncIterator[str]:
        """Yields the second answer piece by piece; the first one is only shown as a status."""
        question = {"model": self.valves.model, "messages": body["messages"], "stream": False}
        await __event_emitter__({"type": "status", "data": {"description": "Thinking", "done": False}})
        first = await generate_chat_completion(__request__, question, __user__)
        draft = first["choices"][0]["message"]["content"]

        await __event_emitter__({"type": "status", "data": {"description": f"Shortening {len(draft)} characters", "done": False}})
        again = [*body["messages"], {"role": "assistant", "content": draft}, {"role": "user", "content": "Say that in one sentence."}]
        second = await generate_chat_completion(__request__, {**question, "messages": again, "stream": True}, __user__)
        async for line in second.body_iterator:
            yield line  # lines of an event stream are taken as they are
        await __event_emitter__({"type": "status", "data": {"description": "Done", "done": True}})
