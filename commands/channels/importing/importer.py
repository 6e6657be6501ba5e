"""Writes channels from elsewhere into the log, with the times at which everything was said. One request is written while the messages of
the next one are gathered.

Idempotent: ids are made of the source's own, and a message is written with all that belongs to it in one request, or not at all. So what
was interrupted goes on, and a newer export adds what is new. People who have an account here by the address in the source are these
accounts; everybody else keeps their name, and gets no account.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.accounts.accounts import normal_email
from commands.channels.importing.imported import (
    TEXT_CHARACTERS_MAX,
    Imported,
    ImportedChannel,
    ImportedMessage,
    ImportedPerson,
    ImportIds,
    SkippedPart,
)
from commands.ports import EXISTS, AppendRequest, EventLog, Origin, StreamAppend
from commands.transfer.bounds import FULL, RequestBounds
from domain.channel.decide import DESCRIPTION_CHARACTERS_MAX, NAME_CHARACTERS_MAX, REACTION_CHARACTERS_MAX, REACTIONS_MAX
from domain.channel.facts import (
    ChannelArchived,
    ChannelCreated,
    MemberJoined,
    MessageChanged,
    MessagePinned,
    MessagePosted,
    ReactionAdded,
)
from domain.channel.own import ChannelJoined
from domain.errors import BadRequest, ConcurrencyConflict, ContentRefused, TooManyLostRaces
from domain.log.codec import encode
from domain.log.event import Actor, Event, Verbatim
from domain.log.stream import Stream, channel_stream, user_stream
from domain.values.storable import storable_json, storable_text

SKIPPED_KEPT_MAX: Final = 1_000
MEMBERS_MAX: Final = 500  # that have an account here
ATTEMPTS_MAX: Final = 32
IDS_KEPT_MAX: Final = 1_024  # a thread's messages follow its first one closely in most sources
TURNS_TO_SEND: Final = 3  # of the event loop, until a request is with Postgres
PARTS_A_TURN: Final = 16  # gathered before the request in flight gets a turn: some 300 µs

_encoder: Final = msgspec.json.Encoder()


class ChannelImportSummary(msgspec.Struct):
    """Counts so far."""

    channels: int = 0  # made by this import
    messages: int = 0  # written by this import
    there: int = 0  # messages that were there already
    events: int = 0
    skipped: int = 0
    skips: list[SkippedPart] = []  # the first ones

    def skip(self, part: SkippedPart) -> None:
        self.skipped += 1
        if len(self.skips) < SKIPPED_KEPT_MAX:
            self.skips.append(part)


class Waiting(msgspec.Struct):
    """The messages of one channel that go into the next request."""

    messages: list[tuple[ImportedMessage, list[Event[Any]], list[Origin]]] = []
    events: int = 0
    bytes: int = 0


class ChannelImporter:
    """One import for one person, who owns the channels. ``counted`` is called after each request; ``bounds`` is asked before each."""

    def __init__(
        self,
        log: EventLog,
        owner: Actor,
        source: str,
        *,
        bounds: Callable[[], RequestBounds] = lambda: FULL,
        counted: Callable[[ChannelImportSummary], None] = lambda _: None,
    ) -> None:
        self.summary = ChannelImportSummary()
        self._log = log
        self._owner = owner
        self._ids = ImportIds(owner.id, source)
        self._message_id = lru_cache(IDS_KEPT_MAX)(self._ids.message)
        self._bounds = bounds
        self._counted = counted
        self._people: dict[str, Actor] = {}
        self._waiting: dict[str, Waiting] = {}
        self._in_flight: asyncio.Task[None] | None = None  # at most one, so that the order is kept
        self._made: dict[str, int] = {}  # the versions of channels that this import has made, and that hold what it wrote alone
        # By the number of an id, which takes a third of its room: a channel may have millions of messages.
        self._written: dict[str, set[int]] = {}  # of these channels: their messages
        self._known: dict[str, set[int]] = {}  # by channel: the first messages of threads that were seen

    async def ids_of(self, people: Iterable[ImportedPerson | SkippedPart]) -> dict[str, UUID]:
        """Who these people are here, by their keys."""
        found: dict[str, UUID] = {}
        for person in people:
            if isinstance(person, SkippedPart):
                self.summary.skip(person)
            else:
                found[person.key] = (await self._person(person)).id
        return found

    async def import_all(self, parts: Iterable[Imported]) -> ChannelImportSummary:
        """A part that cannot be taken does not affect the others. Raises the errors of ``EventLog.append``: what was written stays.

        When it returns or raises, no request is in flight.
        """
        try:
            for number, part in enumerate(parts):
                match part:
                    case SkippedPart():
                        self.summary.skip(part)
                    case ImportedChannel():
                        await self._begin(part)
                    case ImportedMessage():
                        await self._add(part)
                if number % PARTS_A_TURN == 0:
                    await asyncio.sleep(0)
            for key in list(self._waiting):
                await self._start_request(key)
        except BaseException:
            await asyncio.gather(self._finish_request(), return_exceptions=True)  # the first error is the one to report
            raise
        await self._finish_request()
        return self.summary

    async def _person(self, person: ImportedPerson) -> Actor:
        """Their account here, or an actor of that name without one."""
        known = self._people.get(person.key)
        if known is None:
            name = storable_text(person.name).strip() or person.key
            stream = None
            if person.email:
                try:
                    stream = await self._log.find_claim("email", normal_email(person.email))
                except BadRequest:
                    stream = None
            known = self._people[person.key] = Actor(stream.id if stream is not None else self._ids.person(person.key), name, "user")
        return known

    async def _begin(self, channel: ImportedChannel) -> None:
        """The channel, of which the owner is the manager, with those of its members that have an account here."""
        self._known.setdefault(channel.key, set())
        self._waiting.setdefault(channel.key, Waiting())  # a source may name a channel twice
        channel_id = self._ids.channel(channel.key)
        stream = channel_stream(channel_id)
        if await self._log.version(stream):
            return
        name = " ".join(storable_text(channel.name).split())[:NAME_CHARACTERS_MAX] or "channel"
        made = ChannelCreated(
            "group",
            self._owner.id,
            name,
            storable_text(channel.description)[:DESCRIPTION_CHARACTERS_MAX],
            meta={"imported": {"source": channel.source, "id": channel.key}},
        )
        people = [await self._person(one) for one in channel.members]
        members = [one.id for one in people if one.id != self._owner.id and await self._log.version(user_stream(one.id))]
        facts: list[Any] = [made, MemberJoined(self._owner.id, "manager")]
        facts += [MemberJoined(one) for one in dict.fromkeys(members[:MEMBERS_MAX])]
        if channel.archived:
            facts.append(ChannelArchived())
        joined = [fact.user_id for fact in facts if isinstance(fact, MemberJoined)]
        origin = Origin(_encoder.encode(self._owner), channel.created_at)
        appends = [StreamAppend(stream, [Event(None, fact) for fact in facts], 0, [origin] * len(facts))]
        appends += [StreamAppend(user_stream(one), [Event(None, ChannelJoined(channel_id))], EXISTS) for one in joined]
        try:
            await self._log.append(AppendRequest(appends, self._owner))
        except ConcurrencyConflict as conflict:
            if conflict.expected == EXISTS:
                raise
            return  # another import of the same has made it
        self.summary.channels += 1
        self.summary.events += len(facts)
        self._made[channel.key] = len(facts)

    async def _add(self, message: ImportedMessage) -> None:
        waiting = self._waiting.get(message.channel)
        where = f"{message.channel}, message {message.key}"
        if waiting is None:
            self.summary.skip(SkippedPart(where, "its channel is not in the file"))
            return
        try:
            events, origins = await self._events(message)
            encoded = [Event(event.message_id, Verbatim(*encode(event.data))) for event in events]
        except (BadRequest, ContentRefused) as refusal:
            self.summary.skip(SkippedPart(where, str(refusal)))
            return
        size = sum(len(event.data.data) for event in encoded)
        bounds = self._bounds()
        if waiting.messages and (waiting.events + len(encoded) > bounds.events or waiting.bytes + size > bounds.bytes):
            await self._start_request(message.channel)
            waiting = self._waiting[message.channel]
        waiting.messages.append((message, encoded, origins))
        waiting.events += len(encoded)
        waiting.bytes += size

    async def _events(self, message: ImportedMessage) -> tuple[list[Event[Any]], list[Origin]]:
        """What one message is in the log. Raises ``BadRequest`` for what no message can be."""
        text = storable_text(message.text)
        if len(text) > TEXT_CHARACTERS_MAX:
            raise BadRequest(f"expected a text of at most {TEXT_CHARACTERS_MAX} characters, found {len(text)}")
        if not text.strip() and not message.files:
            raise BadRequest("it says nothing")
        message_id = self._message_id(message.channel, message.key)
        author = await self._person(message.author) if message.author is not None else None
        actor = _encoder.encode(author) if author is not None else None
        fields: dict[str, Any] = {"data": {"files": storable_json([dict(one) for one in message.files])}} if message.files else {}
        webhook_id = None
        if author is None:
            service = storable_text(message.service).strip() or "a service"
            webhook_id = self._ids.person(f"service {service}")
            fields["meta"] = {"webhook": {"id": str(webhook_id), "name": service, "profile_image_url": None}}
        parent_id = self._message_id(message.channel, message.parent) if message.parent is not None else None
        if parent_id is not None and parent_id.int not in self._known[message.channel]:
            parent_id = None  # the beginning of its thread is not in the file
        if parent_id is None:
            self._known[message.channel].add(message_id.int)
        facts: list[tuple[Any, bytes | None]] = [
            (MessagePosted(author.id if author is not None else None, text, parent_id, webhook_id=webhook_id, fields=fields), actor)
        ]
        for reaction in message.reactions[:REACTIONS_MAX]:
            by = await self._person(reaction.by)
            name = storable_text(reaction.name)[:REACTION_CHARACTERS_MAX]
            if name.isprintable() and name:
                facts.append((ReactionAdded(name, by.id), _encoder.encode(by)))
        if message.pinned:
            facts.append((MessagePinned(), actor))
        origins = [Origin(by, message.at) for _, by in facts]
        if message.edited_at is not None:
            facts.append((MessageChanged({"content": text}), actor))
            origins.append(Origin(actor, max(message.edited_at, message.at)))
        return [Event(message_id, fact) for fact, _ in facts], origins

    async def _there(self, stream: Stream, ids: Iterable[UUID | None], version: int) -> set[int]:
        named = [one for one in ids if one is not None]
        stored = await self._log.read_messages(stream, named, until=version)
        return {one.message_id.int for one in stored if one.message_id is not None}

    async def _start_request(self, key: str) -> None:
        """Once the request before it is written. Raises the error of that one."""
        await self._finish_request()
        waiting = self._waiting[key]
        if waiting.messages:
            self._waiting[key] = Waiting()
            self._in_flight = asyncio.create_task(self._write(key, waiting), name="import")
            for _ in range(TURNS_TO_SEND):
                await asyncio.sleep(0)

    async def _finish_request(self) -> None:
        request, self._in_flight = self._in_flight, None
        if request is not None:
            await request

    async def _write(self, key: str, waiting: Waiting) -> None:
        stream = channel_stream(self._ids.channel(key))
        ids = [events[0].message_id for _, events, _ in waiting.messages]
        for _ in range(ATTEMPTS_MAX):
            made_version = self._made.pop(key, None)  # what it holds need not be asked for
            version = await self._log.version(stream) if made_version is None else made_version
            written = self._written.setdefault(key, set())
            there = written if made_version is not None else await self._there(stream, ids, version)
            new: list[tuple[list[Event[Any]], list[Origin]]] = []
            seen: set[int] = set()
            for _, events, origins in waiting.messages:
                message_id = events[0].message_id
                if message_id is not None and message_id.int not in there and message_id.int not in seen:
                    seen.add(message_id.int)
                    new.append((events, origins))
            made = [event for events, _ in new for event in events]
            if made:
                append = StreamAppend(stream, made, version, [origin for _, origins in new for origin in origins])
                try:
                    await self._log.append(AppendRequest([append], self._owner))
                except ConcurrencyConflict:
                    continue  # somebody has written in it meanwhile
            if made_version is not None:
                self._made[key] = version + len(made)
                written |= seen
            self.summary.messages += len(new)
            self.summary.there += len(waiting.messages) - len(new)
            self.summary.events += len(made)
            self._counted(self.summary)
            return
        raise TooManyLostRaces(stream, ATTEMPTS_MAX)
