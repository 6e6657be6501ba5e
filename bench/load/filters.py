"""Folders of functions to measure with: filters that do nothing, one that sleeps, and many of them."""

import sys
from pathlib import Path
from typing import Final

import uvloop

NOOP: Final = """
class Filter:
    def {stage}(self, {parameter}: dict) -> dict:
        return {parameter}
"""
ASYNC_NOOP: Final = NOOP.replace("    def", "    async def")
SLEEPER: Final = """
import time


class Filter:
    def __init__(self):
        self.toggle = True

    def inlet(self, body: dict) -> dict:
        time.sleep(0.05)
        return body

    def stream(self, event: dict) -> dict:
        time.sleep(0.05)
        return event
"""
MANY: Final = '''"""
title: Filter {number}
"""
import re
from typing import Optional

from pydantic import BaseModel, Field


class Filter:
    class Valves(BaseModel):
        priority: int = Field(default={number}, description="Lower ones run first.")
        word: str = Field(default="word {number}")
        limit: Optional[int] = None

    class UserValves(BaseModel):
        loud: bool = False

    def __init__(self):
        self.valves = self.Valves()
        self.pattern = re.compile(self.valves.word)

    def inlet(self, body: dict, __user__: Optional[dict] = None) -> dict:
        for message in body.get("messages", []):
            if isinstance(message.get("content"), str):
                message["content"] = self.pattern.sub("", message["content"])
        return body
'''


def folder_with(folder: Path, **sources: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def noop(stage: str, *, is_async: bool = False) -> str:
    return (ASYNC_NOOP if is_async else NOOP).format(stage=stage, parameter="event" if stage == "stream" else "body")


def many(count: int) -> dict[str, str]:
    return {f"filter_{number}": MANY.replace("{number}", str(number)) for number in range(count)}


async def modules_of_an_idle_server() -> list[str]:
    """What a server without functions has imported for functions alone, once it has started."""
    from api.settings import Settings
    from api.systems import in_memory

    system = await in_memory(Settings(data=Path(sys.argv[1])))
    await system.start()
    loaded = [name for name in sys.modules if name.partition(".")[0] == "pydantic" or name.startswith(LAZY)]
    await system.stop()
    return loaded


LAZY: Final = ("adapters.functions.loading", "adapters.functions.compat.open_webui")

if __name__ == "__main__":
    sys.stdout.write(" ".join(["imported", *uvloop.run(modules_of_an_idle_server())]))
