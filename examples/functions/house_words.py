"""
title: House words
description: A filter: tells the model what the house calls things, and writes its name right in every answer.
version: 1.0
"""

from open_webui.utils.misc import add_or_update_system_message
from pydantic import BaseModel, Field


class Filter:
    class Valves(BaseModel):
        priority: int = Field(default=0, description="Filters with a lower one run first.")
        house: str = Field(default="ACME", description="How the name of the house is written.")

    class UserValves(BaseModel):
        enabled: bool = Field(default=True, description="Whether answers to you are changed.")

    def __init__(self):
        self.valves = self.Valves()

    def inlet(self, body: dict, __user__: dict) -> dict:
        """Before the model is asked."""
        if __user__["valves"].enabled:
            add_or_update_system_message(f"The house is called {self.valves.house}.", body["messages"], append=True)
        return body

    def stream(self, event: dict, __user__: dict) -> dict:
        """Each chunk, before it is kept and shown."""
        if __user__["valves"].enabled:
            for choice in event.get("choices", []):
                delta = choice.get("delta", {})
                if delta.get("content"):
                    delta["content"] = delta["content"].replace(self.valves.house.lower(), self.valves.house)
        return event

    def outlet(self, body: dict, __user__: dict) -> dict:
        """The whole answer, which may hold what two chunks had cut."""
        if __user__["valves"].enabled and body["messages"]:
            last = body["messages"][-1]
            last["content"] = last["content"].replace(self.valves.house.lower(), self.valves.house)
        return body
