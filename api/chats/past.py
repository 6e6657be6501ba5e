"""A chat's past over HTTP: as it was at a version or a time, page by page, and what each edit and delete changed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation

from api.chats.references import resolve_blobs
from api.request.ids import bound_id
from api.streams.http import bounded, resume_point
from api.streams.wire import encode_event
from commands.accounts import Principal
from commands.ports import Blobs, EventLog
from domain.codec import today
from domain.errors import BeforeFirstEvent, ChatNotFound
from domain.event import Stored
from domain.stream import chat_stream
from projections.chat import ChatView, sent_message, shown_message
from projections.ports import History

PAGE_MESSAGES: Final = 60
PAGE_MESSAGES_MAX: Final = 1000
PAGE_EVENTS: Final = 1000
READS_EVERYTHING: Final = ("admin", "auditor")
# What changes or removes what a message said before: those who read the past want to see both.
CHANGES: Final = frozenset({"message_edited", "message_deleted", "message_rated"})

Messages = Annotated[int, QueryParameter(ge=1, le=PAGE_MESSAGES_MAX, required=False)]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_EVENTS, required=False)]


class MessagesOut(msgspec.Struct):
    """A part of one branch, from the oldest to the newest. ``before`` names the message to go on above; null: this is its beginning."""

    id: UUID
    version: int
    current_id: str | None
    messages: list[dict[str, Any]]
    before: str | None


class ChangeOut(msgspec.Struct):
    """One event, and for one that changed a message how that looked before and after; null where there was none."""

    event: msgspec.Raw
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class ChangesOut(msgspec.Struct):
    epoch: UUID
    head: int
    events: list[ChangeOut]
    next: str


class HistoryController(Controller):
    """A part of ``ChatsController``: Litestar wants all methods of a path in one controller."""

    @get("/{chat_id:str}/messages")
    async def messages(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        epoch: NamedDependency[UUID],
        at: FromQuery[str | None] = None,
        leaf: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        limit: Messages = PAGE_MESSAGES,
    ) -> MessagesOut:
        """The newest messages of the current branch; of the one that ends in ``leaf``; or those above ``before``. ``at``: as they were."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        version = await version_at(history, log, epoch, principal, known_id, at)
        if version is None:
            await readable(history, principal, known_id)  # before a message is looked for: whether it is there is not for everybody
        leaf_id = bound_id(principal.user_id, leaf)[0] if leaf else None
        before_id = bound_id(principal.user_id, before)[0] if before else None
        view, ids = await history.branch(known_id, at=version, leaf=leaf_id, above=before_id, limit=limit)
        view.messages = view.messages.only(ids)
        await resolve_blobs(blobs, known_id, view)
        # Objects for whoever reads the schema; those that nobody has looked into are sent as they are stored.
        messages = cast("list[dict[str, Any]]", [sent_message(view.messages, one) for one in ids])
        is_more = bool(ids) and view.messages.parent_of(ids[0]) is not None
        return MessagesOut(known_id, view.version, view.current_id, messages, ids[0] if is_more else None)

    @get("/{chat_id:str}/events")
    async def changes(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        epoch: NamedDependency[UUID],
        after: FromQuery[str] = "start",
        limit: Limit = PAGE_EVENTS,
    ) -> ChangesOut:
        """The chat's events, tokens left out, with the message before and after each edit, delete and rating."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        head = await readable(history, principal, known_id)
        place = resume_point(after, epoch, head.version)
        view = await history.chat(known_id, at=place.after)
        found = await log.read(chat_stream(known_id), after=place.after, until=place.head, limit=limit, without_deltas=True)
        page = await as_first_recorded(log, bounded(found))
        made: list[ChangeOut] = []
        for event in page:
            event_out = ChangeOut(msgspec.Raw(encode_event(event)))
            is_change = today(event).type in CHANGES
            if is_change:
                event_out.before = copy_of(view, event.message_id)
            view.apply(event)
            if is_change:
                event_out.after = copy_of(view, event.message_id)
            made.append(event_out)
        last = page[-1].version if len(page) == limit or len(page) < len(found) else place.head
        return ChangesOut(epoch, place.head, made, f"{epoch}:{last}")


async def as_first_recorded(log: EventLog, page: Sequence[Stored]) -> Sequence[Stored]:
    """Events of one stream; those that were restored with the time they had first, as whoever reads the chat sees it."""
    if not page:
        return page
    times = await log.original_times(page[0].stream, after=page[0].version - 1, until=page[-1].version)
    return [msgspec.structs.replace(event, at=times.get(event.version, event.at)) for event in page] if times else page


def copy_of(view: ChatView, message_id: UUID | None) -> dict[str, Any] | None:
    message = view.messages.get(str(message_id))
    return {**shown_message(message), "childrenIds": list(message["childrenIds"])} if message is not None else None


def require_reader(view: ChatView | None, principal: Principal, chat_id: UUID) -> None:
    """Raises ``ChatNotFound`` also where the chat exists. None: it was asked already, of the chat as it is now."""
    if view is not None and not (view.may_read(principal.user_id) or (view.version and principal.role in READS_EVERYTHING)):
        raise ChatNotFound(chat_id)


async def readable(history: History, principal: Principal, chat_id: UUID) -> ChatView:
    """The chat as it is now, without its messages: who may read it now may read its past. Raises ``ChatNotFound``."""
    view, _ = await history.branch(chat_id, limit=0)
    require_reader(view, principal, chat_id)
    return view


async def version_at(history: History, log: EventLog, epoch: UUID, principal: Principal, chat_id: UUID, at: str | None) -> int | None:
    """The version that ``at`` means, a cursor or a time (ISO 8601); None is now, and then access is still to be checked.

    Raises ``ChatNotFound``, ``BadCursor``, ``CursorGone``, ``BeforeFirstEvent``.
    """
    if at is None:
        return None
    head = await readable(history, principal, chat_id)
    moment = time_of(at)
    if moment is None:
        return resume_point(at, epoch, head.version).after
    version = await log.version_at(chat_stream(chat_id), moment)
    if version == 0:
        raise BeforeFirstEvent(chat_stream(chat_id), moment)
    return version


def time_of(text: str) -> datetime | None:
    """A time in ISO 8601, by default in UTC; None for anything else, such as a cursor."""
    try:
        # In a query a "+" that nobody escaped has become a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
