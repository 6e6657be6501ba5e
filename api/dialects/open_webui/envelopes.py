"""A chat's events as the envelopes that Open WebUI's page reads: ``{chat_id, message_id, data: {type, data}}``.

Pure: ``ChatEnvelopes`` holds the part of a chat that is still changing, as a ``ChatView``, and nothing else. What a model says goes out as
pieces of the items of an answer (``output``), as OpenAI's Responses name them; pieces of one tick that belong together are one envelope.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from api.formats.page_json import INTERRUPTED, output_items, with_items
from domain.chat.facts import ChatRenamed, ChatTagged, ChatUntagged, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_event
from domain.log.event import Emitted, StoredEvent, emitters_name
from projections.chat import ChatView, message_to_json, text_of
from projections.messages import Message

Envelope = dict[str, Any]

DELTA_TYPES: Final[Mapping[str, str]] = {
    "text": "response.output_text.delta",
    "reasoning": "response.reasoning_text.delta",
    "tool_call": "response.function_call_arguments.delta",
}
RECENT: Final = timedelta(minutes=1)
PIECES: Final = frozenset({"message_delta", "content_block"})
# What emitters may say to a page, by their names and as the page knows it. On other names it acts: it would run code, or ask its user.
SHOWN_NAMES: Final[Mapping[str, str]] = {
    "status": "status",
    "message": "message",
    "delta": "chat:message:delta",
    "replace": "replace",
    "chat:message": "chat:message",
    "source": "source",
    "citation": "citation",
    "notification": "notification",
    "follow_ups": "chat:message:follow_ups",
    "chat:message:follow_ups": "chat:message:follow_ups",
}

TEXT_NAMES: Final = frozenset({"message", "delta", "replace", "chat:message"})  # those that change what a message says


class ChatEnvelopes:
    """``view`` is the chat as of the version that the page was last told of. Of its messages it holds those that may still change."""

    def __init__(self, chat_id: UUID, view: ChatView) -> None:
        self._chat_id = str(chat_id)
        self._view = view

    @property
    def version(self) -> int:
        return self._view.version

    def so_far(self, now: datetime) -> list[Envelope]:
        """What a page that has just joined may lack: the text so far of each answer that is being written, or the end of the newest one,
        where it has ended lately.
        """
        made: list[Envelope] = []
        view = self._view
        current = view.messages.get(view.current_id) if view.current_id is not None else None
        is_recent = view.updated_at is not None and now - view.updated_at < RECENT
        ended = current if not view.open and is_recent and current is not None and current.get("role") == "assistant" else None
        for message_id in view.open:
            message = view.messages.get(message_id)
            if message is not None:
                made.append(self._of(message_id, "chat:completion", whole(message)))
        if ended is not None:
            made += self._ended(self._leaf(), ended)
        # ``internal``: the page shows no notification for these. While it still loads the chat it would show one, as for another chat.
        return [{**one, "internal": True} for one in made + self._idle(made)]

    def title(self, now: datetime) -> list[Envelope]:
        """What the chat is called, where it is so new that a page may have joined after it got its name."""
        view = self._view
        is_new = view.created_at is not None and now - view.created_at < RECENT and view.current_id is not None
        return [self._of(self._leaf(), "chat:title", view.title)] if is_new else []

    def of(self, events: Iterable[StoredEvent], *, whole_texts: bool = False) -> list[Envelope]:
        """The envelopes of the next events, in order. They must go on from ``version``.

        ``whole_texts``: in the place of pieces all that an answer says so far, for a page that may have lost some.
        """
        made: list[Envelope] = []
        view = self._view
        said: dict[str, None] = {}
        for stored in events:
            if stored.version > view.version:
                if whole_texts and stored.type in PIECES:
                    view.apply(stored)
                    said[str(stored.message_id)] = None
                else:
                    self._add(made, stored)
        unfinished = [one for one in said if one in view.open and one in view.messages]
        made += [self._of(one, "chat:completion", whole(view.messages[one])) for one in unfinished]
        return made + self._idle(made)

    def _idle(self, made: list[Envelope]) -> list[Envelope]:
        """That nothing is being written any more, where the last answer has ended: the page takes away what stops an answer then."""
        over = [one["message_id"] for one in made if one["data"]["type"] == "chat:completion" and one["data"]["data"].get("done")]
        return [self._of(over[-1], "chat:active", {"active": False})] if over and not self._view.open else []

    def _add(self, made: list[Envelope], stored: StoredEvent) -> None:
        view, message_id = self._view, str(stored.message_id)
        fact: Any = decode_event(stored).data
        view.apply(stored, fact)
        message = view.messages.get(message_id) if stored.message_id is not None else None
        match fact:
            case MessageDelta(index=index, text=text):
                if message is not None and index < len(message["blocks"]):
                    self._add_piece(made, message_id, message["blocks"][index], text)
            case BlockOpened(type="tool_call") if message is not None:
                item = output_items(message)[-1]
                made.append(self._response(message_id, {"type": "response.output_item.added", "output_index": fact.index, "item": item}))
            case MessageStarted() | MessageAdded():
                if message is not None:
                    made.append(self._messages(message))
                if isinstance(fact, MessageStarted):
                    made.append(self._of(message_id, "chat:active", {"active": True}))
            case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
                if message is not None:
                    made += self._ended(message_id, message)
            case MessageEdited() | MessageRated():
                made.append(self._messages(message) if message is not None else self._of(message_id, "chat:reload", {}))
            case MessageDeleted():
                made.append(self._of(self._leaf(), "chat:reload", {}))
            case Emitted():
                self._add_emitted(made, message_id, message, fact)
            case ChatRenamed(title=title):
                made.append(self._of(self._leaf(), "chat:title", title))
            case ChatTagged() | ChatUntagged():
                made.append(self._of(self._leaf(), "chat:tags", list(view.tags)))
            case _:
                pass

    def _leaf(self) -> str:
        """A message that the page knows: envelopes about the chat itself are heard below one."""
        return str(self._view.current_id)

    def _of(self, message_id: str, kind: str, data: Any) -> Envelope:
        return {"chat_id": self._chat_id, "message_id": message_id, "data": {"type": kind, "data": data}}

    def _response(self, message_id: str, data: Envelope) -> Envelope:
        return self._of(message_id, "response:completion", data)

    def _messages(self, message: Message) -> Envelope:
        """A message that is new or has changed, in its place. Every page that shows the chat takes it over."""
        view, message_id = self._view, message["id"]
        nodes: dict[str, Any] = {message_id: {"output": [], **with_items(message_to_json(message))}}
        above = message["parentId"]
        if above is not None:
            nodes[above] = {"id": above, "childrenIds": [message_id]}
        envelope = self._of(message_id, "chat:messages", {"messages": nodes, "currentId": view.current_id})
        return {**envelope, "shared": True, "user_id": message.get("user_id") or str(view.owner_id)}

    def _add_piece(self, made: list[Envelope], message_id: str, block: Message, text: str) -> None:
        """The piece joins the envelope before, where that is about the same block."""
        kind = DELTA_TYPES.get(block["type"])
        if kind is None:
            return
        if made and made[-1]["message_id"] == message_id:
            known = made[-1]["data"]["data"]
            if isinstance(known, dict) and known.get("type") == kind and known["output_index"] == block["index"]:
                known["delta"] += text
                return
        item_id = f"{message_id}-{block['index']}"
        piece = {"type": kind, "item_id": item_id, "output_index": block["index"], "content_index": 0, "delta": text}
        made.append(self._response(message_id, piece))

    def _ended(self, message_id: str, message: Message) -> list[Envelope]:
        made: list[Envelope] = []
        match message.get("state"):
            case "error":
                made.append(self._of(message_id, "chat:message:error", {"error": message["error"]}))
            case "interrupted":
                made.append(self._of(message_id, "chat:message:error", {"error": INTERRUPTED}))
            case "cancelled":
                made.append(self._of(message_id, "chat:tasks:cancel", {}))
            case _:
                pass
        usage = {"usage": message["usage"]} if "usage" in message else {}
        made.append(self._of(message_id, "chat:completion", {**whole(message), **usage, "done": True}))
        return made

    def _add_emitted(self, made: list[Envelope], message_id: str, message: Message | None, fact: Emitted) -> None:
        name = emitters_name(fact)
        if name in ("files", "embeds"):
            if message is not None:  # the page puts what it gets in the place of what it has
                made.append(self._of(message_id, name, {name: message.get(name, [])}))
        elif name in TEXT_NAMES and message is not None and message.get("role") == "assistant":
            made.append(self._of(message_id, "chat:completion", whole(message)))  # of an answer the page shows its items, not its text
        elif name in SHOWN_NAMES:
            made.append(self._of(message_id, SHOWN_NAMES[name], fact.data))


def whole(message: Message) -> Envelope:
    """All that an answer says: its text, and its items, which the page shows instead where it has any."""
    content = text_of(message)
    return {"content": content if isinstance(content, str) else "", "output": output_items({"content": content, **message})}
