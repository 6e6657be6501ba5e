"""
title: Echoes
description: A manifold: one pipe that is several models. Each says what was asked in another way.
version: 1.0
"""

import time
from collections.abc import Iterator

from open_webui.utils.misc import get_last_user_message
from pydantic import BaseModel, Field


class Pipe:
    class Valves(BaseModel):
        pause_ms: int = Field(default=20, ge=0, description="Between two words.")

    def __init__(self):
        self.name = "Echo: "
        self.valves = self.Valves()

    def pipes(self) -> list[dict]:
        return [{"id": "plain", "name": "plain"}, {"id": "loud", "name": "loud"}, {"id": "backwards", "name": "backwards"}]

    def pipe(self, body: dict) -> Iterator[str]:
        way = body["model"].partition(".")[2]  # the model is asked for as echoes.loud
        words = (get_last_user_message(body["messages"]) or "").split()
        if way == "loud":
            words = [word.upper() for word in words]
        elif way == "backwards":
            words.reverse()
        for word in words:
            yield word + " "
            time.sleep(self.valves.pause_ms / 1000)
