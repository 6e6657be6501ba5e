"""The built-in model: it needs nothing, and shows every way in which an answer can go.

Model                  What it shows
---------------------  -------------------------------------------------------------------
``demo``               an answer at a reading pace
``demo:1000``          an answer of that many words; any number up to ``WORDS_MAX``
``demo:fast``          an answer as fast as the server can write it
``demo:slow``          a late first word, then a tenth of the pace
``demo:reasoning``     a block of reasoning before the answer
``demo:tools``         a tool call; the answer, once the tool's result is in the conversation
``demo:fail``          an error in mid-answer
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from adapters.providers.answers.usage import normalized
from adapters.providers.demo.demo_text import answer_text, essay, question_text, thoughts
from commands.providers.provider import Finish, Model, Part, ProviderRequest, Reasoning, Text, ToolCall, Usage
from domain.errors import ModelNotFound, ProviderFailed

WORDS_PER_S: Final = 30.0
WORDS_MAX: Final = 100_000
SLOW_START_S: Final = 3.0
_SLOWER: Final = 10  # times, for demo:slow
_READ_WORDS: Final = 100  # in one read, where there is no pace
_LISTED: Final[Mapping[str, str]] = {
    "demo": "Demo",
    "demo:1000": "Demo, 1,000 words",
    "demo:fast": "Demo, as fast as it goes",
    "demo:slow": "Demo, slow",
    "demo:reasoning": "Demo with reasoning",
    "demo:tools": "Demo with a tool call",
    "demo:fail": "Demo, fails in mid-answer",
}
_LONG: Final = re.compile(r"demo:([1-9][0-9]{0,5})")
_WORD: Final = re.compile(r"\s*\S+|\s+")


class DemoProvider:
    """``words_per_s`` is kept by deadlines: after a stall the words that are due come in one read. 0 means no pace at all."""

    def __init__(self, words_per_s: float = WORDS_PER_S, *, slow_start_s: float = SLOW_START_S) -> None:
        self._words_per_s = words_per_s
        self._slow_start_s = slow_start_s

    async def models(self) -> Sequence[Model]:
        return [Model(id=model, name=name, owned_by="demo") for model, name in _LISTED.items()]

    def accepts(self, model: str) -> bool:
        """Whether ``model`` can be asked, listed or not."""
        return model in _LISTED or _words_asked(model) is not None

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        """Raises ``ModelNotFound``, and for ``demo:fail`` half-way ``ProviderFailed``."""
        if not self.accepts(ask.model):
            raise ModelNotFound(ask.model)
        parts = _script(ask)
        reason = "tool_calls" if isinstance(parts[-1], ToolCall) else "stop"
        limit = ask.params.get("max_completion_tokens", ask.params.get("max_tokens"))
        if isinstance(limit, int) and 0 < limit < len(parts):
            parts, reason = parts[:limit], "length"
        fails = ask.model == "demo:fail"
        if fails:
            parts = parts[: max(1, len(parts) // 2)]

        slow = ask.model == "demo:slow"
        pace = 0.0 if ask.model == "demo:fast" else self._words_per_s / (_SLOWER if slow else 1)
        if slow:
            await asyncio.sleep(self._slow_start_s)
        async for read in _paced(parts, pace):
            yield read
        if fails:
            raise ProviderFailed("provider_error", "demo:fail stops here on purpose, in the middle of its answer")
        yield [Usage(_usage(ask, parts)), Finish(reason)]


async def _paced(parts: Sequence[Part], words_per_s: float) -> AsyncGenerator[list[Part], None]:
    if words_per_s <= 0:
        for start in range(0, len(parts), _READ_WORDS):
            yield list(parts[start : start + _READ_WORDS])
            await asyncio.sleep(0)
        return
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    said = 0
    while said < len(parts):
        due = min(len(parts), int((loop.time() - begun_s) * words_per_s) + 1)
        if due > said:
            yield list(parts[said:due])
            said = due
        else:
            await asyncio.sleep(begun_s + said / words_per_s - loop.time())


def _script(ask: ProviderRequest) -> list[Part]:
    if (words := _words_asked(ask.model)) is not None:
        return _spoken(essay(words, ask.messages))
    match ask.model:
        case "demo:reasoning":
            return [*(Reasoning(word) for word in _WORD.findall(thoughts(ask.messages))), *_spoken(answer_text(ask.messages))]
        case "demo:tools":
            if ask.messages and ask.messages[-1].get("role") == "tool":
                result = " ".join((question_text(ask.messages[-1]) or "nothing").split())[:500]
                return _spoken(f"The tool answered: {result}\n\nA real model would now make something of it.")
            return _tool_call(ask)
        case _:
            return _spoken(answer_text(ask.messages))


def _spoken(text: str) -> list[Part]:
    return [Text(word) for word in _WORD.findall(text)]


def _tool_call(ask: ProviderRequest) -> list[Part]:
    """A call of the first tool that the caller offers, its arguments in pieces as models send them."""
    name = "look_up"
    match ask.params.get("tools"):
        case [{"function": {"name": str() as offered}}, *_] if offered:
            name = offered
        case _:
            pass
    asked = next((text for message in reversed(ask.messages) if message.get("role") == "user" and (text := question_text(message))), "")
    arguments = json.dumps({"query": " ".join(asked.split())[:200]}, ensure_ascii=False)
    opening = ToolCall(0, "", f"call_demo_{len(ask.messages)}", name)
    return [*_spoken("Let me look that up."), opening, *(ToolCall(0, piece) for piece in _WORD.findall(arguments))]


def _words_asked(model: str) -> int | None:
    found = _LONG.fullmatch(model)
    words = int(found[1]) if found else 0
    return words if 0 < words <= WORDS_MAX else None


def _usage(ask: ProviderRequest, parts: Sequence[Part]) -> dict[str, Any]:
    """A word counts as a token."""
    read = sum(len((question_text(message) or "").split()) for message in ask.messages)
    thought = sum(isinstance(part, Reasoning) for part in parts)
    return normalized({"prompt_tokens": read, "completion_tokens": len(parts), "completion_tokens_details": {"reasoning_tokens": thought}})
