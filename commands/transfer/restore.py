"""Restores chats from the lines of an export: the same streams, versions, types, message ids, actors, bytes and times.

It uses the ordinary append at exact versions, so a server may run at the same time. Events that the log has already are compared and
left unchanged, so repeating an interrupted restore continues it. A wrong line ends its chat; the lines before it are kept.
"""

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from commands.ports import ANY, AppendRequest, Blobs, EventLog, NodeBeat, Nodes, Origin, StreamAppend
from commands.transfer.bounds import FULL, RequestBounds
from domain.accounts.user.facts import ChatListed, ChatUnlisted
from domain.chat.facts import OF_A_MESSAGE, ChatCreated, ChatDeleted, MessageAdded
from domain.errors import BadLine, LogUnavailable, StenographError
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import EMITTED_NAME, EVENT_BYTES_MAX, UNREADABLE, decode, decode_actor, refuse_nul
from domain.log.event import Emitted, Event, StoredEvent, Verbatim
from domain.log.jsonlines import BlobLine, EventLine, microseconds, parse_line, stream_of
from domain.log.stream import Stream, user_stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened

REQUESTS_IN_FLIGHT: Final = 4
KNOWN_PAGE: Final = 200
PROBLEMS_KEPT: Final = 20
NOTHING: Final = b"null"


@dataclass
class Restored:
    """The result. ``problems`` are sentences for the person who restores; the first ``PROBLEMS_KEPT`` of ``problems_count``."""

    lines: int = 0
    chats: int = 0  # in the file
    chats_whole: int = 0  # of these, the log holds every event that the file has
    events_added: int = 0
    events_known: int = 0  # in the log before
    blobs: int = 0
    owners_replaced: int = 0  # the number of chats with another owner than in the file
    problems: list[str] = field(default_factory=list)
    problems_count: int = 0

    def refuse(self, problem: str) -> None:
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)


class AnswerSums:
    """Hashes of an answer's deltas so far, to be compared with those of its end."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.deltas = 0

    def opened(self, index: int) -> None:
        self.blocks[index] = hashlib.sha256()

    def add(self, delta: MessageDelta) -> None:
        self.deltas += 1
        self.blocks.setdefault(delta.index, hashlib.sha256()).update(delta.text.encode())

    def check(self, end: MessageEnded) -> None:
        """Raises ``BadLine``."""
        if self.deltas != end.deltas:
            raise BadLine(f"the end names {end.deltas} deltas, the lines before it hold {self.deltas} - at `$.data.deltas`")
        for number, block in enumerate(end.blocks):
            said = self.blocks.get(block.index)
            found = said.hexdigest() if said is not None else "no such block"
            if found != block.sha256:
                raise BadLine(
                    f"the deltas of block {block.index} join to {found}, not to {block.sha256} - at `$.data.blocks[{number}].sha256`"
                )
        match end.content:
            case str(content):
                found = hashlib.sha256(content.encode()).hexdigest()
            case {"blob": str(found)}:
                pass  # the blob was compared with its hash when its line was read
            case _:
                found = "no text"
        if found != end.sha256:
            raise BadLine(f"the content has the sha256 {found}, not {end.sha256} - at `$.data.sha256`")


class ChatInFile:
    """One chat while its lines are read, and its events in the log."""

    def __init__(self, stream: Stream, existing: int) -> None:
        self.stream = stream
        self.name = str(stream)
        self.existing = existing  # the log's version when the first line was read
        self.version = 0  # of the last valid line
        self.at_us: int | None = None
        self.owner_id: UUID | None = None
        self.listed = False
        self.messages: set[UUID] | None = set()  # None: the file begins in the middle of the chat, so earlier messages are unknown
        self.answers: dict[UUID, AnswerSums] = {}
        self.open: dict[UUID, UUID] = {}  # answers and calls to users without an end, and the nodes that wrote them
        self.known: deque[tuple[StoredEvent, int]] = deque()  # events of the log to compare lines with, and their original times
        self.is_refused = False


class Restore:
    """Restores one file. ``owner_id`` becomes the owner of chats whose owner has no account here. ``now`` is the log's time; later times
    are refused. ``bounds`` is asked before each event is put into a request.
    """

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        nodes: Nodes,
        *,
        now: datetime,
        owner_id: UUID | None = None,
        done: Restored | None = None,
        progressed: Callable[[], None] = lambda: None,
        bounds: Callable[[], RequestBounds] = lambda: FULL,
    ) -> None:
        self._log, self._blobs, self._nodes = log, blobs, nodes
        self._now_us = microseconds(now)
        self._owner_id = owner_id
        self._progressed = progressed
        self._bounds = bounds
        self._accounts: dict[UUID, bool] = {}
        self._chat: ChatInFile | None = None
        self._part: dict[Stream, StreamAppend] = {}  # the appends of the next request
        self._lists: dict[UUID, list[Event[Any]]] = {}
        self._part_events = self._part_bytes = 0
        self._in_flight: deque[tuple[asyncio.Task[None], frozenset[Stream]]] = deque()
        self._lost: set[Stream] = set()  # chats with a refused append
        self._nodes_seen: set[UUID] = set()
        self.done = done if done is not None else Restored()  # kept current, also if the restore ends early

    async def run(self, lines: Iterable[bytes]) -> Restored:
        """Restore all lines in order. Raises ``LogUnavailable``; ``done`` then holds the progress so far."""
        try:
            for raw in lines:
                self.done.lines += 1
                if not raw.isspace():
                    await self._line(raw)
                if self.done.lines % 1000 == 0:
                    self._progressed()
            await self._finish_chat()
            await self._send()
        except BaseException:
            await asyncio.gather(*(task for task, _ in self._in_flight), return_exceptions=True)
            raise
        await self._drain()
        if not self.done.lines:
            self.done.refuse("the file is empty")
        return self.done

    async def _line(self, raw: bytes) -> None:
        stream: Stream | None = None
        line: EventLine | BlobLine | None = None
        try:
            line = parse_line(raw)
            stream = self._chat.stream if self._chat is not None and line.stream == self._chat.name else stream_of(line)
            if self._chat is None or self._chat.stream != stream:
                await self._begin_chat(stream)
            chat = self._chat
            assert chat is not None
            if chat.is_refused or stream in self._lost:
                return
            if isinstance(line, BlobLine):
                await self._blob(chat, line)
            else:
                await self._event(chat, line)
        except BadLine as bad:
            self._refuse(raw, stream, line, bad.reason)

    def _refuse(self, raw: bytes, stream: Stream | None, line: EventLine | BlobLine | None, reason: str) -> None:
        chat = self._chat
        where = f"line {self.done.lines}"
        if stream is not None:
            where += f", {stream}"
        elif chat is not None:
            where += f", after version {chat.version} of {chat.stream}"
        if isinstance(line, EventLine):
            where += f", version {line.version} ({line.type[:80]})"
        if not raw.endswith(b"\n"):
            reason += "; the file ends in the middle of this line"
        if chat is not None and not chat.is_refused:
            chat.is_refused = True
            if chat.stream not in self._lost:
                self.done.chats_whole -= 1
            kept = f"versions 1 to {chat.version} of it are kept" if chat.version else "nothing of it is restored"
            if stream is None or stream == chat.stream:
                reason += f". {kept[:1].upper()}{kept[1:]}; once that is mended, import the file again"
        self.done.refuse(f"{where}: {reason}")

    async def _begin_chat(self, stream: Stream) -> None:
        await self._finish_chat()
        self._chat = None
        if stream.kind != "chat":
            raise BadLine(f"only chats can be restored, this is {stream} - at `$.stream`")
        if stream in self._part or any(stream in streams for _, streams in self._in_flight):
            await self._send()
            await self._drain()
        self._chat = ChatInFile(stream, await self._log.version(stream))
        self.done.chats += 1
        self.done.chats_whole += 1

    async def _finish_chat(self) -> None:
        """Record the nodes of open answers and calls, so that the watch over nodes finds them dead and ends what they left open."""
        chat = self._chat
        if chat is None:
            return
        for node_id in set(chat.open.values()) - self._nodes_seen:
            self._nodes_seen.add(node_id)
            await self._send()
            if node_id not in await self._nodes.beats():
                await self._nodes.beat(node_id, NodeBeat(0, 0))

    # ------------------------------------------------------------------------------------------------------------ lines

    async def _blob(self, chat: ChatInFile, line: BlobLine) -> None:
        try:
            content = line.content()
        except ValueError as error:
            raise BadLine(str(error)) from None
        if chat.existing and await self._blobs.get(chat.stream, line.blob) is not None:
            return
        await self._blobs.put(chat.stream, content)
        self.done.blobs += 1

    async def _event(self, chat: ChatInFile, line: EventLine) -> None:
        if not chat.version and line.version > 1 and line.version <= chat.existing + 1:
            await self._go_on_from(chat, line.version - 1)
        expected = chat.version + 1
        if line.version != expected:
            raise BadLine(f"expected version {expected}, found {line.version} - at `$.version`")
        at_us = self._checked_time(chat, line)
        data = bytes(line.data)
        fact, actor = self._checked_fact(line, data)
        if expected == 1:
            data = await self._checked_owner(chat, fact, data)
        self._follow(chat, line, fact)
        if line.version <= chat.existing:
            await self._compare(chat, line, data, actor)
            self.done.events_known += 1
        else:
            await self._add(chat, line, data, actor)
            if expected == 1 and chat.listed and chat.owner_id is not None:
                self._lists.setdefault(chat.owner_id, []).append(Event(None, ChatListed(chat.stream.id)))
            if type(fact) is ChatDeleted and chat.listed and chat.owner_id is not None:
                self._lists.setdefault(chat.owner_id, []).append(Event(None, ChatUnlisted(chat.stream.id)))
        chat.version, chat.at_us = line.version, at_us

    async def _go_on_from(self, chat: ChatInFile, version: int) -> None:
        """Begin with a later version than 1: an export of a part of a chat."""
        [last] = await self._log.read(chat.stream, after=version - 1, until=version, limit=1)
        times = await self._log.original_times(chat.stream, after=version - 1, until=version)
        chat.version, chat.at_us = version, microseconds(times.get(version, last.at))
        chat.messages = None
        [first] = await self._log.read(chat.stream, until=1, limit=1)
        made = decode("chat", first.type, first.data)
        chat.owner_id, chat.listed = getattr(made, "owner_id", None), getattr(made, "listed", False)

    def _checked_time(self, chat: ChatInFile, line: EventLine) -> int:
        at_us = line.at_us
        if at_us > self._now_us:
            raise BadLine(f"{line.at.isoformat()} is in the future - at `$.at`")
        if chat.at_us is not None and at_us < chat.at_us:
            raise BadLine(f"{line.at.isoformat()} is before the event above it - at `$.at`")
        interval_us = at_us - chat.at_us if chat.at_us is not None else 0
        if round(line.interval_s * 1_000_000) != interval_us:
            raise BadLine(f"expected {interval_us / 1_000_000:.6f}, found {line.interval_s} - at `$.interval_s`")
        return at_us

    def _checked_fact(self, line: EventLine, data: bytes) -> tuple[Any, bytes | None]:
        if line.redacted:
            raise BadLine("something is left out for the reader who exported it: restore the owner's export - at `$.redacted`")
        if len(data) > EVENT_BYTES_MAX:
            raise BadLine(f"an event holds at most {EVENT_BYTES_MAX} bytes, this one has {len(data)} - at `$.data`")
        if not EMITTED_NAME.fullmatch(line.type):
            raise BadLine(f"expected a type like [a-z][a-z0-9_:.-]{{0,63}}, found {line.type[:80]!r} - at `$.type`")
        try:
            fact = decode("chat", line.type, data)
            refuse_nul(data)
        except UNREADABLE as error:
            raise BadLine(in_data(str(error))) from None
        except StenographError as error:
            raise BadLine(f"{error} - at `$.data`") from None
        actor = bytes(line.user)
        if actor == NOTHING:
            return fact, None
        try:
            decode_actor(actor)
            refuse_nul(actor)
        except UNREADABLE as error:
            reason, _, path = str(error).partition(" - at `$")
            raise BadLine(f"{reason} - at `$.user{path or '`'}") from None
        except StenographError as error:
            raise BadLine(f"{error} - at `$.user`") from None
        return fact, actor

    async def _checked_owner(self, chat: ChatInFile, fact: Any, data: bytes) -> bytes:
        """The data of the first event, with ``owner_id`` as owner if the named one has no account here. Raises ``BadLine``."""
        if type(fact) is not ChatCreated:
            raise BadLine("a chat begins with chat_created - at `$.type`")
        chat.owner_id, chat.listed = fact.owner_id, fact.listed
        if await self._has_account(fact.owner_id):
            return data
        if self._owner_id is None:
            raise BadLine(f"its owner {fact.owner_id} has no account here: say whose it is to be with --user EMAIL - at `$.data.owner_id`")
        old = str(fact.owner_id).encode()
        replaced, count = re.subn(rb'("owner_id"\s*:\s*")' + old + rb'"', rb"\g<1>" + str(self._owner_id).encode() + b'"', data, flags=re.I)
        if count != 1:
            raise BadLine("expected one owner, written once - at `$.data.owner_id`")
        chat.owner_id = self._owner_id
        self.done.owners_replaced += 1
        return replaced

    async def _has_account(self, user_id: UUID) -> bool:
        known = self._accounts.get(user_id)
        if known is None:
            known = self._accounts[user_id] = await self._log.version(user_stream(user_id)) > 0
        return known

    def _follow(self, chat: ChatInFile, line: EventLine, fact: Any) -> None:
        """Follow the messages and answers of the chat, and compare each answer's end with its deltas. Raises ``BadLine``."""
        message_id = line.message_id
        if message_id is None:
            if type(fact) in OF_A_MESSAGE:
                raise BadLine(f"{line.type} is about a message - at `$.message_id`")
            return
        if type(fact) not in OF_A_MESSAGE and type(fact) is not Emitted:
            raise BadLine(f"{line.type} is about the chat, not about a message - at `$.message_id`")
        fills = isinstance(fact, MessageStarted) and fact.fills is True
        if fills and chat.messages is not None and message_id not in chat.messages:
            raise BadLine(f"message {message_id} is not in the chat above this line - at `$.message_id`")
        if type(fact) in (MessageAdded, MessageStarted) and not fills and chat.messages is not None:
            if message_id in chat.messages:
                raise BadLine(f"message {message_id} is in the chat already - at `$.message_id`")
            if fact.parent_id is not None and fact.parent_id not in chat.messages:
                raise BadLine(f"the parent {fact.parent_id} is not in the chat above this line - at `$.data.parent_id`")
            chat.messages.add(message_id)
        match fact:
            case MessageStarted(node_id=node_id):
                chat.answers[message_id] = AnswerSums()
                chat.open[message_id] = node_id
            case BlockOpened(index=index) if message_id in chat.answers:
                chat.answers[message_id].opened(index)
            case MessageDelta() if message_id in chat.answers:
                chat.answers[message_id].add(fact)
            case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
                said = chat.answers.pop(message_id, None)
                chat.open.pop(message_id, None)
                if said is not None and type(fact) is MessageEnded:
                    said.check(fact)
            case CallOpened(call_id=call_id, node_id=node_id):
                chat.open[call_id] = node_id
            case CallAnswered(call_id=call_id) | CallLapsed(call_id=call_id):
                chat.open.pop(call_id, None)
            case _:
                pass

    async def _compare(self, chat: ChatInFile, line: EventLine, data: bytes, actor: bytes | None) -> None:
        """Raises ``BadLine`` if the log holds another event at this version."""
        if not chat.known:
            until = min(chat.existing, line.version + KNOWN_PAGE - 1)
            page = await self._log.read(chat.stream, after=line.version - 1, until=until, limit=KNOWN_PAGE)
            times = await self._log.original_times(chat.stream, after=line.version - 1, until=until)
            chat.known.extend((stored, microseconds(times.get(stored.version, stored.at))) for stored in page)
        stored, at_us = chat.known.popleft()
        same: Mapping[str, bool] = {
            "type": stored.type == line.type,
            "message_id": stored.message_id == line.message_id,
            "user": stored.actor == actor,
            "data": stored.data == data,
            "at": at_us == line.at_us,
        }
        differing = [key for key, is_same in same.items() if not is_same]
        if differing:
            raise BadLine(
                f"the chat is here already, with another event at version {line.version}: it differs in {', '.join(differing)}. "
                f"Nothing of it was changed; it is at version {chat.existing}"
            )

    # ---------------------------------------------------------------------------------------------------------- appends

    async def _add(self, chat: ChatInFile, line: EventLine, data: bytes, actor: bytes | None) -> None:
        bounds = self._bounds()
        if self._part_events >= bounds.events or self._part_bytes + len(data) > bounds.bytes:
            await self._send()
        part = self._part.get(chat.stream)
        if part is None:
            part = self._part[chat.stream] = StreamAppend(chat.stream, [], line.version - 1, [])
        assert isinstance(part.events, list) and isinstance(part.origins, list)
        part.events.append(Event(line.message_id, Verbatim(line.type, data)))
        part.origins.append(Origin(actor, line.at))
        self._part_events += 1
        self._part_bytes += len(data)

    async def _send(self) -> None:
        """Send the gathered appends as one request. Requests of one stream reach the log in this order."""
        if not self._part and not self._lists:
            return
        lists = [StreamAppend(user_stream(user_id), events, ANY) for user_id, events in self._lists.items()]
        parts = [part for part in self._part.values() if part.stream not in self._lost]
        self._part, self._lists, self._part_events, self._part_bytes = {}, {}, 0, 0
        if not parts:
            return
        request = AppendRequest([*parts, *lists])
        task = asyncio.create_task(self._append(request, parts))
        self._in_flight.append((task, frozenset(part.stream for part in parts)))
        await asyncio.sleep(0)  # the task enqueues its request before the next one is made
        while len(self._in_flight) > REQUESTS_IN_FLIGHT:
            await self._settle()

    async def _append(self, request: AppendRequest, parts: list[StreamAppend]) -> None:
        try:
            await self._log.append(request)
        except LogUnavailable:
            raise
        except StenographError as error:
            for part in parts:
                if part.stream not in self._lost:
                    self._lost.add(part.stream)
                    self.done.chats_whole -= 1
                    self.done.refuse(
                        f"{part.stream}: nothing above version {part.expected} was restored, for the log refused it: {error}. Repeat it"
                    )
            return
        self.done.events_added += sum(len(part.events) for part in parts)

    async def _settle(self) -> None:
        task, _ = self._in_flight.popleft()
        await task
        self._progressed()

    async def _drain(self) -> None:
        while self._in_flight:
            await self._settle()


def in_data(text: str) -> str:
    """A decoder's error text with the path relative to the line instead of the event's data."""
    return text.replace("`$", "`$.data") if "`$" in text else f"{text} - at `$.data`"
