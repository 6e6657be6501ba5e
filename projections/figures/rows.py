"""One class for each table of the projection; its fields are the table's columns in their order (``sql/projections/figures.sql``)."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

Origin = Literal["here", "imported", "copied"]  # of a row; that of a copied chat is counted nowhere twice


class Conversation(msgspec.Struct):
    stream_id: UUID
    kind: str
    channel_type: str | None = None
    owner_id: UUID | None = None
    listed: bool = True
    created_at: datetime | None = None
    source: str | None = None
    imported_version: int = 0
    deleted_at: datetime | None = None


class Message(msgspec.Struct):
    stream_id: UUID
    message_id: UUID
    version: int
    position: int
    user_id: UUID | None
    role: str
    model_id: str | None
    base_model_id: str | None
    parent_id: UUID | None
    kind: str
    listed: bool
    origin: Origin
    is_generated: bool
    sent_at: datetime
    recorded_at: datetime
    characters: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    edits: int = 0
    reactions: int = 0
    deleted_at: datetime | None = None


class Generation(msgspec.Struct):
    stream_id: UUID
    message_id: UUID
    version: int
    position: int
    user_id: UUID | None
    requested_model_id: str
    model_id: str
    base_model_id: str | None
    provider_name: str | None
    kind: str
    listed: bool
    origin: Origin
    is_arena: bool
    is_continued: bool
    started_at: datetime
    first_token_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str = "open"
    finish_reason: str | None = None
    error_code: str | None = None
    provider_status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    deltas: int | None = None
    characters: int | None = None
    tool_calls: int | None = None
    retries: int | None = None
    first_token_ms: float | None = None
    duration_ms: float | None = None
    gap_p50_ms: float | None = None
    gap_p95_ms: float | None = None
    gap_p99_ms: float | None = None
    gap_max_ms: float | None = None


class Rating(msgspec.Struct):
    stream_id: UUID
    version: int
    position: int
    message_id: UUID
    user_id: UUID | None
    model_id: str | None
    requested_model_id: str | None
    rating: int
    rated_at: datetime
    superseded_at: datetime | None = None


class Duel(msgspec.Struct):
    stream_id: UUID
    version: int
    opponent_id: UUID
    position: int
    user_id: UUID | None
    winner_model_id: str
    loser_model_id: str
    arena_id: str | None
    decided_at: datetime


class Membership(msgspec.Struct):
    stream_id: UUID
    user_id: UUID
    version: int
    kind: str
    role: str
    joined_at: datetime
    left_at: datetime | None = None


class Person(msgspec.Struct):
    user_id: UUID
    role: str
    created_at: datetime
    deactivated_at: datetime | None = None


class Streamed(msgspec.Struct, frozen=True):
    """What the log's rows of one answer add up to, from its start to its end. Times in milliseconds, by when rows were recorded."""

    deltas: int = 0
    characters: int = 0
    tool_calls: int = 0
    retries: int = 0
    first_token_at: datetime | None = None
    gap_p50_ms: float | None = None
    gap_p95_ms: float | None = None
    gap_p99_ms: float | None = None
    gap_max_ms: float | None = None
