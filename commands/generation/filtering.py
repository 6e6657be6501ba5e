"""The filters of one answer, as its run meets them: a provider behind them, what they did for the log, and the outlet once it has ended.

The outlet runs after ``message_end``: what the model said stays there. What a filter makes of it follows as ``message_edited`` by the
server, with the text before it as ``originalContent``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from commands.chats.chats import Chats
from commands.content.large_values import reference
from commands.content.references import resolve_blobs
from commands.filters.filtered_body import Body, copied
from commands.filters.filtered_provider import Choose, FilteredProvider
from commands.filters.filters import Chain, EmailOf, Filters, Scene
from commands.functions.call_context import CallContext
from commands.generation.context import MESSAGES_MAX
from commands.ports import Blobs
from commands.providers.provider import Provider, ProviderRequest
from commands.routing.route import Routed
from domain.chat.commands import EditMessage, NotePlugin
from domain.errors import ChatNotFound, ConcurrencyConflict, MessageNotFound, TooManyLostRaces
from domain.generation import FilterApplied, MessageEnded
from domain.log.event import Actor
from domain.log.stream import chat_stream
from domain.values.storable import storable_json
from projections.chat import ChatView, text_of
from projections.messages import Message
from projections.ports import ChatQueries

logger = structlog.get_logger("filters")

# Keys of a stored message that an outlet sees, besides its id, role and content.
SHOWN_KEYS: Final = ("timestamp", "info", "usage", "sources", "files")
ATTEMPTS_MAX: Final = 32  # to write what an outlet made, while others write to the chat
GONE: Final = "gone"
# Keys of a request that functions see in a body, beside those that a provider is sent.
BODY_KEYS: Final = frozenset({"stream", "files", "features", "variables", "tool_ids"})


async def no_email(_: UUID) -> str:
    return ""


class Filtering:
    """The filters of one answer."""

    def __init__(
        self,
        chain: Chain,
        chats: Chats,
        blobs: Blobs,
        chat_queries: ChatQueries,
        choose: Choose,
        *,
        chat_id: UUID,
        message_id: UUID,
        is_saved: bool,
    ) -> None:
        """``is_saved``: the chat holds what was said before. Otherwise an outlet sees what the model was asked."""
        self._chain = chain
        self._chats = chats
        self._blobs = blobs
        self._chat_queries = chat_queries
        self._choose = choose
        self._chat_id = chat_id
        self._message_id = message_id
        self._is_saved = is_saved
        self._asked: Sequence[Mapping[str, Any]] = ()

    def behind(self, provider: Provider, ask: ProviderRequest, created: int) -> Provider:
        """The provider behind the filters. ``created``: now, in seconds since 1970."""
        self._asked = ask.messages
        message_id = str(self._message_id)
        return FilteredProvider(
            provider, self._chain, keep=self._keep, note=self._note, choose=self._choose, message_id=message_id, created=created
        )

    async def traces(self) -> list[FilterApplied]:
        """What the filters did that is not in the log yet: to be written with the end of the answer."""
        return await self._chain.traces(self._keep)

    async def outlet(self, ended: MessageEnded) -> None:
        """Show the whole answer to the filters that have an outlet, and write what they make of it. To be called once it has ended.

        Raises ``Unavailable`` and ``TooManyLostRaces``; the answer is done all the same.
        """
        if self._chain.has_outlet:
            try:
                await self._outlet(ended)
            except (MessageNotFound, ChatNotFound) as gone:
                logger.info("outlet_dropped", chat_id=str(self._chat_id), message_id=str(self._message_id), reason=str(gone))

    async def _outlet(self, ended: MessageEnded) -> None:
        view, messages = await self._messages(ended)
        _, seen, traces = await self._chain.run("outlet", self._body(messages), self._keep)
        edits = changed_contents(messages, seen.body()["messages"]) if any(trace.changed for trace in traces) else {}
        notes = [NotePlugin(chat_id=self._chat_id, message_id=self._message_id, trace=trace) for trace in traces]
        if notes:
            await self._write(notes, edits, view)

    async def _write(self, notes: Sequence[NotePlugin], edits: Mapping[UUID, Mapping[str, Any]], view: ChatView) -> None:
        """Only upon what the filters saw: where a person has edited a message meanwhile, their words stand."""
        seen = {message_id: persons_edit(view, message_id) for message_id in edits}
        for _ in range(ATTEMPTS_MAX):
            changes = [EditMessage(chat_id=self._chat_id, by=None, message_id=one, fields=fields) for one, fields in edits.items()]
            try:
                await self._chats.handle_all([*notes, *changes], actor=None, expected_version=view.version if edits else None)
                return
            except ConcurrencyConflict:
                view, _ = await self._chat_queries.branch(self._chat_id, leaf=self._message_id, limit=MESSAGES_MAX)
                left = {one: fields for one, fields in edits.items() if persons_edit(view, one) == seen[one]}
                if len(left) < len(edits):
                    logger.warning("outlet_dropped", chat_id=str(self._chat_id), messages=[str(one) for one in edits.keys() - left.keys()])
                edits = left
        raise TooManyLostRaces(chat_stream(self._chat_id), ATTEMPTS_MAX)

    def _body(self, messages: Sequence[Body]) -> Body:
        scene = self._chain.scene
        return copied(
            {
                "model": scene.model,
                "messages": [*messages],
                "chat_id": scene.context.chat_id,
                "session_id": scene.context.session_id,
                "id": str(self._message_id),
                "filter_ids": sorted(scene.filter_ids),
                "metadata": dict(scene.context.metadata),
            }
        )

    async def _messages(self, ended: MessageEnded) -> tuple[ChatView, list[Body]]:
        """The chat, and its messages as an outlet sees them: the branch down to the answer, or what was asked and the answer."""
        limit = MESSAGES_MAX if self._is_saved else 1
        view, ids = await self._chat_queries.branch(self._chat_id, leaf=self._message_id, limit=limit)
        await resolve_blobs(self._blobs, self._chat_id, view)
        made = [shown(view.messages[one]) for one in ids]
        if not self._is_saved:
            made = [*({"role": one["role"], "content": one.get("content")} for one in self._asked), *made]
        made[-1] |= {"finish_reason": ended.finish_reason, "output": output_of(view.messages[ids[-1]])}
        return view, made

    async def _keep(self, original: bytes) -> Any:
        return await reference(self._blobs, chat_stream(self._chat_id), original.decode())

    async def _note(self, traces: Sequence[FilterApplied]) -> None:
        notes = [NotePlugin(chat_id=self._chat_id, message_id=self._message_id, trace=trace) for trace in traces]
        await self._chats.handle_all(notes, actor=None, attempts_max=None)


class AnswerFilters:
    """Makes the ``Filtering`` of an answer. ``choose`` finds the provider of a model that a filter has chosen; it raises ``Refusal``."""

    def __init__(
        self,
        filters: Filters,
        chats: Chats,
        blobs: Blobs,
        chat_queries: ChatQueries,
        choose: Callable[[str, Actor], Awaitable[Routed]],
        *,
        email_of: EmailOf = no_email,
    ) -> None:
        self._filters = filters
        self._chats = chats
        self._blobs = blobs
        self._chat_queries = chat_queries
        self._choose = choose
        self._email_of = email_of

    @property
    def is_empty(self) -> bool:
        return self._filters.is_empty

    async def of(
        self,
        *,
        context: CallContext,
        chat_id: UUID,
        message_id: UUID,
        model: str,
        meta: Mapping[str, Any],
        beside: Mapping[str, Any],
        is_saved: bool,
        resettled: Callable[[Routed, ProviderRequest], ProviderRequest],
    ) -> Filtering | None:
        """``beside``: the keys of the request that go to no provider; ``meta``: the model's. None where no filter is for this answer.

        ``resettled``: a request as it is sent to another model that a filter has chosen, with that one's settings.
        """
        filter_ids = beside.get("filter_ids")
        scene = Scene(
            model=model,
            context=context,
            meta=meta,
            filter_ids=frozenset(one for one in filter_ids if isinstance(one, str)) if isinstance(filter_ids, list) else frozenset(),
            beside={name: value for name, value in beside.items() if name in BODY_KEYS},
            email=await self._email_of(context.actor.id) if self._filters.has_pipelines else "",
        )
        chain = self._filters.chain(scene)
        if chain is None:
            return None

        async def choose(chosen: str, ask: ProviderRequest) -> tuple[Provider, ProviderRequest]:
            routed = await self._choose(chosen, context.actor)
            return routed.provider, resettled(routed, ask)

        return Filtering(
            chain, self._chats, self._blobs, self._chat_queries, choose, chat_id=chat_id, message_id=message_id, is_saved=is_saved
        )


def shown(message: Message) -> Body:
    return {
        "id": message["id"],
        "role": message["role"],
        "content": text_of(message),
        **{name: message[name] for name in SHOWN_KEYS if name in message},
    }


def output_of(message: Message) -> list[Body]:
    """What an answer is made of, as items of OpenAI's Responses: some filters read and change these and not ``content``."""
    blocks = message.get("blocks") or [{"index": 0, "type": "text", "text": [text_of(message)]}]
    made: list[Body] = []
    for block in blocks:
        text = "".join(block["text"])
        item: Body = {"id": f"{message['id']}-{block['index']}", "status": "completed"}
        match block["type"]:
            case "text":
                made.append({**item, "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
            case "reasoning":
                made.append({**item, "type": "reasoning", "summary": [], "content": [{"type": "output_text", "text": text}]})
            case "tool_call":
                made.append({**item, "type": "function_call", "call_id": block["id"], "name": block["name"], "arguments": text})
            case _:
                pass
    return made


def changed_contents(before: Sequence[Body], after: Sequence[Any]) -> dict[UUID, dict[str, Any]]:
    """The fields of an edit for each message whose content an outlet has replaced. Of one whose ``output`` alone was changed, what that
    says is the content. Messages are known by their ids: what a filter adds or removes changes nothing of the chat.
    """
    known = {one["id"]: one for one in before if "id" in one}
    made: dict[UUID, dict[str, Any]] = {}
    for one in after:
        was = known.pop(one.get("id"), None) if isinstance(one.get("id"), str) else None
        if was is None:
            continue
        content = one.get("content")
        if content == was["content"] and "output" in was and one.get("output") != was["output"]:
            content = output_text(one.get("output"))
        if content != was["content"] and isinstance(content, str | list):
            made[UUID(was["id"])] = {"content": storable_json(content), "originalContent": was["content"]}
    return made


def persons_edit(view: ChatView, message_id: UUID) -> Any:
    """What a person has made of the message; None where nobody has edited it. What functions emit is no edit. A message that has gone
    counts as edited.
    """
    if str(message_id) not in view.messages:
        return GONE
    message = view.messages[str(message_id)]
    return (message["edited_by"], message.get("edited_at"), message.get("content")) if "edited_by" in message else None


def output_text(output: Any) -> str:
    """The text of all messages in it."""
    items = output if isinstance(output, list) else []
    messages = [one for one in items if isinstance(one, dict) and one.get("type") == "message"]
    parts = [part for one in messages for part in (one.get("content") or ()) if isinstance(part, dict)]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
