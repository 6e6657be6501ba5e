"""What readers ask of the figures. An adapter satisfies the port by shape; the one in memory folds the log instead."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from projections.figures.question import Answer, Question


class DuelCount(msgspec.Struct, frozen=True):
    winner_model_id: str
    loser_model_id: str
    duels: int


class ListedMessage(msgspec.Struct, frozen=True):
    """A message without its text."""

    stream_id: UUID
    message_id: UUID
    user_id: UUID | None
    role: str
    parent_id: UUID | None
    model_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    sent_at: datetime
    deleted_at: datetime | None


class ListedRating(msgspec.Struct, frozen=True):
    """A rating that counts, without its comment."""

    stream_id: UUID
    version: int  # of the event that rated
    message_id: UUID
    user_id: UUID | None
    model_id: str | None
    requested_model_id: str | None  # the arena, where one was asked
    rating: int  # 1 or -1
    rated_at: datetime


class ModelChat(msgspec.Struct, frozen=True):
    stream_id: UUID
    owner_id: UUID | None
    updated_at: datetime  # when the model answered in it last


class FigureQueries(Protocol):
    """As of the projection's checkpoint. No access is checked here: it is for admins."""

    async def ask(self, question: Question) -> Answer:
        """All of a question's numbers as of one moment."""
        ...

    async def duels(self, since: datetime | None, until: datetime | None) -> Sequence[DuelCount]:
        """Who won against whom how often, by the ratings that count, in order of the models' ids."""
        ...

    async def messages(
        self,
        *,
        model_id: str | None = None,
        user_id: UUID | None = None,
        stream_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        offset: int = 0,
        limit: int,
    ) -> Sequence[ListedMessage]:
        """The newest first, deleted ones among them."""
        ...

    async def ratings(
        self, *, by_rating: bool = False, ascending: bool = False, offset: int = 0, limit: int
    ) -> tuple[int, list[ListedRating]]:
        """How many ratings count, and a page of them: the newest first, or by what they say and then the newest; or the other way round."""
        ...

    async def chats_of_model(self, model_id: str, since: datetime | None, until: datetime | None) -> Sequence[ModelChat]:
        """The chats that are there in which this model has answered, the newest answer first."""
        ...

    async def position(self) -> int:
        """Everything up to it is counted."""
        ...

    async def reached(self, position: int, timeout_s: float) -> bool:
        """Wait until everything up to ``position`` is counted; False if it is not in time."""
        ...
