"""A channel as somebody reads it, in the order in which its messages came: as Markdown, or as one HTML page.

Messages are read a page at a time, each with the content that is kept beside the log: a transcript of any length takes little memory.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from html import escape
from typing import Any
from uuid import UUID

from api.formats import html as transcript_html
from api.formats import markdown as transcript_markdown
from api.formats.transcript import EPOCH, UNFINISHED, Entry, names_of
from commands.content.references import value_of
from commands.ports import Blobs, EventLog
from domain.channel.mentions import without_markup
from domain.log.stream import channel_stream
from projections.channel_message import ChannelMessage
from projections.ports import ChannelQueries

BEGINS = frozenset({"message", "message_start"})
PAGE_EVENTS = 500


class ChannelTranscript:
    """The channel as of ``version``: what there was then, as it stood at ``shown``, by default the same."""

    def __init__(
        self, log: EventLog, blobs: Blobs, queries: ChannelQueries, channel_id: UUID, name: str, version: int, shown: int | None = None
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._queries = queries
        self._stream = channel_stream(channel_id)
        self.channel_id = channel_id
        self.title = name or "Direct messages"
        self.version = version
        self._shown = version if shown is None else shown

    async def entries(self) -> AsyncIterator[Entry]:
        after = 0
        while after < self.version:
            page = await self._log.read(self._stream, after=after, until=self.version, limit=PAGE_EVENTS, without_deltas=True)
            begun = [one.message_id for one in page if one.type in BEGINS and one.message_id is not None]
            messages = await self._queries.messages(self.channel_id, begun, at=self._shown) if begun else {}
            for message_id in begun:
                message = messages.get(message_id)
                if message is not None and message.exists:
                    yield await self._entry(message)
            if len(page) < PAGE_EVENTS:
                return
            after = page[-1].version

    async def _entry(self, message: ChannelMessage) -> Entry:
        text = await value_of(self._blobs, self._stream, message.text)
        pieces = [("text", without_markup(text) if isinstance(text, str) else "", "")]
        for name, people in message.reactions.items():
            pieces.append(("other", f"{name}: {', '.join(filter(None, people.values())) or len(people)}", ""))
        above = message.reply_to_id or message.parent_id
        failure = message.meta.get("error")
        state = message.meta.get("state", "streaming")
        return Entry(
            str(message.id),
            "assistant" if message.is_generated else "webhook" if message.webhook_id is not None else "user",
            author_of(message),
            message.created_at or EPOCH,
            pieces,
            edited_at=message.updated_at if message.edited else None,
            unfinished=UNFINISHED.get(str(state), "") if message.is_generated else "",
            error=str(failure.get("content", "")) if isinstance(failure, Mapping) else "",
            files=names_of(message.data.get("files")),
            answers=str(above) if above is not None else None,
        )


def author_of(message: ChannelMessage) -> str:
    if message.is_generated:
        return str(message.meta.get("model_name"))
    return message.user.name if message.user is not None and message.user.name.strip() else "Somebody"


async def channel_markdown(transcript: ChannelTranscript) -> AsyncIterator[str]:
    yield f"# {transcript_markdown.line(transcript.title)}\n\n- Channel `{transcript.channel_id}`, version {transcript.version}\n"
    async for entry in transcript.entries():
        yield transcript_markdown.message(entry)


async def channel_html(transcript: ChannelTranscript) -> AsyncIterator[str]:
    of = f"channel {transcript.channel_id}, version {transcript.version}"
    yield transcript_html.head(escape(transcript.title), [f"as of version {transcript.version}"])
    async for entry in transcript.entries():
        # Beside the loop that tokens go through: a long text takes its time.
        yield await asyncio.to_thread(transcript_html.message, entry)
    yield transcript_html.foot(of)


def written(transcript: ChannelTranscript, chosen: str) -> AsyncIterator[Any]:
    return channel_markdown(transcript) if chosen == "markdown" else channel_html(transcript)
