"""What a function was before: each version of its name, source and meta, from its own stream. An older one can be put back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from commands.functions.function_library import FunctionLibrary, FunctionStore, KnownFunction
from commands.ports import EventLog
from domain.errors import FunctionVersionNotFound
from domain.log.codec import decode_event
from domain.log.event import Actor
from domain.log.stream import function_stream
from domain.routing.function import NO_FUNCTION, FunctionChanged, FunctionCreated, FunctionState, evolve

PAGE_EVENTS: Final = 500


class FunctionVersion(msgspec.Struct, frozen=True):
    """``version`` is that of the stream. ``in_production``: it is the newest, which runs."""

    version: int
    state: FunctionState
    at: datetime
    author: Actor | None
    in_production: bool = False


class FunctionHistory:
    def __init__(self, log: EventLog, store: FunctionStore, library: FunctionLibrary) -> None:
        self._log = log
        self._store = store
        self._library = library

    async def versions(self, function_id: str) -> Sequence[FunctionVersion]:
        """The newest first. What a function of this id was before it was last taken out is not among them.

        Raises ``FunctionNotFound``.
        """
        stream_id, known = await self._library.find(function_id)
        found: list[FunctionVersion] = []
        state, after = NO_FUNCTION, known.created_version - 1
        while True:
            page = await self._log.read(function_stream(stream_id), after=after, limit=PAGE_EVENTS)
            for stored in page:
                event = decode_event(stored)
                state, after = evolve(state, event, stored.version), stored.version
                match event.data:
                    case FunctionCreated():
                        found.clear()
                    case FunctionChanged():
                        pass
                    case _:
                        continue
                author = None if stored.actor is None else msgspec.json.decode(stored.actor, type=Actor)
                found.append(FunctionVersion(stored.version, state, stored.at, author))
            if len(page) < PAGE_EVENTS:
                break
        found[-1] = msgspec.structs.replace(found[-1], in_production=True)
        return found[::-1]

    async def version(self, function_id: str, version: int) -> tuple[FunctionVersion, str]:
        """One with its source. Raises ``FunctionNotFound``, ``FunctionVersionNotFound``."""
        found = next((one for one in await self.versions(function_id) if one.version == version), None)
        if found is None:
            raise FunctionVersionNotFound(function_id, version)
        stream_id, _ = await self._library.find(function_id)
        return found, await self._store.source(stream_id, found.state)

    async def restore(self, actor: Actor, function_id: str, version: int) -> KnownFunction:
        """Name, source and meta as they were, as a new version; the newest one is no change.

        Raises as ``version``, ``FunctionReadOnly``, ``FunctionNotLoaded``: the one in production goes on.
        """
        found, source = await self.version(function_id, version)
        return await self._library.update(actor, function_id, found.state.name, source, found.state.meta)
