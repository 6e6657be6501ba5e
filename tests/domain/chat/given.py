"""How the tests of a chat speak: given these events, when this command, then those events.

Each rule has three tests where it applies: it happens, it is refused, it is already so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from domain.chat.commands import (
    AddMessage,
    ChatCommand,
    CreateChat,
    DeleteMessage,
    EditMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
)
from domain.chat.decide import decide_all
from domain.chat.evolve import evolve
from domain.chat.facts import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatShared,
    MessageAdded,
    MessageDeleted,
)
from domain.chat.state import EMPTY, Chat
from domain.errors import (
    Refusal,
)
from domain.generation import (
    AppendParts,
    BlockOpened,
    EndGeneration,
    MessageDelta,
    MessageStarted,
    StartGeneration,
)
from domain.log.event import Event
from tests.domain.histories import CHAT, NODE, OWNER, READER, WRITER, ended

Q, A, B, Q2, A2, OTHER = (UUID(int=number) for number in range(1, 7))
TASK, FOLDER = UUID(int=0xE0), UUID(int=0xF0)


def fold(events: Sequence[ChatEvent]) -> Chat:
    chat = EMPTY
    for version, event in enumerate(events, 1):
        chat = evolve(chat, event, version)
    return chat


@dataclass(frozen=True)
class Given:
    events: Sequence[ChatEvent]

    def when(self, *commands: ChatCommand) -> "When":
        return When(self.events, commands)


@dataclass(frozen=True)
class When:
    events: Sequence[ChatEvent]
    commands: Sequence[ChatCommand]

    def then(self, *expected: ChatEvent) -> Given:
        """Returns what is given now, for a second step."""
        assert decide_all(fold(self.events), self.commands, len(self.events)) == list(expected)
        return Given([*self.events, *expected])

    def then_raises(self, refusal: type[Refusal]) -> Refusal:
        with pytest.raises(refusal) as raised:
            decide_all(fold(self.events), self.commands, len(self.events))
        return raised.value


def given(*events: ChatEvent) -> Given:
    return Given(events)


CREATED: ChatEvent = Event(None, ChatCreated(OWNER, "a title"))
READ_SHARED: ChatEvent = Event(None, ChatShared(READER, "read"))
WRITE_SHARED: ChatEvent = Event(None, ChatShared(WRITER, "write"))
DELETED: ChatEvent = Event(None, ChatDeleted())


def asked(message_id: UUID, parent_id: UUID | None = None, role: Any = "user") -> ChatEvent:
    return Event(message_id, MessageAdded(parent_id, role, "hello"))


def started(message_id: UUID, parent_id: UUID | None = None) -> ChatEvent:
    return Event(message_id, MessageStarted(parent_id, "demo", "demo", TASK, NODE))


def opened(message_id: UUID, index: int = 0) -> ChatEvent:
    return Event(message_id, BlockOpened(index, "text"))


def said(message_id: UUID, text: str, index: int = 0) -> ChatEvent:
    return Event(message_id, MessageDelta(index, text))


def over(message_id: UUID) -> ChatEvent:
    return Event(message_id, ended("Hello"))


STREAMING = (CREATED, asked(Q), started(A, Q), opened(A), said(A, "Hel"))
ANSWERED = (CREATED, asked(Q), started(A, Q), opened(A), said(A, "Hello"), over(A))


def create(by: UUID = OWNER) -> CreateChat:
    return CreateChat(chat_id=CHAT, by=by, title="a title")


def add(message_id: UUID, parent_id: UUID | None = None, by: UUID | None = OWNER, **fields: Any) -> AddMessage:
    return AddMessage(chat_id=CHAT, by=by, message_id=message_id, parent_id=parent_id, role="user", content="hello", fields=fields)


def start(message_id: UUID, parent_id: UUID | None = None, by: UUID = OWNER, *, fills: bool = False) -> StartGeneration:
    return StartGeneration(
        stream_id=CHAT,
        by=by,
        message_id=message_id,
        parent_id=parent_id,
        model="demo",
        requested_model="demo",
        task_id=TASK,
        node_id=NODE,
        fills=fills,
    )


def parts(message_id: UUID, seq: int, *pieces: BlockOpened | MessageDelta) -> AppendParts:
    return AppendParts(stream_id=CHAT, message_id=message_id, seq=seq, parts=pieces)


def delta(text: str, index: int = 0) -> MessageDelta:
    return MessageDelta(index, text)


def end(message_id: UUID, outcome: Any = None, by: UUID | None = None) -> EndGeneration:
    return EndGeneration(stream_id=CHAT, message_id=message_id, outcome=outcome or ended("Hello"), by=by)


def edit(message_id: UUID, by: UUID = OWNER, **fields: Any) -> EditMessage:
    return EditMessage(chat_id=CHAT, by=by, message_id=message_id, fields=fields)


def delete(message_id: UUID, by: UUID = OWNER) -> DeleteMessage:
    return DeleteMessage(chat_id=CHAT, by=by, message_id=message_id)


def select(message_id: UUID) -> SelectBranch:
    return SelectBranch(chat_id=CHAT, by=OWNER, message_id=message_id)


def rename(title: str, by: UUID | None = OWNER) -> RenameChat:
    return RenameChat(chat_id=CHAT, by=by, title=title)


def share(user_id: UUID, permission: Any, by: UUID = OWNER) -> ShareChat:
    return ShareChat(chat_id=CHAT, by=by, user_id=user_id, permission=permission)


def gone(*message_ids: UUID) -> list[ChatEvent]:
    return [Event(message_id, MessageDeleted()) for message_id in message_ids]
