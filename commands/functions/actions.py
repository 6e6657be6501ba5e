"""Actions: functions that a person runs on a message by a button. What one returns is the response; what it emits is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from commands.chats.chat_places import ChatPlace, place_of
from commands.chats.chats import Chats
from commands.content.large_values import reference
from commands.functions.call_context import Asking
from commands.functions.functions import CallContext, Function, Functions
from commands.ports import AppendRequest, Blobs, CommandKey, EventLog
from domain.chat.commands import Emit, NotePlugin
from domain.errors import ActionNotAvailable, ActionNotFound, BadRequest, CommandMismatch, FunctionFailed, FunctionNotFound, MessageNotFound
from domain.generation import ActionRan
from domain.log.event import Actor
from domain.log.stream import chat_stream

logger = structlog.get_logger("actions")

FAILED_CHARACTERS_MAX: Final = 500
HTML: Final = "text/html"

# What ``/api/models`` says of a model, for this account. Raises ``ModelNotFound``.
ModelOf = Callable[[str, Actor], Awaitable[Mapping[str, Any]]]


class Actions:
    """``asking`` says how an action asks its user; without it, it cannot."""

    def __init__(
        self, functions: Functions, log: EventLog, chats: Chats, blobs: Blobs, model_of: ModelOf, asking: Asking | None = None
    ) -> None:
        self._functions = functions
        self._log = log
        self._chats = chats
        self._blobs = blobs
        self._model_of = model_of
        self._asking = asking

    async def run(
        self, action_id: str, body: Mapping[str, Any], actor: Actor, *, key: CommandKey | None = None, headers: Mapping[str, str] = {}
    ) -> Any:
        """Run ``id`` or ``id.sub`` with the body of a request: ``model``, ``chat_id``, ``id``, ``session_id`` and what else it holds.

        Returns what the action returned, as JSON; a repeated request gets that again, and one whose action failed runs it anew.
        Raises ``ActionNotFound``, ``ActionNotAvailable``, ``BadRequest``, ``ModelNotFound``, ``ChatNotFound``, ``MessageNotFound``,
        ``CommandMismatch`` before it runs, and ``FunctionFailed``.
        """
        function, sub_id = self._chosen(action_id)
        model = await self._model(body, actor)
        is_direct = bool(model.get("direct"))
        meta = (model.get("info") or {}).get("meta") or {}
        if not is_direct and actor.role != "admin" and not is_offered(function, meta):
            raise ActionNotAvailable(action_id)
        place = await place_of(self._chats, body.get("chat_id"), body.get("id"), actor)
        if key is not None and (known := await self._log.find_command(key.actor_id, key.key)) is not None:
            if known.request_hash != key.request_hash:
                raise CommandMismatch(key.key)
            return msgspec.json.decode(known.appended.answer)
        if place is not None and place.message_id is None and body.get("id"):
            raise MessageNotFound(body["id"])
        emitter = Emitter(self._chats, place, actor)
        session_id = body.get("session_id")
        context = CallContext(
            actor=actor,
            chat_id=body.get("chat_id"),
            message_id=body.get("id"),
            session_id=session_id if isinstance(session_id, str) else None,
            emit=emitter.emit,
            ask=self._asking(actor, chat_stream(place.chat_id), place.message_id) if self._asking and place and place.message_id else None,
            sub_id=sub_id,
            model=model,
            headers=headers,
        )
        result: Any = None
        failure: FunctionFailed | None = None
        try:
            returned = await self._functions.call(function, "action", {"body": dict(body)}, context)
            result = await plain(function, returned, emitter)
        except FunctionNotFound:
            raise ActionNotFound(action_id) from None
        except FunctionFailed as error:
            failure = error
        if key is not None:
            key = None if failure is not None else replace(key, answer=msgspec.json.encode(result))
        if place is not None:
            await self._note(place, action_id, function, emitter, result, failure, actor, key)
        elif key is not None:
            await self._log.append(AppendRequest((), actor, key))
        if failure is not None:
            raise failure
        return result

    def _chosen(self, action_id: str) -> tuple[Function, str | None]:
        known_id, dot, sub_id = action_id.partition(".")
        if "." in sub_id or not known_id or (dot and not sub_id):
            raise BadRequest(f"expected an action as id or id.sub, received {action_id[:80]!r}", param="action_id")
        for function in self._functions.actions():
            if function.id == known_id:
                return function, sub_id or None
        # Of functions that are switched off the port tells nothing.
        raise ActionNotFound(known_id) if self._functions.get(known_id) is None else ActionNotAvailable(known_id)

    async def _model(self, body: Mapping[str, Any], actor: Actor) -> Mapping[str, Any]:
        """A model that the user's tab asks itself comes with the request."""
        item = body.get("model_item")
        if isinstance(item, dict) and item.get("direct"):
            return item
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("expected model as text", param="model")
        return await self._model_of(model, actor)

    async def _note(
        self,
        place: ChatPlace,
        action_id: str,
        function: Function,
        emitter: "Emitter",
        result: Any,
        failure: FunctionFailed | None,
        actor: Actor,
        key: CommandKey | None,
    ) -> None:
        kept = None
        if result is not None:
            kept = await reference(self._blobs, chat_stream(place.chat_id), msgspec.json.encode(result).decode())
        failed = str(failure)[:FAILED_CHARACTERS_MAX] if failure is not None else None
        ran = ActionRan(action_id=action_id, source_sha256=function.sha256, emitted=emitter.emitted, result=kept, failed=failed)
        command = NotePlugin(chat_id=place.chat_id, message_id=place.message_id, trace=ran, by=place.by)
        await self._chats.handle(command, actor=actor, key=key)


class Emitter:
    """What an action emits becomes events of its message, caused by the person who runs it."""

    def __init__(self, chats: Chats, place: ChatPlace | None, actor: Actor) -> None:
        self._chats = chats
        self._place = place
        self._actor = actor
        self.emitted = 0

    async def emit(self, name: str, data: Any) -> None:
        """Where the message is not stored, an event has nowhere to be. Raises ``BadRequest`` for a reserved or malformed name."""
        place = self._place
        if place is None or place.message_id is None:
            logger.info("event_without_message", name=name)
            return
        command = Emit(chat_id=place.chat_id, by=place.by, message_id=place.message_id, name=name, data=data)
        await self._chats.handle(command, actor=self._actor)
        self.emitted += 1


async def plain(function: Function, returned: Any, emitter: Emitter) -> Any:
    """What an action returned, as JSON. A page becomes an embed of the message, as in the reference: alone, or first of two values.

    Raises ``FunctionFailed`` for what is no JSON.
    """
    page, rest = (returned[0], returned[1:]) if isinstance(returned, tuple | list) and returned else (returned, ())
    if is_response(page) and str(page.media_type).startswith(HTML):
        await emitter.emit("embeds", {"embeds": [page.body.decode(errors="replace")]})
        shown = {"status": "success", "code": "ui_component", "message": f"{function.id}: the page is shown to the user"}
        returned = rest[0] if rest else shown
    elif is_response(returned):
        text = returned.body.decode(errors="replace")
        try:
            returned = msgspec.json.decode(text)
        except msgspec.DecodeError:
            returned = text
    try:
        return msgspec.json.decode(msgspec.json.encode(returned))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise FunctionFailed(function.id, f"action returned what is not JSON: {error}") from None


def is_response(value: Any) -> bool:
    return hasattr(value, "status_code") and hasattr(value, "media_type") and isinstance(getattr(value, "body", None), bytes)


def is_offered(function: Function, meta: Mapping[str, Any]) -> bool:
    """Whether a model with this ``meta`` has the action's button."""
    listed = meta.get("actionIds")
    return function.is_global or (isinstance(listed, list) and function.id in listed)


def action_items(functions: Functions, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What ``/api/models`` lists as ``actions`` of a model: by priority, one with several buttons as ``id.sub`` in their order."""
    made: list[dict[str, Any]] = []
    for one in functions.actions():
        if not is_offered(one, meta):
            continue
        if not one.subs:
            made.append(item(one.id, one.name, one, one.icon))
        made += [item(f"{one.id}.{sub.id}", sub.name, one, sub.icon or one.icon) for sub in one.subs]
    return made


def filter_items(functions: Functions, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it lists as ``filters``: those that a person can switch on for a question."""
    given = meta.get("filterIds")
    of_model: Sequence[Any] = given if isinstance(given, list) else []
    return [
        item(one.id, one.name, one, one.icon) for one in functions.filters() if one.has_toggle and (one.is_global or one.id in of_model)
    ]


def item(item_id: str, name: str, function: Function, icon: str | None) -> dict[str, Any]:
    return {"id": item_id, "name": name, "description": function.meta.get("description"), "icon": icon}
