"""
title: Count words
description: An action: counts the words of an answer, and adds the count to it after asking whether it may.
version: 1.0
"""

from pydantic import BaseModel, Field

ICON = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="


class Action:
    actions = [
        {"id": "show", "name": "Count words", "icon_url": ICON},
        {"id": "add", "name": "Add the number of words", "icon_url": ICON},
    ]

    class Valves(BaseModel):
        priority: int = Field(default=0, description="Actions with a lower one are shown first.")

    def __init__(self):
        self.valves = self.Valves()

    async def action(self, body: dict, __id__: str, __event_emitter__, __event_call__=None) -> dict:
        words = len(body["messages"][-1]["content"].split())
        if __id__ == "add" and __event_call__ is not None:
            data = {"title": "Add it?", "message": f"The answer has {words} words. Write that below it?"}
            if await __event_call__({"type": "confirmation", "data": data}):
                await __event_emitter__({"type": "message", "data": {"content": f"\n\n({words} words)"}})
        else:
            await __event_emitter__({"type": "notification", "data": {"type": "info", "content": f"{words} words"}})
        return {"words": words}
