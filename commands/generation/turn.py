"""A question and its answers: the turn that a completion request asks for, and what was begun of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from commands.calls.direct import DirectTab

TaskKind = Literal["title", "tags", "follow_ups"]
ANSWERS_MAX: Final = 16  # models asked side by side in one turn


class Question(msgspec.Struct, frozen=True):
    """The user's message. ``id`` None: the server chooses it. ``is_first``: it is below no other, also where the chat has messages."""

    content: Any
    id: UUID | None = None
    parent_id: UUID | None = None
    is_first: bool = False
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class Answerer(msgspec.Struct, frozen=True):
    model: str
    message_id: UUID
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class NewChat(msgspec.Struct, frozen=True, kw_only=True):
    """The chat that a turn begins: in its owner's list, unlike that of a turn that names none."""

    title: str = "New Chat"
    folder_id: UUID | None = None
    fields: Mapping[str, Any] = {}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One completion request. Without ``chat_id`` the turn gets a chat of its own: an unlisted one, or ``new_chat``."""

    chat_id: UUID | None
    new_chat: NewChat | None = None
    question: Question | None  # None: a regeneration; the answers are children of ``parent_id``
    parent_id: UUID | None
    answerers: Sequence[Answerer]
    messages: Sequence[Mapping[str, Any]]  # as the caller sent them: the whole context, or the question alone
    params: Mapping[str, Any]  # keys that go to the provider as they are
    settings: Mapping[str, Any] = {}  # the request's ``params``, as in ``model_settings.py``
    context_chat_id: UUID | None = None  # the chat that the context is from, where the turn is not stored in it
    beside: Mapping[str, Any] = {}  # keys of the request that go to no provider, such as ``filter_ids``: functions may see them
    direct: DirectTab | None = None  # the asker's own tab, which answers for its models
    continues: UUID | None = None  # the answer that the new one goes on from; then there is no question
    variables: Mapping[str, Any] = {}  # what ``{{NAME}}`` in system prompts stands for
    background: Mapping[TaskKind, bool] = {}  # work after the answers; false: a title without a model, and nothing else
    task: Mapping[str, Any] | None = None  # of such work itself: its kind, and the message that it is about

    @property
    def is_saved(self) -> bool:
        """Whether the turn is stored in a chat that its owner's list shows."""
        return self.chat_id is not None or self.new_chat is not None


class StartedTurn(msgspec.Struct, frozen=True):
    """The result of ``begin``; a repeated request gets the same. ``version`` is the chat's version before the turn."""

    chat_id: UUID
    message_ids: Sequence[UUID]
    task_ids: Sequence[UUID]
    version: int
    position: int = 0
