"""What functions can ask of the server, from their threads: accounts, and models by ``generate_chat_completion``."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from commands.providers.provider import Finish, Part, Reasoning, RefusalText, Text, ToolCall, Usage
from domain.errors import UserNotFound
from domain.log.event import Actor

PERSON_S: Final = 10.0  # how long a function waits for an account
T = TypeVar("T")
Answer = Callable[[Actor, Mapping[str, Any]], Awaitable[AsyncGenerator[list[Part], None]]]


class ServerHost:
    """Satisfies ``Host``. Made on the server's loop."""

    def __init__(self, person: Callable[[UUID], Coroutine[Any, Any, Mapping[str, Any]]], answer: Answer) -> None:
        self._loop = asyncio.get_running_loop()
        self._person = person
        self._answer = answer

    def person(self, user_id: str) -> Mapping[str, Any] | None:
        try:
            known_id = UUID(user_id)
        except ValueError:
            return None
        found = asyncio.run_coroutine_threadsafe(self._person(known_id), self._loop).result(PERSON_S)
        return found if found.get("email") else None

    async def complete(self, user_id: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Each read of the provider's is asked for when the one before it was taken: a slow function slows its model."""
        parts = await self._on_server(self._begin(user_id, body))
        try:
            made = Chunks(str(body.get("model")))
            while (read := await self._on_server(next_read(parts))) is not None:
                for chunk in made.of(read):
                    yield chunk
        finally:
            await self._on_server(closed(parts))

    async def _begin(self, user_id: str, body: Mapping[str, Any]) -> AsyncGenerator[list[Part], None]:
        person = await self._person(UUID(user_id))
        if not person.get("email"):
            raise UserNotFound(user_id)
        return await self._answer(Actor(UUID(user_id), person["name"], person["role"]), body)

    async def _on_server(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def next_read(parts: AsyncGenerator[list[Part], None]) -> list[Part] | None:
    return await anext(parts, None)


async def closed(parts: AsyncGenerator[list[Part], None]) -> None:
    await parts.aclose()


class Chunks:
    """Parts of one answer as chunks in OpenAI's form."""

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def of(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for part in parts:
            match part:
                case Text(text) | RefusalText(text):
                    made.append(self._delta({"content": text}))
                case Reasoning(text):
                    made.append(self._delta({"reasoning_content": text}))
                case ToolCall():
                    function = {"name": part.name, "arguments": part.arguments}
                    made.append(
                        self._delta({"tool_calls": [{"index": part.index, "id": part.id, "type": "function", "function": function}]})
                    )
                case Usage(usage):
                    made.append({**self._head, "choices": [], "usage": dict(usage)})
                case Finish(reason):
                    made.append(self._delta({}, reason))
                case _:
                    pass
        return made

    def _delta(self, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": dict(delta), "finish_reason": reason}]}
