"""A channel as a file: JSON Lines that play back, and transcripts to read."""

from typing import Final, Literal
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, SkipValidation
from litestar.response import Stream as StreamResponse

from api.channels.callers_channel import CallersChannel, provide_channel
from api.chats.exporting import disposition, flushed
from api.formats import html as transcript_html
from api.formats import markdown as transcript_markdown
from api.formats.channel_transcript import ChannelTranscript, written
from commands.channels.redactions import ChannelRedactions
from commands.ports import Blobs, EventLog
from commands.transfer.export import lines
from domain.channel.rights import access_since
from domain.errors import BadRequest
from domain.log.cursor import resume_point
from domain.log.stream import channel_stream
from projections.ports import ChannelQueries

Format = Literal["jsonl", "markdown", "html"]
ENDINGS: Final[dict[Format, str]] = {"jsonl": "jsonl", "markdown": "md", "html": "html"}
MEDIA: Final[dict[Format, str]] = {
    "jsonl": "application/x-ndjson",
    "markdown": transcript_markdown.MEDIA_TYPE,
    "html": transcript_html.MEDIA_TYPE,
}


class ChannelExportController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/export"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def export(
        self,
        channel: NamedDependency[CallersChannel],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        channel_queries: NamedDependency[SkipValidation[ChannelQueries]],
        channel_redactions: NamedDependency[ChannelRedactions],
        epoch: NamedDependency[UUID],
        format: FromQuery[Format] = "jsonl",
        at: FromQuery[str | None] = None,
        after: FromQuery[str | None] = None,
    ) -> StreamResponse:
        """The channel as ``jsonl`` (one event a line), ``markdown`` or ``html``; ``at`` a version, a cursor or a time: as it was then.

        ``after`` is for ``jsonl``: a cursor, to take up a download that was cut.
        """
        known = channel.known
        moment = await channel.reader.moment_of(known, at)
        version = known.version if moment.version is None else moment.version
        if format == "jsonl":
            first = resume_point(after, epoch, known.version).after if after is not None else 0
            since = access_since(known.channel, known.asker)
            redaction = await channel_redactions.redaction(known.id, since) if first < since else None
            body = lines(log, blobs, channel_stream(known.id), after=first, until=version, redaction=redaction)
        elif after is not None:
            raise BadRequest("after is for jsonl: a transcript begins at its beginning")
        else:
            body = flushed(
                written(ChannelTranscript(log, blobs, channel_queries, known.id, known.channel.name, version, moment.shown), format)
            )
        headers = {
            "content-disposition": disposition(known.channel.name or "channel", known.id, ENDINGS[format]),
            "x-cursor": f"{epoch}:{version}",  # of the last event that it holds
            # Its members wrote the content: as a page of this server it must not be able to do anything.
            "content-security-policy": f"{transcript_html.POLICY}; frame-ancestors 'none'; sandbox",
        }
        return StreamResponse(body, media_type=MEDIA[format], headers=headers)
