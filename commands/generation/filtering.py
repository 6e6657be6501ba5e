"""The filters of one answer, as its run meets them: a provider behind them, what they did for the log, and the outlet once it has ended.

The outlet runs after ``message_end``: what the model said stays there. What a filter makes of it follows as an edit by the server. Where
an answer stands is a place: ``chat_answer.py``, and ``commands/channels/channel_answer.py``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from commands.content.large_values import reference
from commands.filters.filtered_body import Body, copied
from commands.filters.filtered_provider import Choose, FilteredProvider
from commands.filters.filters import Chain, EmailOf, Filters, Scene
from commands.functions.call_context import CallContext
from commands.ports import Blobs
from commands.providers.provider import Provider, ProviderRequest
from commands.routing.route import Routed
from domain.errors import ChannelNotFound, ChatNotFound, MessageNotFound
from domain.generation import FilterApplied, MessageEnded
from domain.log.event import Actor
from domain.log.stream import Stream
from domain.values.storable import storable_json
from projections.chat import text_of
from projections.messages import Message

logger = structlog.get_logger("filters")

# Keys of a request that functions see in a body, beside those that a provider is sent.
BODY_KEYS: Final = frozenset({"stream", "files", "features", "variables", "tool_ids"})


async def no_email(_: UUID) -> str:
    return ""


class AnswerPlace(Protocol):
    """An answer where it stands, in a chat or a channel, as its filters meet it."""

    @property
    def stream(self) -> Stream: ...

    @property
    def message_id(self) -> UUID: ...

    async def note(self, traces: Sequence[FilterApplied]) -> None:
        """Write what filters have done, without an actor. Raises ``LogUnavailable``."""
        ...

    async def shown(self, asked: Sequence[Mapping[str, Any]], ended: MessageEnded) -> tuple[list[Body], Any]:
        """What an outlet is shown once the answer has ended, the answer last; and what ``write`` needs to know of it.

        ``asked``: what the model was asked. A message with an ``id`` can be changed.
        """
        ...

    async def write(self, traces: Sequence[FilterApplied], edits: Mapping[UUID, Mapping[str, Any]], seen: Any) -> None:
        """Write what an outlet has done, and what it made of the messages that were not edited since ``shown``."""
        ...


class Filtering:
    """The filters of one answer."""

    def __init__(self, chain: Chain, place: AnswerPlace, blobs: Blobs, choose: Choose) -> None:
        self._chain = chain
        self._place = place
        self._blobs = blobs
        self._choose = choose
        self._asked: Sequence[Mapping[str, Any]] = ()

    def behind(self, provider: Provider, ask: ProviderRequest, created: int) -> Provider:
        """The provider behind the filters. ``created``: now, in seconds since 1970."""
        self._asked = ask.messages
        message_id = str(self._place.message_id)
        return FilteredProvider(
            provider, self._chain, keep=self._keep, note=self._place.note, choose=self._choose, message_id=message_id, created=created
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
            except (MessageNotFound, ChatNotFound, ChannelNotFound) as gone:
                place = self._place
                logger.info("outlet_dropped", stream=str(place.stream), message_id=str(place.message_id), reason=str(gone))

    async def _outlet(self, ended: MessageEnded) -> None:
        messages, told = await self._place.shown(self._asked, ended)
        _, seen, traces = await self._chain.run("outlet", self._body(messages), self._keep)
        edits = changed_contents(messages, seen.body()["messages"]) if any(trace.changed for trace in traces) else {}
        if traces:
            await self._place.write(traces, edits, told)

    def _body(self, messages: Sequence[Body]) -> Body:
        scene = self._chain.scene
        return copied(
            {
                "model": scene.model,
                "messages": [*messages],
                "chat_id": scene.context.chat_id,
                "session_id": scene.context.session_id,
                "id": str(self._place.message_id),
                "filter_ids": sorted(scene.filter_ids),
                "metadata": dict(scene.context.metadata),
            }
        )

    async def _keep(self, original: bytes) -> Any:
        return await reference(self._blobs, self._place.stream, original.decode())


class AnswerFilters:
    """Makes the ``Filtering`` of an answer. ``choose`` finds the provider of a model that a filter has chosen; it raises ``Refusal``."""

    def __init__(
        self, filters: Filters, blobs: Blobs, choose: Callable[[str, Actor], Awaitable[Routed]], *, email_of: EmailOf = no_email
    ) -> None:
        self._filters = filters
        self._blobs = blobs
        self._choose = choose
        self._email_of = email_of

    @property
    def is_empty(self) -> bool:
        return self._filters.is_empty

    async def of(
        self,
        place: AnswerPlace,
        *,
        context: CallContext,
        model: str,
        meta: Mapping[str, Any],
        beside: Mapping[str, Any],
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

        return Filtering(chain, place, self._blobs, choose)


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


def output_text(output: Any) -> str:
    """The text of all messages in it."""
    items = output if isinstance(output, list) else []
    messages = [one for one in items if isinstance(one, dict) and one.get("type") == "message"]
    parts = [part for one in messages for part in (one.get("content") or ()) if isinstance(part, dict)]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
