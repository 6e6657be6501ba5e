"""People and chats to measure with, appended through the log as the server would have done, and tokens signed with its secret.

Signing up a hundred people would take longer than the benchmark: hashing a password is slow on purpose.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from adapters.identity import JwtTokens
from adapters.postgres.log.blobs import PostgresBlobs
from adapters.postgres.log.log import postgres_log
from bench.host import SECRET
from commands.ports import AppendRequest, StreamAppend, TokenClaims
from domain.accounts.user.facts import UserCreated, UserRole
from domain.chat.facts import ChatCreated, ChatShared, MessageAdded
from domain.generation import BlockOpened, BlockSum, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import chat_stream, user_stream

TOKEN_LIFETIME_S: Final = 24 * 3600
PER_REQUEST: Final = 1_000  # events


class Person(NamedTuple):
    id: UUID
    name: str
    token: str


class Chat(NamedTuple):
    id: UUID
    owner: Person

    @property
    def stream(self) -> str:
        return f"chat/{self.id}"


class Seeding:
    """A log open for seeding. No server may run on it that has already read what is seeded."""

    def __init__(self, dsn: str) -> None:
        self.log = postgres_log(dsn, _ignore)
        self.blobs = PostgresBlobs(self.log.reader)

    async def __aenter__(self) -> "Seeding":
        await self.log.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()

    async def people(self, count: int, role: UserRole = "user") -> list[Person]:
        tokens = JwtTokens(SECRET.encode())
        expires_at = int(time.time()) + TOKEN_LIFETIME_S
        made = []
        for number in range(count):
            user_id = uuid4()
            token = tokens.issue(TokenClaims(user_id, uuid4(), 0, expires_at))
            person = Person(user_id, f"Person {number}", token)
            created = UserCreated(person.name, f"person{number}-{user_id.hex[:6]}@example.org", role)
            await self.log.append(AppendRequest(appends=[StreamAppend(user_stream(user_id), [Event(None, created)], 0)]))
            made.append(person)
        return made

    async def chats(self, owners: Iterable[Person]) -> list[Chat]:
        made = []
        for owner in owners:
            chat = Chat(uuid4(), owner)
            await self._append(chat, 0, [Event(None, ChatCreated(owner.id, "bench"))])
            made.append(chat)
        return made

    async def share(self, chat: Chat, people: Sequence[Person]) -> None:
        events = [Event(None, ChatShared(person.id, "read")) for person in people]
        await self._append(chat, 1, events)

    async def conversation(self, chat: Chat, version: int, messages: int, *, deltas: int) -> tuple[int, list[UUID]]:
        """Questions and streamed answers by turns, ``messages`` in all, after ``version``. The new version, and the questions' ids."""
        events: list[Event[Any]] = []
        asked: list[UUID] = []
        parent: UUID | None = None
        for _ in range(messages // 2):
            question, answer, task_id, node_id = uuid4(), uuid4(), uuid4(), uuid4()
            text = " word" * deltas
            events.append(Event(question, MessageAdded(parent, "user", "What is a word?")))
            events.append(Event(answer, MessageStarted(question, "bench", "bench", task_id, node_id)))
            events.append(Event(answer, BlockOpened(0, "text")))
            events += [Event(answer, MessageDelta(0, " word"))] * deltas
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            ended = MessageEnded(text, [BlockSum(0, "text", sha256)], sha256, "stop", None, Timings(1.0, 2.0), deltas)
            events.append(Event(answer, ended))
            asked.append(question)
            parent = answer
        for at in range(0, len(events), PER_REQUEST):
            version = await self._append(chat, version, events[at : at + PER_REQUEST])
        return version, asked

    async def _append(self, chat: Chat, version: int, events: Sequence[Event[Any]]) -> int:
        actor = Actor(chat.owner.id, chat.owner.name, "user")
        appended = await self.log.append(AppendRequest(appends=[StreamAppend(chat_stream(chat.id), events, version)], actor=actor))
        return appended.versions[0]


def _ignore(_: Sequence[StoredEvent]) -> None:
    """There is no reader while the log is seeded."""
