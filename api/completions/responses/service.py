"""Responses: begun as turns of a chat, read back from the log, cancelled and deleted."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from adapters.delivery.hub import Batch, Hub
from api.completions.responses.events import ResponseEvents
from api.completions.responses.ids import CONVERSATION, ids_of_response
from api.completions.responses.items import Message, add_call, items_of, items_of_message, listed_item, messages_of, shown_text
from api.completions.responses.request import params_of, require_body, said_again
from api.request.caller import Caller
from api.streams.access import LiveConnections
from api.streams.tailing import tail_stream
from commands.accounts.principal import Principal
from commands.chats.chats import Chats
from commands.content.references import resolve, resolve_blobs
from commands.generation.completion import Completions
from commands.generation.runs import Runs
from commands.generation.turn import Answerer, Question, StartedTurn, Turn
from commands.ports import Blobs, EventLog
from domain.chat.commands import DeleteMessage
from domain.errors import GenerationOpen, MessageNotFound, ResponseNotFound
from domain.generation import MessageStarted
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import chat_stream
from projections.chat import text_of
from projections.ports import ChatQueries

# The keys of a question and of an answer that hold what this dialect says of them.
INPUT: Final = "response_input"
REQUEST: Final = "response"
READ_EVENTS: Final = 1000
CONTEXT_MESSAGES_MAX: Final = 100_000  # the provider limits what its model accepts


class FoundResponse(msgspec.Struct, frozen=True):
    """Where a response stands in the log."""

    chat_id: UUID
    message_id: UUID
    started_version: int
    parent_id: UUID | None
    said_again: Mapping[str, Any]

    def events(self) -> ResponseEvents:
        return ResponseEvents(self.chat_id, self.message_id, self.said_again)


class Responses:
    def __init__(
        self,
        completions: Completions,
        chats: Chats,
        runs: Runs,
        chat_queries: ChatQueries,
        blobs: Blobs,
        log: EventLog,
        hub: Hub,
        live: LiveConnections,
    ) -> None:
        self._completions = completions
        self._chats = chats
        self._runs = runs
        self._chat_queries = chat_queries
        self._blobs = blobs
        self._log = log
        self._hub = hub
        self._live = live

    async def begin(self, data: Mapping[str, Any], caller: Caller) -> FoundResponse:
        """Ask what ``data`` asks.

        Raises ``BadRequest``, ``ResponseNotFound``, ``GenerationOpen``, and what ``Completions.begin`` raises. Nothing was written then.
        """
        require_body(data)
        items = items_of(data.get("input") or [])
        asked = messages_of(items)
        chat_id, parent_id, before = await self._goes_on_from(data, caller.principal)
        instructions = data.get("instructions")
        opening: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
        question = None
        if items:
            fields = {INPUT: data["input"]} if isinstance(data["input"], list) else {}
            question = Question(shown_text(items), uuid4(), parent_id, fields=fields)
        turn = Turn(
            chat_id=chat_id,
            question=question,
            parent_id=None if question is not None else parent_id,
            answerers=[Answerer(data["model"], uuid4(), fields={REQUEST: said_again(data)})],
            messages=[*opening, *before, *asked],
            params=params_of(data),
        )
        started = await self._completions.begin(turn, caller.actor, caller.key)
        return await self._started(started)

    async def _started(self, started: StartedTurn) -> FoundResponse:
        chat_id, message_id = started.chat_id, started.message_ids[0]
        for stored in await self._log.read(chat_stream(chat_id), after=started.version, limit=READ_EVENTS):
            if stored.message_id == message_id:
                return await self._found(stored)
        raise MessageNotFound(message_id)

    async def _found(self, stored: StoredEvent) -> FoundResponse:
        """``stored`` is the ``message_start``."""
        start: MessageStarted = decode_event(stored).data
        assert stored.message_id is not None
        kept = {REQUEST: start.fields.get(REQUEST)}
        await resolve(self._blobs, stored.stream, kept)
        request = kept[REQUEST]
        return FoundResponse(
            stored.stream.id, stored.message_id, stored.version, start.parent_id, request if isinstance(request, Mapping) else {}
        )

    async def find(self, principal: Principal, given: str, *, to_write: bool = False, param: str | None = None) -> FoundResponse:
        """Raises ``ResponseNotFound``, also where the response exists and is not for this caller."""
        chat_id, message_id = ids_of_response(given, param=param)
        since = await self._require_access(principal, chat_id, given, to_write=to_write, param=param)
        own = [stored for stored in await self._relatives(chat_id, message_id) if stored.message_id == message_id]
        starts = [stored for stored in own if stored.type == "message_start"]
        # Of a response that is older than the access its events may hold words that had gone by then.
        if not starts or starts[0].version < since or any(stored.type == "message_deleted" for stored in own):
            raise ResponseNotFound(given, param=param)
        return await self._found(starts[0])

    async def _require_access(self, principal: Principal, chat_id: UUID, given: str, *, to_write: bool, param: str | None) -> int:
        """Returns the version at which the access began."""
        access = await self._live.access(principal, chat_stream(chat_id))
        if not (access.may_write if to_write else access.may_read):
            raise ResponseNotFound(given, param=param)
        return access.since

    async def _relatives(self, chat_id: UUID, message_id: UUID) -> Sequence[StoredEvent]:
        stream = chat_stream(chat_id)
        return await self._log.read_relatives(stream, [message_id], until=await self._log.version(stream))

    async def whole(self, found: FoundResponse) -> ResponseEvents:
        """The response as it is in the log now."""
        events = found.events()
        async for stored in self._stored(found):
            events.of(stored)
            if events.over:
                break
        return events

    async def _stored(self, found: FoundResponse) -> AsyncIterator[StoredEvent]:
        """What is in the log of the chat now, from the start of the answer."""
        after = found.started_version - 1
        while page := await self._log.read(chat_stream(found.chat_id), after=after, limit=READ_EVENTS):
            for stored in page:
                yield stored
            after = page[-1].version

    def tail(self, principal: Principal, found: FoundResponse, idle_s: float) -> AsyncGenerator[Batch, None]:
        """The events of the chat from the start of the answer, and then what comes. An empty batch whenever nothing came for ``idle_s``."""
        after = found.started_version - 1
        return tail_stream(self._hub, self._log, self._live, principal, chat_stream(found.chat_id), after, idle_s=idle_s)

    async def cancel(self, caller: Caller, given: str) -> ResponseEvents:
        """Stop the answer; one that has ended stays as it is. Raises ``ResponseNotFound``."""
        found = await self.find(caller.principal, given, to_write=True)
        await self._runs.stop(chat_stream(found.chat_id), found.message_id, caller.user_id)
        return await self.whole(found)

    async def delete(self, caller: Caller, given: str) -> None:
        """Delete the answer, and its question if nothing else stands below it. What followed stays. Raises ``ResponseNotFound``."""
        found = await self.find(caller.principal, given, to_write=True)
        await self._runs.stop(chat_stream(found.chat_id), found.message_id, caller.user_id)
        nodes = await self._chats.message_nodes(found.chat_id, [one for one in (found.message_id, found.parent_id) if one is not None])
        parent = nodes.get(found.parent_id) if found.parent_id is not None else None
        going = [found.message_id]
        if found.parent_id is not None and parent is not None and parent.role == "user" and parent.children == (found.message_id,):
            going.append(found.parent_id)
        commands = [DeleteMessage(chat_id=found.chat_id, by=caller.user_id, message_id=one, with_children=False) for one in going]
        await self._chats.handle_all(commands, actor=caller.actor)

    async def input_items(self, principal: Principal, given: str) -> list[dict[str, Any]]:
        """What the model was asked, in order; nothing of a question that was deleted. Raises ``ResponseNotFound``."""
        found = await self.find(principal, given)
        parent_id = found.parent_id
        about = [stored for stored in await self._relatives(found.chat_id, found.message_id) if stored.message_id == parent_id]
        added = next((stored for stored in about if stored.type == "message_added"), None)
        if parent_id is None or added is None or any(stored.type == "message_deleted" for stored in about):
            return []
        fact = decode_event(added).data
        kept = {"role": fact.role, "content": fact.content, INPUT: fact.fields.get(INPUT)}
        await resolve(self._blobs, added.stream, kept)
        items = items_of(kept[INPUT]) if isinstance(kept[INPUT], list) else items_of_message(kept)
        return [listed_item(item, item.get("id") or f"{prefix_of(item)}_{parent_id.hex}_{at}") for at, item in enumerate(items)]

    async def _goes_on_from(self, data: Mapping[str, Any], principal: Principal) -> tuple[UUID | None, UUID | None, list[Message]]:
        """``(chat_id, message_id, messages)``: what the new question stands below, and what was said until there.

        Raises ``ResponseNotFound``, and ``GenerationOpen`` while that is being written: half an answer would be taken for a whole one.
        """
        if given := data.get("previous_response_id"):
            found = await self.find(principal, given, to_write=True, param="previous_response_id")
            chat_id, leaf_id = found.chat_id, found.message_id
        elif conversation := data.get("conversation"):
            named = conversation if isinstance(conversation, str) else conversation.get("id")
            match_ = CONVERSATION.fullmatch(named) if isinstance(named, str) else None
            if match_ is None:
                raise ResponseNotFound(str(named), param="conversation")
            chat_id, leaf_id, given = UUID(match_[1]), None, str(named)
            await self._require_access(principal, chat_id, given, to_write=True, param="conversation")
        else:
            return None, None, []
        try:
            view, ids = await self._chat_queries.branch(chat_id, leaf=leaf_id, limit=CONTEXT_MESSAGES_MAX)
        except MessageNotFound:
            raise ResponseNotFound(given, param="previous_response_id") from None
        if ids and ids[-1] in view.open:
            raise GenerationOpen(UUID(ids[-1]))
        await resolve_blobs(self._blobs, chat_id, view)
        messages = [message for one in ids for message in messages_of_view(view.messages[one])]
        return chat_id, leaf_id or (UUID(ids[-1]) if ids else None), messages


def messages_of_view(message: Mapping[str, Any]) -> list[Message]:
    """A message of the chat as providers take it: a question with all of its items, an answer with its calls."""
    if isinstance(message.get(INPUT), list):
        return messages_of(items_of(message[INPUT]))
    made: list[Message] = [{"role": message["role"], "content": text_of(dict(message))}]
    for block in message.get("blocks", ()):
        if block["type"] == "tool_call":
            call = {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": "".join(block["text"])}}
            add_call(made, call)
    return made


def prefix_of(item: Mapping[str, Any]) -> str:
    match item["type"]:
        case "function_call":
            return "fc"
        case "function_call_output":
            return "fco"
        case "reasoning":
            return "rs"
        case _:
            return "msg"
