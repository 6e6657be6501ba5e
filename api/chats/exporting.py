"""A chat as a file: JSON Lines that play back and can be restored, transcripts to read, and the JSON that Open WebUI takes."""

import re
import unicodedata
from collections.abc import AsyncIterator
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Stream as StreamResponse

from api.formats import html as transcript_html
from api.formats import markdown as transcript_markdown
from api.formats import open_webui
from api.formats.transcript import Transcript
from api.request.caller import Caller
from commands.chats.chat_pages import ChatPages
from commands.chats.chat_reader import ChatReader
from commands.ports import Blobs, EventLog
from commands.transfer.export import lines
from domain.errors import BadRequest, MessageNotFound
from domain.log.cursor import resume_point
from domain.log.stream import chat_stream
from projections.chat import ChatView

Format = Literal["jsonl", "markdown", "html", "open-webui"]
ENDINGS: Final[dict[Format, str]] = {"jsonl": "jsonl", "markdown": "md", "html": "html", "open-webui": "json"}
NAME_CHARACTERS_MAX: Final = 80
FLUSH_CHARACTERS: Final = 64 * 1024


class ExportsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @get("/{chat_id:str}/export")
    async def export(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        epoch: NamedDependency[UUID],
        format: FromQuery[Format] = "jsonl",
        at: FromQuery[str | None] = None,
        after: FromQuery[str | None] = None,
        branch: FromQuery[str] = "current",
    ) -> StreamResponse:
        """The chat as ``jsonl`` (one event a line), ``markdown``, ``html`` or ``open-webui``; ``at`` a cursor or a time: as it was then.

        ``branch`` is for transcripts: ``current``, ``all``, or the message in which it ends. ``after`` is for ``jsonl``: a cursor, to
        take up a download that was cut. An answer that was cut has no clean end, as HTTP has it.
        """
        known_id = caller.bound(chat_id)
        head = await chat_reader.head(caller.principal, known_id)
        wanted = await chat_reader.version_at(known_id, head, at)
        version = head.version if wanted is None else wanted
        if format == "jsonl":
            if branch != "current":
                raise BadRequest("branch is for transcripts: jsonl holds every event of the chat")
            first = resume_point(after, epoch, head.version).after if after is not None else 0
            redaction = await chat_reader.redaction(caller.principal, known_id, head, first)
            body = lines(log, blobs, chat_stream(known_id), after=first, until=version, redaction=redaction)
            return export_response(body, head, known_id, format, "application/x-ndjson", f"{epoch}:{version}")
        if after is not None:
            raise BadRequest("after is for jsonl: a transcript begins at its beginning")
        pages = await chat_reader.version_pages(caller.principal, known_id, head, version)
        text = pieces(transcript_of(pages, log, blobs, caller, branch, format), format)
        media = {"markdown": transcript_markdown.MEDIA_TYPE, "html": transcript_html.MEDIA_TYPE, "open-webui": open_webui.MEDIA_TYPE}
        return export_response(flushed(text), pages.view, known_id, format, media[format], f"{epoch}:{version}")


def transcript_of(pages: ChatPages, log: EventLog, blobs: Blobs, caller: Caller, branch: str, chosen: Format) -> Transcript:
    if chosen == "open-webui":
        if branch not in ("current", "all"):
            raise BadRequest("open-webui holds the whole tree: it takes no branch")
        return Transcript(pages, log, blobs, whole=True)
    if branch in ("current", "all"):
        return Transcript(pages, log, blobs, whole=branch == "all")
    leaf_id = caller.bound(branch)
    leaf = pages.tree().index(str(leaf_id))
    if leaf is None:
        raise MessageNotFound(leaf_id)
    return Transcript(pages, log, blobs, leaf=leaf)


def pieces(transcript: Transcript, chosen: Format) -> AsyncIterator[str] | AsyncIterator[bytes]:
    match chosen:
        case "markdown":
            return transcript_markdown.markdown(transcript)
        case "html":
            return transcript_html.html(transcript)
        case _:
            return open_webui.open_webui(transcript)


async def flushed(made: AsyncIterator[str] | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces of a size that is worth sending."""
    waiting = bytearray()
    async for piece in made:
        # A lone surrogate cannot be stored, but a model's half of one might be shown.
        waiting += piece.encode(errors="replace") if isinstance(piece, str) else piece
        if len(waiting) >= FLUSH_CHARACTERS:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def export_response(
    body: AsyncIterator[bytes], view: ChatView, chat_id: UUID, chosen: Format, media_type: str, cursor: str
) -> StreamResponse:
    headers: dict[str, Any] = {
        "content-disposition": disposition(view.title, chat_id, ENDINGS[chosen]),
        "x-cursor": cursor,  # of the last event that it holds
        # A user wrote the content: as a page of this server it must not be able to do anything.
        "content-security-policy": f"{transcript_html.POLICY}; frame-ancestors 'none'; sandbox",
    }
    return StreamResponse(body, media_type=media_type, headers=headers)


def disposition(title: str, chat_id: UUID, ending: str) -> str:
    """A download, named after the chat as far as file systems and headers allow (RFC 6266)."""
    name = "".join(" " if unicodedata.category(one)[0] in "CZ" or one in '/\\:*?"<>|' else one for one in title)
    name = " ".join(name.split())[:NAME_CHARACTERS_MAX].strip(". ") or f"chat {chat_id}"
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{quote(f'{name}.{ending}', safe='')}"
