"""An answer in a channel as its filters meet it: an outlet is shown what the model was asked, and the answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from commands.channels.channels import Channels
from commands.content.large_values import reference
from commands.filters.filtered_body import Body
from commands.generation.filtering import output_of
from commands.ports import Blobs, EventLog
from domain.channel.commands import NoteFilters
from domain.errors import MessageNotFound
from domain.generation import BlockOpened, FilterApplied, MessageDelta, MessageEnded
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import Stream, channel_stream

CONTENT: Final = "content"
CONTENT_BYTES_MAX: Final = 128 * 1024  # above it the content is a blob, and the event refers to it


class ChannelAnswer:
    """``AnswerPlace``. An outlet can change only the answer: the other messages that it sees are the words of members."""

    def __init__(self, channels: Channels, log: EventLog, blobs: Blobs, *, channel_id: UUID, message_id: UUID) -> None:
        self._channels = channels
        self._log = log
        self._blobs = blobs
        self._channel_id = channel_id
        self.message_id = message_id

    @property
    def stream(self) -> Stream:
        return channel_stream(self._channel_id)

    async def note(self, traces: Sequence[FilterApplied]) -> None:
        command = NoteFilters(channel_id=self._channel_id, message_id=self.message_id, traces=traces)
        await self._channels.handle(command, attempts_max=None)

    async def shown(self, asked: Sequence[Mapping[str, Any]], ended: MessageEnded) -> tuple[list[Body], Any]:
        _, channel = await self._channels.state(self._channel_id, messages=[self.message_id])
        node = channel.messages.get(self.message_id)
        if node is None or node.deleted:
            raise MessageNotFound(self.message_id)
        blocks = blocks_of(await self._log.read_message(self.stream, self.message_id, after=0))
        text = "".join("".join(block["text"]) for block in blocks if block["type"] == "text")
        answer = {"id": str(self.message_id), "role": "assistant", CONTENT: text, "finish_reason": ended.finish_reason}
        before = [{"role": one["role"], CONTENT: one.get(CONTENT)} for one in asked]
        return [*before, {**answer, "output": output_of({**answer, "blocks": blocks})}], node.changed_version

    async def write(self, traces: Sequence[FilterApplied], edits: Mapping[UUID, Mapping[str, Any]], seen: Any) -> None:
        content = edits.get(self.message_id, {}).get(CONTENT)
        fields: dict[str, Any] = {}
        if isinstance(content, str):
            is_large = len(content.encode()) > CONTENT_BYTES_MAX
            fields = {CONTENT: await reference(self._blobs, self.stream, content) if is_large else content}
        command = NoteFilters(channel_id=self._channel_id, message_id=self.message_id, traces=traces, fields=fields, since=seen)
        await self._channels.handle(command, attempts_max=None)


def blocks_of(events: Sequence[StoredEvent]) -> list[dict[str, Any]]:
    """What the answer is made of, from its events."""
    blocks: list[dict[str, Any]] = []
    for stored in events:
        match decode_event(stored).data:
            case BlockOpened(index=index, type=kind, name=name, id=call_id):
                blocks.append({"index": index, "type": kind, "name": name, "id": call_id, "text": []})
            case MessageDelta(index=index, text=text):
                blocks[index]["text"].append(text)
            case _:
                pass
    return blocks
