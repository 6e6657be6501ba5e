"""What a model is sent when it is asked in a channel.

Asked in a thread: the thread's first message and its newest replies. Asked in the channel itself: the newest messages there. In both cases
``CONTEXT_MESSAGES`` at most, and no more of them than ``CONTEXT_CHARACTERS_MAX``; the quoted message and the question always. Each begins
with the name of its author; what the model itself has said are its own turns. Only words of this server and of the model's settings are
system messages: what a member writes must not become an instruction for an answer to another member.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.content.references import value_of
from commands.generation.files import with_files
from commands.ports import Blobs
from domain.channel.mentions import without_markup
from domain.channel.state import Channel
from domain.log.stream import channel_stream
from projections.channel_message import ChannelMessage
from projections.ports import ChannelQueries

CONTEXT_MESSAGES: Final = 20
CONTEXT_CHARACTERS_MAX: Final = 200_000
Message = Mapping[str, Any]


class AskedThere(msgspec.Struct, frozen=True):
    """The question, as it is about to be posted."""

    channel_id: UUID
    version: int  # of the channel, before it
    parent_id: UUID | None
    reply_to_id: UUID | None
    name: str  # of the person who asks
    content: str
    files: Any = None


class ChannelContext:
    def __init__(self, queries: ChannelQueries, blobs: Blobs) -> None:
        self._queries = queries
        self._blobs = blobs

    async def before(self, asked: AskedThere) -> list[ChannelMessage]:
        """The messages above the question, the oldest first, with their texts. Those that are being generated now are left out."""
        placed = await self._queries.page(asked.channel_id, parent_id=asked.parent_id, limit=CONTEXT_MESSAGES, at=asked.version)
        ids = [one.message_id for one in reversed(placed)]
        first = [one for one in (asked.parent_id, asked.reply_to_id) if one is not None and one not in ids]
        ids = [*dict.fromkeys([*first, *ids])]
        known = await self._queries.messages(asked.channel_id, ids, at=asked.version)
        said = [known[one] for one in ids if one in known and known[one].exists and not known[one].is_generated_now]
        stream = channel_stream(asked.channel_id)
        for message in said:
            message.content, message.blocks = await value_of(self._blobs, stream, message.text), {}
        return within(said, len(first))


def within(said: Sequence[ChannelMessage], first: int) -> list[ChannelMessage]:
    """Without the oldest ones that are too much text. The ``first`` so many stay: the head of the thread, and what is quoted."""
    left = CONTEXT_CHARACTERS_MAX
    kept: list[ChannelMessage] = []
    for message in reversed(said[first:]):
        left -= len(text_of(message))
        if left < 0:
            break
        kept.append(message)
    return [*said[:first], *reversed(kept)]


def context_for(model: str, channel: Channel, before: Sequence[ChannelMessage], asked: AskedThere) -> list[Message]:
    """The messages for this model: where it is, what was said, and the question."""
    place = "a direct conversation" if channel.type == "dm" else f"the channel {channel.name!r}"
    system = f"You take part in {place}. Each message begins with the name of who wrote it. Answer the last one, without a name before it."
    turns: list[Message] = []
    for message in before:
        text = text_of(message)
        if message.is_generated and message.meta.get("model_id") == model:
            if text.strip():
                add_turn(turns, "assistant", text)
        else:
            add_turn(turns, "user", with_files(named(writer_of(message), text), message.data.get("files")))
    add_turn(turns, "user", with_files(named(asked.name, without_markup(asked.content, models=False)), asked.files))
    return [{"role": "system", "content": system}, *turns]


def add_turn(turns: list[Message], role: str, content: Any) -> None:
    """Turns alternate: templates of models refuse two of one role in a row."""
    last = turns[-1] if turns else None
    if last is None or last["role"] != role:
        turns.append({"role": role, "content": content})
    elif isinstance(last["content"], str) and isinstance(content, str):
        turns[-1] = {"role": role, "content": f"{last['content']}\n\n{content}"}
    else:
        turns[-1] = {"role": role, "content": [*parts_of(last["content"]), *parts_of(content)]}


def parts_of(content: Any) -> list[Any]:
    return [*content] if isinstance(content, list) else [{"type": "text", "text": content}]


def named(name: str, text: str) -> str:
    return f"{' '.join(name.split())}: {text}"


def writer_of(message: ChannelMessage) -> str:
    model = message.meta.get("model_name")
    if message.is_generated and isinstance(model, str):
        return model
    return message.user.name if message.user is not None else "Somebody"


def text_of(message: ChannelMessage) -> str:
    return without_markup(message.text) if isinstance(message.text, str) else ""
