"""Direct connections: the provider is reached by the asker's own tab, with a key that comes neither here nor into the log.

The server asks the tab by a call of kind ``request:chat:completion``. The tab calls its provider and relays what that says, as ``data:``
lines or as decoded objects, and ends with ``{"done": true}``; or it answers the call with a whole completion, or with an error.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from adapters.providers.http.http import AFTER_FINISH_S, Patience
from adapters.providers.openai.openai import body_of
from adapters.providers.openai.openai_answer import OpenAIReader
from commands.calls.calls import CallQuestion, Calls
from commands.calls.direct import DirectTab
from commands.calls.relays import Relayed, Relaying, RelayReader
from commands.futures import retrieve_exception
from commands.providers.provider import Model, Part, ProviderRequest
from domain.errors import ProviderFailed, Refusal
from domain.log.event import Actor
from domain.log.stream import chat_stream
from domain.routing.call import CallOpened

KIND: Final = "request:chat:completion"
SSE_FIELDS: Final = (":", "id:", "event:", "retry:")  # lines that a tab relays with the others, and that are no data
_REPLY_KEYS: Final = ("choices", "error")


class DirectProvider:
    """Answers one message of ``actor``, through ``tab`` or another of their tabs."""

    def __init__(
        self, calls: Calls, relaying: Relaying, patience: Patience, actor: Actor, chat_id: UUID, message_id: UUID, tab: DirectTab
    ) -> None:
        self._calls = calls
        self._relaying = relaying
        self._patience = patience
        self._actor = actor
        self._place = chat_stream(chat_id)
        self._message_id = message_id
        self._session_id = tab.session_id
        self._stream = tab.stream
        self._numbered = {} if tab.url_index is None else {"url_index": tab.url_index}

    async def models(self) -> Sequence[Model]:
        """The tab knows its models; the server does not."""
        return []

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        """Each call of it asks the tab anew. Raises ``ProviderFailed``."""
        call_id = uuid4()
        form_data = {**body_of(ask, include_usage=self._stream), "stream": self._stream}
        question = {"form_data": form_data, "model": ask.model, "channel": str(call_id), "session_id": self._session_id, **self._numbered}
        try:
            relayed = await self._relaying.open(call_id, self._actor.id, question)
            call = await self._open(call_id, ask)
            ended = asyncio.ensure_future(self._calls.wait(call_id))
            ended.add_done_callback(retrieve_exception)
            try:
                async with contextlib.aclosing(self._answer(call, relayed, ended)) as answer:
                    async for parts in answer:
                        yield parts
            finally:
                ended.cancel()
                self._calls.leave(call_id, "cancelled")
        finally:
            await self._relaying.close(call_id)

    async def _open(self, call_id: UUID, ask: ProviderRequest) -> CallOpened:
        """What the model is sent is for the tab alone: the log has the branch already, and a system prompt may be the asker's own."""
        about = {"model": ask.model, "stream": self._stream}
        question = CallQuestion(self._actor, self._place, self._message_id, KIND, about, self._session_id)
        try:
            return await self._calls.open(question, relayed_as=call_id)
        except Refusal as refusal:
            raise ProviderFailed(refusal.code, str(refusal)) from None

    async def _answer(self, call: CallOpened, relayed: RelayReader, ended: "asyncio.Future[Any]") -> AsyncGenerator[list[Part], None]:
        reader = OpenAIReader()
        limit_s, code = self._patience.first_token_s, "provider_unreachable"
        while not reader.done and reader.failure is None:
            following = await self._next(relayed, ended, AFTER_FINISH_S if reader.finishing else limit_s)
            if following is None and not reader.finishing:
                await self._calls.expire(call.call_id, "timeout")
                said = "answered the call" if code == "provider_unreachable" else "relayed anything"
                raise ProviderFailed(code, f"none of your tabs has {said} within {limit_s:g} s")
            limit_s, code = self._patience.idle_s, "provider_idle"
            if not await self._calls.may_answer(self._actor, self._place):  # what a tab relays is its person's writing
                raise ProviderFailed("provider_broke_off", "the person whose tab answers may no longer write in this chat")
            parts = ended_parts(reader) if following is None else [part for one in following for part in feed(reader, one)]
            if parts:
                yield parts
        await self._calls.finish(call, self._place, session_id=relayed.session_id, data={"chunks": relayed.chunks})
        if reader.failure is not None:
            raise reader.failure

    async def _next(self, relayed: RelayReader, ended: "asyncio.Future[Any]", limit_s: float) -> Sequence[Relayed] | None:
        """What the tab has relayed since; None where it is silent for so long. Raises ``ProviderFailed`` where the call has ended."""
        following = asyncio.ensure_future(relayed.next())
        try:
            await asyncio.wait((following, ended), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return following.result()
        finally:
            following.cancel()
        if not ended.done():
            return None
        expired = ended.exception()
        raise ProviderFailed("provider_broke_off", str(expired or "the call to the tab was answered in another way"))


def feed(reader: OpenAIReader, one: Relayed) -> list[Part]:
    """The parts of one chunk, or of a whole answer. Sets the reader's ``failure``."""
    try:
        return answer_parts(reader, one.data) if one.is_answer else chunk_parts(reader, one.data)
    except ProviderFailed as failure:  # an event too large to be kept
        reader.failure = failure
        return []


def chunk_parts(reader: OpenAIReader, data: Any) -> list[Part]:
    """Of a line, of an object, or of a list of these."""
    if isinstance(data, list):
        return [part for item in data for part in item_parts(reader, item)]
    return item_parts(reader, data)


def item_parts(reader: OpenAIReader, data: Any) -> list[Part]:
    if reader.done or reader.failure is not None:
        return []  # what a tab says after the end counts as little as with any provider
    match data:
        case {"done": done, **rest} if done and not any(key in rest for key in _REPLY_KEYS):
            return ended_parts(reader)
        case str():
            framed = data if "data:" in data or data.startswith(SSE_FIELDS) else f"data: {data}"
            return reader.feed(framed.encode("utf-8", "replace") + b"\n\n")
        case _:
            return reader.feed(b"data: " + msgspec.json.encode(data) + b"\n\n")


def answer_parts(reader: OpenAIReader, data: Any) -> list[Part]:
    """The tab's answer to the call itself: a whole completion or an error; ``{"status": true}`` says that chunks will follow."""
    if isinstance(data, dict) and any(key in data for key in _REPLY_KEYS):
        return [*chunk_parts(reader, data), *ended_parts(reader)]
    if isinstance(data, dict) and data.get("status"):
        return []
    shown = msgspec.json.encode(data).decode()[:500]
    reader.failure = ProviderFailed("provider_error", f"expected a completion from your tab, received {shown}")
    return []


def ended_parts(reader: OpenAIReader) -> list[Part]:
    return [] if reader.done or reader.failure is not None else reader.finish()
