"""The entries of models there are: what people have made, and what they have said of a provider's models."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from commands.aggregate import Aggregate
from commands.catalogue import Catalogue
from commands.ids import new_id
from commands.ports import Appended, Claim, CommandKey, EventLog
from commands.routing.entry import Known, known_at
from domain.errors import ClaimTaken, ModelEntryNotFound
from domain.log.event import Actor
from domain.log.stream import model_stream
from domain.routing.model import NO_MODEL, CreateModel, ModelCommand, ModelEntry, decide, evolve

CLAIM: Final = "model"  # of a model's public id, held by its stream, also when the model was deleted
VARIANT_OWNERS: Final = frozenset({"ollama", "demo"})  # their ids have a variant after a colon: ``llama3:7b``


class ModelEntries:
    """``delivered`` returns once what was written up to a position has passed ``observe``.

    ``start``, ``observe`` and ``close`` are those of its ``Catalogue``.
    """

    def __init__(self, log: EventLog, delivered: Callable[[int], Awaitable[None]]) -> None:
        self._log = log
        self._delivered = delivered
        self._aggregate = Aggregate(log, "model", NO_MODEL, evolve)
        self._catalogue = Catalogue(log, "model", NO_MODEL, evolve, self._on_changed)
        self._streams: dict[str, UUID] = {}  # by public id, also of deleted ones
        self._all: Sequence[Known[ModelEntry]] | None = None  # as of the newest change
        self.changes = 0  # how often anything has changed
        self.start, self.observe, self.close = self._catalogue.start, self._catalogue.observe, self._catalogue.close

    async def refresh(self) -> None:
        """Know everything that was written before the call, by any process. Raises ``LogUnavailable``."""
        await self._delivered(await self._log.head())

    def get(self, model_id: str) -> ModelEntry | None:
        """The entry under exactly this id; None where there is none, or none any more."""
        stream_id = self._streams.get(model_id)
        entry = self._catalogue.get(stream_id) if stream_id is not None else NO_MODEL
        return entry if entry.exists else None

    def of(self, model_id: str, owned_by: str) -> ModelEntry | None:
        """What was said of a provider's model, or of the one whose variant it is. A custom model with its id is another model."""
        ids = [model_id, model_id.partition(":")[0]] if owned_by in VARIANT_OWNERS else [model_id]
        return next((entry for one in ids if (entry := self.get(one)) is not None and not entry.is_custom), None)

    def known(self, model_id: str) -> Known[ModelEntry] | None:
        return self._known(self._streams[model_id]) if self.get(model_id) is not None else None

    def all(self) -> Sequence[Known[ModelEntry]]:
        """Every entry that is there, in the order in which they were made."""
        if self._all is None:
            known = [self._known(stream_id) for stream_id, entry in self._catalogue if entry.exists]
            self._all = sorted(known, key=lambda one: (one.created_at, one.id))
        return self._all

    async def handle(self, command: ModelCommand, actor: Actor, key: CommandKey | None = None) -> tuple[Known[ModelEntry], Appended]:
        """The entry as the command has made it. Raises what ``decide`` and ``Aggregate.handle`` raise."""
        stream_id = await self._stream_of(command.model_id)
        if stream_id is None:
            if not isinstance(command, CreateModel):
                raise ModelEntryNotFound(command.model_id)
            made_id = new_id(actor.id, key, f"model:{command.model_id}")
            try:
                return await self._append(made_id, command, actor, key, [Claim(CLAIM, command.model_id, model_stream(made_id))])
            except ClaimTaken:  # somebody else has made it at this moment
                stream_id = await self._stream_of(command.model_id)
                assert stream_id is not None
        return await self._append(stream_id, command, actor, key)

    async def _append(
        self, stream_id: UUID, command: ModelCommand, actor: Actor, key: CommandKey | None, claims: Sequence[Claim] = ()
    ) -> tuple[Known[ModelEntry], Appended]:
        appended = await self._aggregate.handle(stream_id, partial(decide, command=command), actor=actor, command=key, claims=claims)
        await self._delivered(appended.position)
        return await known_at(self._log, model_stream(stream_id), appended.versions[0], NO_MODEL, evolve), appended

    async def _stream_of(self, model_id: str) -> UUID | None:
        """Also of a model that another process made a moment ago."""
        stream_id = self._streams.get(model_id)
        if stream_id is None:
            holder = await self._log.find_claim(CLAIM, model_id)
            stream_id = holder.id if holder is not None else None
        return stream_id

    def _known(self, stream_id: UUID) -> Known[ModelEntry]:
        return Known(stream_id, self._catalogue.version(stream_id), self._catalogue.get(stream_id), *self._catalogue.times(stream_id))

    def _on_changed(self, stream_id: UUID) -> None:
        self.changes += 1
        self._all = None
        self._streams[self._catalogue.get(stream_id).model_id] = stream_id
