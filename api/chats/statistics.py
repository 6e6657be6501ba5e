"""``/api/v1/chats/stats``: what one's chats add up to."""

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation
from litestar.response import Stream

from api.request.caller import Caller
from commands.chats.chat_pages import ChatPages
from commands.chats.chat_reader import ChatReader
from commands.positions import ListWaits
from projections.ports import ChatQueries
from projections.statistics import CountedChat, Statistics, counted_chat, counted_message, statistics

PAGE_CHATS: Final = 50
PAGE_CHATS_MAX: Final = 500
EXPORT_CHATS: Final = 10
COUNTED_CHATS: Final = 5  # whose messages are counted at once
SECONDS_MAX: Final = 32_503_680_000  # the year 3000

PageNumber = Annotated[int, QueryParameter(ge=1, le=1_000_000, required=False)]
PageSize = Annotated[int, QueryParameter(ge=1, le=PAGE_CHATS_MAX, required=False)]
Seconds = Annotated[int | None, QueryParameter(ge=0, le=SECONDS_MAX, required=False)]


class UsageOut(msgspec.Struct):
    id: UUID
    models: Mapping[str, int]
    message_count: int
    history_models: Mapping[str, int]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int
    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    tags: list[str]
    last_message_at: float | None
    updated_at: int
    created_at: int


class UsageListOut(msgspec.Struct):
    items: list[UsageOut]
    total: int


class MessageStatsOut(msgspec.Struct):
    id: UUID
    role: str
    model: str | None
    content_length: int
    token_count: int | None
    timestamp: float | None
    rating: int | None
    tags: list[str] | None


class StatsOut(msgspec.Struct):
    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    models: Mapping[str, int]
    message_count: int
    history_models: Mapping[str, int]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int


class ChatStatsOut(msgspec.Struct):
    id: UUID
    user_id: UUID
    created_at: int
    updated_at: int
    tags: list[str]
    stats: StatsOut
    chat: dict[str, Any]  # {"history": {"messages": {id: MessageStatsOut}, "currentId"}}


class ExportOut(msgspec.Struct):
    items: list[ChatStatsOut]
    total: int
    page: int
    type: str = "chats"


class StatisticsController(Controller):
    path = "/api/v1/chats/stats"
    tags = ("chats",)

    @get("/usage")
    async def usage(
        self,
        caller: NamedDependency[Caller],
        chat_queries: NamedDependency[SkipValidation[ChatQueries]],
        list_waits: NamedDependency[ListWaits],
        items_per_page: PageSize = PAGE_CHATS,
        page: PageNumber = 1,
        at_least: FromQuery[int | None] = None,
    ) -> UsageListOut:
        """Models, lengths and times of one's chats, newest first. One without messages counts in ``total`` only."""
        await list_waits.wait(caller.user_id, at_least)
        items, total = list[UsageOut](), 0
        first = (page - 1) * items_per_page
        for offset in range(first, first + items_per_page, COUNTED_CHATS):  # what is counted of many chats is not held at once
            limit = min(COUNTED_CHATS, first + items_per_page - offset)
            found, total = await chat_queries.counted(caller.user_id, offset=offset, limit=limit)
            items += [usage_out(one, statistics(one)) for one in found if one.messages]
            if len(found) < limit:
                break
        return UsageListOut(items, total)

    @get("/export")
    async def export(
        self,
        caller: NamedDependency[Caller],
        chat_queries: NamedDependency[SkipValidation[ChatQueries]],
        list_waits: NamedDependency[ListWaits],
        updated_at: Seconds = None,
        page: PageNumber = 1,
        stream: FromQuery[bool] = False,
        at_least: FromQuery[int | None] = None,
    ) -> Response[ExportOut]:  # of a union Litestar would send all as JSON
        """The same by message, without a word of them. ``updated_at``: only what changed after it; ``stream``: all, a chat a line."""
        await list_waits.wait(caller.user_id, at_least)
        since = datetime.fromtimestamp(updated_at, UTC) if updated_at is not None else None
        if stream:
            headers = {"content-disposition": f'attachment; filename="chat-stats-export-{caller.user_id}.jsonl"'}
            every = lines(chat_queries, caller.user_id, since)
            return Stream(every, media_type="application/x-ndjson", headers=headers)  # type: ignore[return-value]
        offset = (page - 1) * EXPORT_CHATS
        found, total = await chat_queries.counted(caller.user_id, offset=offset, limit=EXPORT_CHATS, oldest_first=True, since=since)
        return Response(ExportOut([chat_out(one) for one in found], total, page))

    @get("/export/{chat_id:str}")
    async def export_one(
        self, chat_id: FromPath[str], caller: NamedDependency[Caller], chat_reader: NamedDependency[ChatReader]
    ) -> ChatStatsOut:
        """The same of one chat that one may read."""
        return chat_out(await counted_pages(await chat_reader.pages(caller.principal, caller.bound(chat_id))))


async def lines(chat_queries: ChatQueries, user_id: UUID, since: datetime | None) -> AsyncGenerator[bytes, None]:
    """Page by page: what changes meanwhile moves to the end, and is seen again there."""
    offset = 0
    while True:
        found, _ = await chat_queries.counted(user_id, offset=offset, limit=COUNTED_CHATS, oldest_first=True, since=since)
        for one in found:
            yield msgspec.json.encode(chat_out(one)) + b"\n"
        if len(found) < COUNTED_CHATS:
            return
        offset += COUNTED_CHATS


async def counted_pages(pages: ChatPages) -> CountedChat:
    """The same of one chat, page by page."""
    view, tree = pages.view, pages.tree()
    counted = [counted_message(one, one["id"] in view.open) async for _, _, one in pages.messages(tree, range(len(tree)))]
    return counted_chat(pages.chat_id, view, counted)


def usage_out(chat: CountedChat, known: Statistics) -> UsageOut:
    return UsageOut(
        id=chat.chat_id,
        **msgspec.structs.asdict(known),
        tags=list(chat.tags),
        updated_at=int(chat.updated_at.timestamp()),
        created_at=int(chat.created_at.timestamp()),
    )


def chat_out(chat: CountedChat) -> ChatStatsOut:
    messages = {
        str(one.message_id): MessageStatsOut(
            one.message_id,
            one.role,
            one.model,
            one.length,
            None,
            one.timestamp,
            one.rating,
            list(one.tags) if one.tags is not None else None,
        )
        for one in chat.messages
    }
    known = msgspec.structs.asdict(statistics(chat))
    del known["last_message_at"]
    return ChatStatsOut(
        chat.chat_id,
        chat.owner_id,
        int(chat.created_at.timestamp()),
        int(chat.updated_at.timestamp()),
        list(chat.tags),
        StatsOut(**known),
        {"history": {"messages": messages, "currentId": str(chat.current_id) if chat.current_id is not None else None}},
    )
