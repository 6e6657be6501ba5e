"""``FigureQueries`` without tables: each question folds the whole log. What Postgres must agree with."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.memory.log import MemoryLog
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from projections.figures.answering import answer, percentile
from projections.figures.fold import apply, ms
from projections.figures.ports import DuelCount, ListedMessage, ListedRating, ModelChat
from projections.figures.projection import ENDS, Figures
from projections.figures.question import Answer, Question
from projections.figures.rows import Streamed
from projections.figures.tables import Tables
from projections.projection import Recorded

PAGE_EVENTS: Final = 1_000
RETRY: Final = re.compile(r".*\. Asked again in .* s", re.DOTALL)


class MemoryFigures:
    """``FigureQueries``. See the port for what each method promises."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def reached(self, position: int, timeout_s: float) -> bool:  # there is nothing to wait for
        return position <= await self._log.head()

    async def position(self) -> int:
        return await self._log.head()

    async def tables(self) -> Tables:
        """All rows that the log makes."""
        tables, answers = Tables(), dict[tuple[UUID, UUID | None], list[StoredEvent]]()
        after = 0
        while page := await self._log.read_log(after=after, limit=PAGE_EVENTS):
            for stored in page:
                after = stored.position
                if stored.stream.kind not in Figures.kinds:
                    continue
                key = (stored.stream.id, stored.message_id)
                if stored.type == "message_start":
                    answers[key] = []
                elif stored.type in ("message_delta", "content_block", "status") and key in answers:
                    answers[key].append(stored)
                if stored.type == "message_delta":
                    continue
                event = Recorded(stored, decode_event(stored).data, str(stored.message_id) if stored.message_id is not None else None)
                sums = {(stored.stream.id, stored.version): streamed(answers.get(key, []))} if type(event.fact) in ENDS else {}
                apply(tables, event, sums)
        return tables

    async def ask(self, question: Question) -> Answer:
        return answer(await self.tables(), question, await self._log.head())

    async def duels(self, since: datetime | None, until: datetime | None) -> Sequence[DuelCount]:
        tables = await self.tables()
        counted = Counter(
            (duel.winner_model_id, duel.loser_model_id)
            for duel in tables.duels.values()
            if tables.ratings[duel.stream_id, duel.version].superseded_at is None
            and duel.version >= tables.conversations[duel.stream_id].imported_version
            and within(duel.decided_at, since, until)
        )
        return [DuelCount(*pair, counted[pair]) for pair in sorted(counted)]

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
        wanted = {"model_id": model_id, "user_id": user_id, "stream_id": stream_id}
        found = [
            one
            for one in (await self.tables()).messages.values()
            if all(value is None or getattr(one, name) == value for name, value in wanted.items()) and within(one.sent_at, since, until)
        ]
        found.sort(key=lambda one: (one.sent_at, one.position), reverse=True)
        return [ListedMessage(*(getattr(one, name) for name in ListedMessage.__struct_fields__)) for one in found[offset : offset + limit]]

    async def ratings(
        self, *, by_rating: bool = False, ascending: bool = False, offset: int = 0, limit: int
    ) -> tuple[int, list[ListedRating]]:
        tables = await self.tables()
        found = [
            one
            for one in tables.ratings.values()
            if one.superseded_at is None and one.version >= tables.conversations[one.stream_id].imported_version
        ]
        found.sort(key=lambda one: (one.rating if by_rating else 0, one.position), reverse=not ascending)
        page = found[offset : offset + limit]
        return len(found), [ListedRating(*(getattr(one, name) for name in ListedRating.__struct_fields__)) for one in page]

    async def chats_of_model(self, model_id: str, since: datetime | None, until: datetime | None) -> Sequence[ModelChat]:
        tables = await self.tables()
        newest: dict[UUID, datetime] = {}
        for one in tables.messages.values():
            chat = tables.conversations[one.stream_id]
            is_answer = one.model_id == model_id and one.role == "assistant"
            if is_answer and chat.kind == "chat" and chat.deleted_at is None and within(one.sent_at, since, until):
                newest[one.stream_id] = max(one.sent_at, newest.get(one.stream_id, one.sent_at))
        found = [ModelChat(one, tables.conversations[one].owner_id, at) for one, at in newest.items()]
        return sorted(found, key=lambda one: (-one.updated_at.timestamp(), one.stream_id))


def within(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)


def streamed(events: Sequence[StoredEvent]) -> Streamed:
    """As ``figures_streamed`` in ``sql/queries/figures_rows.sql`` says."""
    deltas = [event for event in events if event.type == "message_delta"]
    gaps = [ms(later.at - earlier.at) for earlier, later in pairwise(deltas)]
    datas: list[tuple[StoredEvent, Any]] = [(event, msgspec.json.decode(event.data)) for event in events]
    return Streamed(
        deltas=len(deltas),
        characters=sum(len(data["text"]) for event, data in datas if event.type == "message_delta"),
        tool_calls=sum(event.type == "content_block" and data["type"] == "tool_call" for event, data in datas),
        retries=sum(event.type == "status" and event.actor is None and is_retry(data) for event, data in datas),
        first_token_at=deltas[0].at if deltas else None,
        gap_p50_ms=percentile(gaps, 0.5),
        gap_p95_ms=percentile(gaps, 0.95),
        gap_p99_ms=percentile(gaps, 0.99),
        gap_max_ms=max(gaps, default=None),
    )


def is_retry(status: Any) -> bool:
    description = status.get("description") if isinstance(status, dict) else None
    return isinstance(description, str) and RETRY.fullmatch(description) is not None
