"""``/api/v1/analytics``: the reports of Open WebUI's page of analytics. Those that name people and chats are for
admins, the others also for analysts. Counts are of answers of models, imported ones included."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation

from api.analytics.times import Seconds, window
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.accounts.principal import Principal, require_admin
from commands.analytics import Analytics, require_analyst
from projections.figures.parts_of_time import part_of_time
from projections.figures.ports import ListedMessage
from projections.figures.question import Question, question_of, zone_of
from projections.ports import ChatQueries

ANSWERS: Final = ("role", ["assistant"])
BUCKETS_MAX: Final = 20_000
PAGE_MAX: Final = 100
TAGS: Final = 10
TAGGED_CHATS_MAX: Final = 1_000
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, required=False)]
Skip = Annotated[int, QueryParameter(ge=0, le=1_000_000, required=False)]
Days = Annotated[int, QueryParameter(ge=0, le=3_660, required=False)]


class ModelOut(msgspec.Struct):
    model_id: str
    base_model_id: str | None
    count: int
    unique_users: int
    unique_chats: int


class ModelsOut(msgspec.Struct):
    models: list[ModelOut]


class UserOut(msgspec.Struct):
    user_id: UUID
    name: str | None
    email: str | None
    count: int
    input_tokens: int
    output_tokens: int
    total_tokens: int


class UsersOut(msgspec.Struct):
    users: list[UserOut]


class MessageOut(msgspec.Struct):
    """Without its text, which no figure holds: ``content`` is null."""

    id: UUID
    chat_id: UUID
    user_id: UUID | None
    role: str
    parent_id: UUID | None
    model_id: str | None
    usage: dict[str, int] | None
    created_at: int
    updated_at: int
    content: None = None


class SummaryOut(msgspec.Struct):
    total_messages: int
    total_chats: int
    total_models: int
    total_users: int


class DayOut(msgspec.Struct):
    date: str
    models: dict[str, int]
    tokens: dict[str, int]


class DailyOut(msgspec.Struct):
    data: list[DayOut]


class ModelTokensOut(msgspec.Struct):
    model_id: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    message_count: int


class TokensOut(msgspec.Struct):
    models: list[ModelTokensOut]
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int


class ChatOut(msgspec.Struct):
    chat_id: UUID
    user_id: UUID | None
    user_name: str | None
    updated_at: int
    first_message: None = None  # no figure holds it


class ChatsOut(msgspec.Struct):
    chats: list[ChatOut]
    total: int


class HistoryOut(msgspec.Struct):
    date: str
    won: int
    lost: int


class TagOut(msgspec.Struct):
    tag: str
    count: int


class OverviewOut(msgspec.Struct):
    history: list[HistoryOut]
    tags: list[TagOut]


class ReportWindow:
    """What every report is asked: its window, and how new it has to be.

    The window is read, and refused with ``BadRequest``, when a handler asks for it: after it has seen who asks.
    """

    def __init__(self, start_date: int | None, end_date: int | None, at_least: int | None) -> None:
        self._dates = start_date, end_date
        self.at_least = at_least

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        return window(*self._dates)


class Report(ReportWindow):
    """A report of the accounts in a group, or of all."""

    def __init__(self, start_date: int | None, end_date: int | None, at_least: int | None, group_id: UUID | None) -> None:
        super().__init__(start_date, end_date, at_least)
        self.group_id = group_id


AtLeast = FromQuery[int | None]


async def provide_report_window(start_date: Seconds = None, end_date: Seconds = None, at_least: AtLeast = None) -> ReportWindow:
    return ReportWindow(start_date, end_date, at_least)


async def provide_report(
    start_date: Seconds = None, end_date: Seconds = None, at_least: AtLeast = None, group_id: FromQuery[UUID | None] = None
) -> Report:
    return Report(start_date, end_date, at_least, group_id)


class AnalyticsController(Controller):
    path = "/api/v1/analytics"
    tags = ("analytics",)
    dependencies = {"report": Provide(provide_report), "report_window": Provide(provide_report_window)}  # noqa: RUF012  # Litestar reads it once

    @get("/models")
    async def models(
        self, caller: NamedDependency[Caller], analytics: NamedDependency[Analytics], report: NamedDependency[Report]
    ) -> ModelsOut:
        """How much each model has answered, the most asked first (analyst; with `group_id` admin)."""
        require_reader(caller.principal, report)
        question = await asked(analytics, ["answers", "people", "conversations"], ["model", "base_model"], report)
        rows = await rows_of(analytics, question, report)
        found = [ModelOut(model, base, count, people, chats) for model, base, count, people, chats in rows if model is not None]
        return ModelsOut(sorted(found, key=lambda one: -one.count))

    @get("/users")
    async def users(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        accounts: NamedDependency[Accounts],
        report: NamedDependency[Report],
        limit: Annotated[int, QueryParameter(ge=1, le=1_000, required=False)] = 50,
    ) -> UsersOut:
        """How many answers each account has had, and their tokens, the most first (admin)."""
        require_admin(caller.principal)
        question = await asked(analytics, ["answers", "message_input_tokens", "message_output_tokens"], ["person"], report)
        rows = [row for row in await rows_of(analytics, question, report) if row[0] is not None]
        found = []
        for person, count, read, written in sorted(rows, key=lambda row: -row[1])[:limit]:
            account = await accounts.account(UUID(person))
            tokens = int(read or 0), int(written or 0)
            found.append(UserOut(UUID(person), account.name or None, account.email or None, count, *tokens, sum(tokens)))
        return UsersOut(found)

    @get("/messages")
    async def messages(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        report_window: NamedDependency[ReportWindow],
        model_id: Annotated[str | None, QueryParameter(max_length=512, required=False)] = None,
        user_id: FromQuery[UUID | None] = None,
        chat_id: FromQuery[UUID | None] = None,
        skip: Skip = 0,
        limit: Limit = 50,
    ) -> list[MessageOut]:
        """Messages of a model, an account or a chat, the newest first, without their text (admin). Without a filter: none."""
        require_admin(caller.principal)
        if model_id is None and user_id is None and chat_id is None:
            return []
        since, until = report_window.window
        await analytics.wait(report_window.at_least)
        wanted: dict[str, Any] = {"model_id": model_id, "user_id": user_id, "stream_id": chat_id}
        return [message_out(one) for one in await analytics.figures.messages(**wanted, since=since, until=until, offset=skip, limit=limit)]

    @get("/summary")
    async def summary(
        self, caller: NamedDependency[Caller], analytics: NamedDependency[Analytics], report: NamedDependency[Report]
    ) -> SummaryOut:
        """How much was answered in all: answers, chats, models, accounts (analyst; with `group_id` admin)."""
        require_reader(caller.principal, report)
        question = await asked(analytics, ["answers", "conversations", "models", "people"], [], report)
        ((answers, chats, models, people),) = await rows_of(analytics, question, report)
        return SummaryOut(answers, chats, models, people)

    @get("/daily")
    async def daily(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        report: NamedDependency[Report],
        granularity: FromQuery[Literal["hourly", "daily"]] = "daily",
        time_zone: Annotated[str, QueryParameter(max_length=80, required=False)] = "UTC",
    ) -> DailyOut:
        """Answers and tokens by model, an entry for each day or hour of the window (analyst; with `group_id` admin)."""
        require_reader(caller.principal, report)
        part = "hour" if granularity == "hourly" else "day"
        question = await asked(analytics, ["answers", "message_input_tokens", "message_output_tokens"], ["model"], report)
        question = msgspec.structs.replace(question, granularity=part, time_zone=time_zone)
        zone_of(time_zone)
        rows = await rows_of(analytics, question, report)
        counts: dict[datetime, dict[str, int]] = {}
        tokens: dict[datetime, dict[str, int]] = {}
        for at, model, count, read, written in rows:
            if model is not None:
                counts.setdefault(at, {})[model] = count
                tokens.setdefault(at, {})[model] = int((read or 0) + (written or 0))
        times = buckets(question, part, list(counts))
        form = "%Y-%m-%d %H:00" if part == "hour" else "%Y-%m-%d"
        zone = zone_of(time_zone)
        return DailyOut([DayOut(at.astimezone(zone).strftime(form), counts.get(at, {}), tokens.get(at, {})) for at in times])

    @get("/tokens")
    async def tokens(
        self, caller: NamedDependency[Caller], analytics: NamedDependency[Analytics], report: NamedDependency[Report]
    ) -> TokensOut:
        """Tokens by model, as the providers said, the most first (analyst; with `group_id` admin)."""
        require_reader(caller.principal, report)
        question = await asked(analytics, ["message_input_tokens", "message_output_tokens", "answers"], ["model"], report)
        found = [
            ModelTokensOut(model, int(read or 0), int(written or 0), int((read or 0) + (written or 0)), count)
            for model, read, written, count in await rows_of(analytics, question, report)
            if model is not None
        ]
        found.sort(key=lambda one: -one.total_tokens)
        read, written = sum(one.input_tokens for one in found), sum(one.output_tokens for one in found)
        return TokensOut(found, read, written, read + written)

    @get("/models/{model_path:path}")
    async def of_model(
        self,
        model_path: FromPath[str],
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        accounts: NamedDependency[Accounts],
        chat_queries: NamedDependency[SkipValidation[ChatQueries]],
        report_window: NamedDependency[ReportWindow],
        skip: Skip = 0,
        limit: Limit = 50,
        order_by: FromQuery[Literal["updated_at", "user_name"]] = "updated_at",
        direction: FromQuery[Literal["asc", "desc"]] = "desc",
        days: Days = 30,
    ) -> Response[ChatsOut | OverviewOut]:
        """Of one model, whose id may have slashes (admin). `…/chats`: the chats in which it has answered, of all accounts.
        `…/overview`: how it was rated on each of the last `days`, 0 for all days with ratings, and the tags of its chats."""
        require_admin(caller.principal)
        model_id, _, name = model_path.removeprefix("/").rpartition("/")
        if not model_id or name not in ("chats", "overview"):
            raise NotFoundException
        since, until = report_window.window
        await analytics.wait(report_window.at_least)
        if name == "overview":
            return Response(await overview(analytics, chat_queries, model_id, days))
        found = await analytics.figures.chats_of_model(model_id, since, until)
        names: dict[UUID | None, str] = {
            one.owner_id: (await accounts.account(one.owner_id)).name for one in found if one.owner_id is not None
        }
        ordered = sorted(found, key=lambda one: names.get(one.owner_id, "").casefold()) if order_by == "user_name" else found[::-1]
        if direction == "desc":
            ordered = ordered[::-1]
        page = [
            ChatOut(one.stream_id, one.owner_id, names.get(one.owner_id), int(one.updated_at.timestamp()))
            for one in ordered[skip : skip + limit]
        ]
        return Response(ChatsOut(page, len(found)))


def require_reader(principal: Principal, report: Report) -> None:
    """A group may be one person: to choose by it is to ask for somebody's own figures. Raises ``Forbidden``."""
    require_analyst(principal)
    if report.group_id is not None:
        require_admin(principal)


async def overview(analytics: Analytics, chat_queries: ChatQueries, model_id: str, days: int) -> OverviewOut:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days) if days else None
    question = question_of(["thumbs_up", "thumbs_down"], filters={"model": [model_id]}, since=since, granularity="day")
    rated = {at: (won, lost) for at, won, lost in (await analytics.ask(question)).rows}
    times = [today - timedelta(days=back) for back in range(days, -1, -1)] if days else sorted(rated)
    history = [HistoryOut(at.strftime("%Y-%m-%d"), *rated.get(at, (0, 0))) for at in times]
    tags: Counter[str] = Counter()
    for one in (await analytics.figures.chats_of_model(model_id, None, None))[:TAGGED_CHATS_MAX]:
        view, _ = await chat_queries.outline(one.stream_id, whole_bytes_max=0)
        tags.update(view.tags)
    return OverviewOut(history, [TagOut(tag, count) for tag, count in sorted(tags.items(), key=lambda one: (-one[1], one[0]))[:TAGS]])


async def asked(analytics: Analytics, metrics: Sequence[str], dimensions: Sequence[str], report: Report) -> Question:
    """Of answers, in a window, of the accounts in a group."""
    since, until = report.window
    filters = [ANSWERS, *([("person", await analytics.members(report.group_id))] if report.group_id is not None else [])]
    return question_of(metrics, dimensions, filters, since=since, until=until)


async def rows_of(analytics: Analytics, question: Question, report: Report) -> Sequence[tuple[Any, ...]]:
    await analytics.wait(report.at_least)
    return (await analytics.ask(question)).rows


def buckets(question: Question, part: str, known: Sequence[datetime]) -> list[datetime]:
    """When each part of the window begins. A window without an end or a beginning goes as far as there is something."""
    zone = zone_of(question.time_zone)
    first = part_of_time(question.since, part, zone) if question.since is not None else min(known, default=None)
    last = part_of_time(question.until - timedelta(seconds=1), part, zone) if question.until is not None else max(known, default=None)
    if first is None or last is None:
        return sorted(known)
    times: list[datetime] = []
    at = first
    while at <= last and len(times) < BUCKETS_MAX:
        times.append(at)
        # A day has from 23 to 25 hours where clocks change.
        at = at + timedelta(hours=1) if part == "hour" else part_of_time(at + timedelta(hours=26), part, zone)
    return times


def message_out(one: ListedMessage) -> MessageOut:
    tokens = {"input_tokens": one.input_tokens, "output_tokens": one.output_tokens}
    usage = {name: count for name, count in tokens.items() if count is not None}
    at = int(one.sent_at.timestamp())
    return MessageOut(one.message_id, one.stream_id, one.user_id, one.role, one.parent_id, one.model_id, usage or None, at, at)
