"""A chat's past over HTTP: as it was at a version or a time, page by page, and what each edit and delete changed."""

from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.formats.event_json import encode_event, encode_redacted
from api.request.caller import Caller
from commands.chats.chat_reader import Change, ChatReader
from projections.chat import message_for_wire

PAGE_MESSAGES: Final = 60
PAGE_MESSAGES_MAX: Final = 1000
PAGE_EVENTS: Final = 1000

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


class ChatPastController(Controller):
    """A part of ``ChatsController``: Litestar wants all methods of a path in one controller."""

    @get("/{chat_id:str}/messages")
    async def messages(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        at: FromQuery[str | None] = None,
        leaf: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        limit: Messages = PAGE_MESSAGES,
    ) -> MessagesOut:
        """The newest messages of the current branch; of the one that ends in ``leaf``; or those above ``before``. ``at``: as they were."""
        known_id, leaf_id, before_id = caller.bound(chat_id), caller.bound_or_none(leaf), caller.bound_or_none(before)
        view, ids = await chat_reader.branch(caller.principal, known_id, at=at, leaf=leaf_id, above=before_id, limit=limit)
        # Typed as objects for the schema; those that no code has looked into are sent as they are stored.
        messages = cast("list[dict[str, Any]]", [message_for_wire(view.messages, one) for one in ids])
        is_more = bool(ids) and view.messages.parent_of(ids[0]) is not None
        return MessagesOut(known_id, view.version, view.current_id, messages, ids[0] if is_more else None)

    @get("/{chat_id:str}/events")
    async def changes(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        epoch: NamedDependency[UUID],
        after: FromQuery[str] = "start",
        limit: Limit = PAGE_EVENTS,
    ) -> ChangesOut:
        """The chat's events, tokens left out, with the message before and after each edit, delete and rating."""
        head, last, changes = await chat_reader.changes(caller.principal, caller.bound(chat_id), after, limit=limit)
        events = [ChangeOut(msgspec.Raw(encoded(one)), one.before, one.after) for one in changes]
        return ChangesOut(epoch, head, events, f"{epoch}:{last}")


def encoded(change: Change) -> bytes:
    return encode_redacted(change.event) if change.redacted else encode_event(change.event)
