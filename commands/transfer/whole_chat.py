"""Appends whole chats to the log, each as a new stream: in one request if it fits, otherwise unlisted until it is complete.

Idempotent: ids are derived from the source's ids, so a chat that was imported before is found, and an interrupted import continues
where it stopped. A chat of another owner under the same id is never taken for it: that import is refused.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

from commands.chats.chats import Chats
from commands.content.large_values import VALUES_BYTES_MAX, values_of, with_references
from commands.ports import EXISTS, Appended, AppendRequest, Blobs, CommandKey, EventLog, StreamAppend
from commands.transfer.bounds import FULL, RequestBounds
from domain.accounts.user.facts import ChatListed
from domain.chat.facts import ChatConfigured, ChatCreated
from domain.chat.whole_chat import Step, WholeChat, steps_of
from domain.errors import BadRequest, ConcurrencyConflict, ContentRefused, ImportRefused, TooLarge, UserNotFound
from domain.generation import MessageEnded
from domain.log.codec import EVENT_BYTES_MAX, decode_event, encode
from domain.log.event import Actor, Event, Verbatim
from domain.log.stream import Stream, chat_stream, user_stream

ATTEMPTS_MAX: Final = 5
PAGE_EVENTS: Final = 2_000
TURN_EVENTS: Final = 200

Outcome = Literal["imported", "there"]


class Prepared(NamedTuple):
    """A chat as encoded events, with the indexes after which they may be divided into requests."""

    chat: WholeChat
    events: Sequence[Event[Verbatim]]
    cuts: Sequence[int]
    bytes: int

    @property
    def stream(self) -> Stream:
        return chat_stream(self.chat.chat_id)

    def fits(self, bounds: RequestBounds) -> bool:
        return len(self.events) <= bounds.events and self.bytes <= bounds.bytes


class Added(NamedTuple):
    """The outcome for one chat. ``events`` counts those written by this call."""

    outcome: Outcome
    events: int
    position: int  # of its last event; 0 if the chat existed before
    version: int = 0  # of the chat after the import; 0 if the chat existed before


class WholeChats:
    """Adds whole chats. ``actor`` is the owner, or the operator who imports for them. ``bounds`` is asked before chats are divided into
    requests.
    """

    def __init__(self, log: EventLog, blobs: Blobs, chats: Chats, *, bounds: Callable[[], RequestBounds] = lambda: FULL) -> None:
        self.bounds = bounds
        self._log = log
        self._blobs = blobs
        self._chats = chats

    async def add(self, chat: WholeChat, *, actor: Actor | None, command: CommandKey | None = None) -> Added:
        """Add one chat. ``command`` is remembered once the chat is complete.

        Raises ``ImportRefused``, ``UserNotFound`` if the owner does not exist, and the errors of ``EventLog.append``.
        """
        return await self._add_one(await self.prepare(chat), actor, command)

    async def add_all(self, prepared: Sequence[Prepared], *, actor: Actor | None) -> list[Added | ImportRefused]:
        """Add chats of one owner, several in a request where they fit. One outcome each; a refused chat does not affect the others."""
        outcomes: list[Added | ImportRefused] = []
        bounds = self.bounds()
        for bundle in bundles(prepared, bounds):
            if bundle[0].fits(bounds):
                added = await self._add_bundle(bundle, actor)
                if added is not None:
                    outcomes += added
                    continue
            for one in bundle:
                try:
                    outcomes.append(await self._add_one(one, actor))
                except ImportRefused as refusal:
                    outcomes.append(refusal)
        return outcomes

    async def prepare(self, chat: WholeChat) -> Prepared:
        """The encoded events of a chat; values that are too large are stored as blobs. Raises ``ImportRefused``."""
        events: list[Event[Verbatim]] = []
        cuts: list[int] = []
        size = 0
        answering: UUID | None = None
        for number, step in enumerate(steps_of(chat), 1):
            if number % TURN_EVENTS == 0:
                await asyncio.sleep(0)  # encoding a long chat must not block the event loop
            message_id, fact = step.event.message_id, step.event.data
            try:
                name, data = encode(fact)
            except ContentRefused as refusal:
                raise ImportRefused(chat.name, refused_key(step), f"text must be Unicode without {refusal.what}") from None
            except BadRequest as refusal:
                raise ImportRefused(chat.name, refused_key(step), str(refusal)) from None
            if len(data) > VALUES_BYTES_MAX:
                name, data = await self._with_references(chat, step)
            events.append(Event(message_id, Verbatim(name, data)))
            size += len(data)
            # An answer is never divided: the watch over nodes would take its first part for one that a dead server left open.
            if name == "message_start":
                answering = message_id
            elif isinstance(fact, MessageEnded):
                answering = None
            if answering is None:
                cuts.append(len(events))
        return Prepared(chat, events, cuts, size)

    async def _with_references(self, chat: WholeChat, step: Step) -> tuple[str, bytes]:
        """The fact with its largest values stored as blobs, as few as needed."""
        await self._log.require_account(chat.owner_id)
        try:
            fact = await with_references(step.event.data, self._blobs, chat_stream(chat.chat_id))
        except TooLarge as refusal:
            raise ImportRefused(chat.name, f"{step.key}.{refusal.key}", str(refusal)) from None
        name, data = encode(fact)
        if len(data) > EVENT_BYTES_MAX:
            raise ImportRefused(chat.name, step.key, f"expected at most {EVENT_BYTES_MAX} bytes in small values, found {len(data)}")
        return name, data

    async def _add_bundle(self, bundle: Sequence[Prepared], actor: Actor | None) -> list[Added] | None:
        """Append all chats in one request. None if one of them is refused or exists already, complete or in part."""
        appends = [StreamAppend(one.stream, one.events, 0) for one in bundle]
        try:
            appended = await self._log.append(AppendRequest([*appends, append_chats_listed(bundle)], actor))
        except (ConcurrencyConflict, BadRequest):
            return None
        return [
            Added("imported", len(one.events), appended.position, version)
            for one, version in zip(bundle, appended.versions[: len(bundle)], strict=True)
        ]

    async def _add_one(self, one: Prepared, actor: Actor | None, command: CommandKey | None = None) -> Added:
        is_there = await self._is_there(one)
        for _ in range(ATTEMPTS_MAX):
            version = 0 if is_there else await self._log.version(one.stream)
            if is_there or version:
                await self._require_own(one)
            if is_there:
                return Added("there", 0, 0)
            if version:
                state_version, state = await self._chats.state(one.chat.chat_id)
                if state.listed or state.deleted:
                    return Added("there", 0, 0)
                await self._require_same(one, state_version)
                version = state_version
            try:
                appended = await self._append_rest(one, version, actor, command)
            except ConcurrencyConflict as conflict:
                if conflict.expected == EXISTS:
                    raise UserNotFound(one.chat.owner_id) from None
                continue  # another import appends the same chat
            return Added("imported", len(one.events) - version, appended.position, appended.versions[0])
        raise ImportRefused(one.chat.name, "id", "another import of this chat is running")

    async def _is_there(self, one: Prepared) -> bool:
        """Whether the chat's last event is in the log at its version."""
        found = await self._log.read(one.stream, after=len(one.events) - 1, limit=1)
        return bool(found) and found[0].type == one.events[-1].data.name

    async def _require_own(self, one: Prepared) -> None:
        """Raises ``ImportRefused`` if the chat that has this id is another person's. Whose it is, is not said."""
        first = await self._log.read(one.stream, limit=1)
        created = decode_event(first[0]).data if first else None
        if not isinstance(created, ChatCreated) or created.owner_id != one.chat.owner_id:
            raise ImportRefused(one.chat.name, "id", "its id is taken")

    async def _require_same(self, one: Prepared, until: int) -> None:
        """Raises ``ImportRefused`` unless the events of an interrupted import are the beginning of this chat."""
        version = 0
        while version < until:
            page = await self._log.read(one.stream, after=version, until=until, limit=PAGE_EVENTS)
            expected = one.events[version : version + len(page)]
            known = [(stored.message_id, stored.type, stored.data) for stored in page]
            if not page or known != [(event.message_id, event.data.name, event.data.data) for event in expected]:
                raise ImportRefused(one.chat.name, "id", "an import of this chat was interrupted, and the chat has changed since")
            version = page[-1].version

    async def _append_rest(self, one: Prepared, version: int, actor: Actor | None, command: CommandKey | None) -> Appended:
        pieces = list(pieces_after(one, version, self.bounds()))
        appended: Appended | None = None
        for number, events in enumerate(pieces, 1):
            appends = [StreamAppend(one.stream, events, version)]
            is_last = number == len(pieces)
            if is_last:
                appends.append(append_chats_listed([one]))
            try:
                appended = await self._log.append(AppendRequest(appends, actor, command if is_last else None))
            except BadRequest as refusal:  # refused by Postgres, or a stream of another kind has this id
                raise ImportRefused(one.chat.name, "id", str(refusal)) from None
            version += len(events)
        assert appended is not None  # at least the event that lists the chat is missing
        return appended


def append_chats_listed(chats: Sequence[Prepared]) -> StreamAppend:
    """The append that lists the chats for their owner, who must exist."""
    owner_id = chats[0].chat.owner_id
    return StreamAppend(user_stream(owner_id), [Event(None, ChatListed(one.chat.chat_id)) for one in chats], EXISTS)


def bundles(prepared: Sequence[Prepared], bounds: RequestBounds) -> Iterator[list[Prepared]]:
    """Groups of chats that fit into one request. A larger chat is a group of its own."""
    bundle: list[Prepared] = []
    ids: set[UUID] = set()
    events = size = 0
    for one in prepared:
        fits = events + len(one.events) <= bounds.events and size + one.bytes <= bounds.bytes
        if bundle and not (fits and one.chat.owner_id == bundle[0].chat.owner_id and one.chat.chat_id not in ids):
            yield bundle
            bundle, ids, events, size = [], set(), 0, 0
        bundle.append(one)
        ids.add(one.chat.chat_id)
        events += len(one.events)
        size += one.bytes
    if bundle:
        yield bundle


def pieces_after(one: Prepared, version: int, bounds: RequestBounds) -> Iterator[Sequence[Event[Verbatim]]]:
    """The events after ``version``, divided into requests."""
    if one.fits(bounds):
        yield one.events[version:]
        return
    start = end = version
    size = 0
    before = version
    for cut in one.cuts:
        if cut <= version:
            continue
        added = sum(len(event.data.data) for event in one.events[before:cut])
        if end > start and (cut - start > bounds.events or size + added > bounds.bytes):
            yield one.events[start:end]
            start, size = end, 0
        end = before = cut
        size += added
    yield one.events[start:]


def refused_key(step: Step) -> str:
    """The key of a fact whose value cannot be stored."""
    for key, value in values_of(step.event.data).items():
        try:
            encode(ChatConfigured({key: value}))
        except (ContentRefused, BadRequest):
            return f"{step.key}.{key}"
    return step.key
