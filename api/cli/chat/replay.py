"""``steno replay``: a chat as it happened, at the pace it happened, from a server or from a file."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import rich_click as click

from api.cli.chat.parallel_answers import COLOURS, OutputPart, ParallelAnswers
from api.cli.chat.payload_text import payload_text
from api.cli.login import Failed, Target, chat_stream, options, run, with_client
from api.cli.safe_text import safe
from api.cli.terminal import LineWrapper
from domain.errors import BadLine
from domain.log.jsonlines import BlobLine, parse_line
from stenograph_client import Client, Event, User
from stenograph_client.export import export_lines

MAX_GAP_S: Final = 2.0
EXPORTED: Final = {"chat": "chats", "channel": "channels"}
Point = int | datetime  # a version, or a time


class Pace:
    """When each event is due, in seconds from the first. Kept as a sum, so that short waits do not add up their errors."""

    def __init__(self, speed: float, max_gap_s: float) -> None:
        self._speed, self._max_gap_s = speed, max_gap_s
        self._last_at: float | None = None
        self.due_s = 0.0

    def of(self, event: Event) -> float:
        at = event.at.timestamp()
        if self._last_at is not None and self._speed > 0:
            self.due_s += min(self._max_gap_s, max(0.0, at - self._last_at) / self._speed)
        self._last_at = at
        return self.due_s


class PointType(click.ParamType[Point]):
    """A version, or a time in ISO 8601, by default in UTC."""

    name = "VERSION|TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Point:
        text = str(value)
        if text.isascii() and text.isdecimal() and len(text) < 10 and int(text):
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"expected a version from 1 on, or a time like 2026-11-21T10:00:00, received {text!r}", param, ctx)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def is_after(event: Event, point: Point) -> bool:
    return event.version > point if isinstance(point, int) else event.at > point


def is_before(event: Event, point: Point) -> bool:
    return event.version < point if isinstance(point, int) else event.at < point


def write(part: OutputPart, wrap: LineWrapper | None) -> None:
    colour = COLOURS[part.answer % len(COLOURS)] if part.answer is not None else None
    text = safe(part.text)
    text = text if wrap is None else wrap.of(text)
    click.echo(click.style(text, fg=colour, dim=part.dim or None), nl=False)


async def play(
    events: AsyncIterator[Event],
    pace: Pace,
    *,
    since: Point | None = None,
    until: Point | None = None,
    blobs: Mapping[str, str] | None = None,
) -> int:
    """Show the events when they are due. What is before ``since`` is known and not shown. Returns the last version shown.

    With ``blobs``, texts by their sha256 that ``events`` may add to, each answer begins with what its model was sent.

    Raises ``Failed`` where nothing lies between the two.
    """
    loop = asyncio.get_running_loop()
    answers = ParallelAnswers()
    wrap = LineWrapper() if sys.stdout.isatty() else None
    began: float | None = None
    first: Event | None = None
    last: Event | None = None
    shown = 0
    async for event in events:
        first = first or event
        if until is not None and is_after(event, until):
            break
        last = event
        if since is not None and is_before(event, since):
            for _ in answers.feed(event):
                pass
            continue
        if began is None:
            began = loop.time()
            if since is not None:
                for part in answers.so_far():
                    write(part, wrap)
        due = began + pace.of(event)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        for part in answers.feed(event):
            write(part, wrap)
        if blobs is not None and event.type == "message_start":
            write(OutputPart(payload_text(event, blobs), None, True), None)
        shown = event.version
    if first is None:
        raise Failed("There are no events.")
    if last is None:
        raise Failed(f"The first event is version {first.version}, at {first.at.isoformat()}: --until is before it.")
    if not shown:
        raise Failed(f"Nothing lies there: up to the end asked for, the last event is version {last.version}, at {last.at.isoformat()}.")
    for part in answers.rest():
        write(part, wrap)
    return shown


def event_of(raw: bytes, blobs: dict[str, str] | None = None) -> Event | None:
    """An event from its line of JSON; None for a line of content, whose text is put into ``blobs``. Raises ``BadLine``."""
    line = parse_line(raw)
    if isinstance(line, BlobLine):
        if blobs is not None and line.text is not None:
            blobs[line.blob] = line.text
        return None
    user = json.loads(bytes(line.user))
    known = User(str(user.get("id", "")), str(user.get("name", "")), str(user.get("role", ""))) if isinstance(user, dict) else None
    message_id = str(line.message_id) if line.message_id is not None else None
    return Event(line.stream, "", line.version, 0, line.at, known, message_id, line.type, json.loads(bytes(line.data)))


async def of_server(client: Client, stream: str, blobs: dict[str, str] | None = None) -> AsyncIterator[Event]:
    """The events of a chat or a channel at their original times; another stream's as they are."""
    kind, _, stream_id = stream.partition("/")
    if kind not in EXPORTED:
        async for event in client.events(stream):
            yield event
        return
    async for raw in export_lines(client.http, stream_id, kind=EXPORTED[kind]):
        parsed = event_of(raw, blobs)
        if parsed is not None:
            yield parsed


async def of_file(path: Path, chat: str | None, blobs: dict[str, str] | None = None) -> AsyncIterator[Event]:
    """The events of one chat of a file: of ``chat``, or of the first. Raises ``Failed`` with the line that is none."""
    wanted = None if chat is None else chat if "/" in chat else f"chat/{chat}"
    others = False
    version = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.isspace():
                    continue
                try:
                    event = event_of(raw, blobs)
                except BadLine as bad:
                    raise Failed(f"Line {number} of {path}: {bad.reason}") from None
                if event is None:
                    continue
                wanted = wanted or event.stream
                if event.stream != wanted:
                    others = True
                    if version:
                        break  # the lines of a chat stand together
                    continue
                if version and event.version != version + 1:
                    raise Failed(f"Line {number} of {path}: expected version {version + 1} of {wanted}, found {event.version}.")
                version = event.version
                yield event
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}") from None
    if others and chat is None:
        click.secho("\nThe file holds other chats, too. Play one of them with  --chat ID", dim=True, err=True)
    if others and not version:
        raise Failed(f"{path} holds no {wanted}.")


@click.command()
@click.argument("chat", metavar="CHAT|FILE")
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Times as fast; 0: no waiting at all.")
@click.option("--max-gap", type=click.FloatRange(min=0), default=MAX_GAP_S, show_default=True, metavar="SECONDS", help="No wait is longer.")
@click.option("--from", "since", type=PointType(), help="Begin there; what came before is not shown.")
@click.option("--until", type=PointType(), help="Stop after it: the chat as it was then.")
@click.option("--chat", "chosen", metavar="ID", help="Of a FILE with several chats: which one. Default: the first.")
@click.option("--payloads", is_flag=True, help="Show what each model was sent.")
@options
def replay(
    target: Target, chat: str, speed: float, max_gap: float, since: Point | None, until: Point | None, chosen: str | None, payloads: bool
) -> None:
    """Play CHAT (an id, `last`, `channel/ID`), or a FILE that `steno export` wrote, at its original pace: each token, edit and delete."""
    pace = Pace(speed, max_gap)
    path = Path(chat)
    blobs: dict[str, str] | None = {} if payloads else None
    if path.suffix in (".jsonl", ".ndjson") or path.is_file():
        shown = asyncio.run(play(of_file(path, chosen, blobs), pace, since=since, until=until, blobs=blobs))
    elif chosen is not None:
        raise click.UsageError("--chat is for a FILE")
    else:

        async def work(client: Client) -> int:
            return await play(of_server(client, await chat_stream(client, chat), blobs), pace, since=since, until=until, blobs=blobs)

        shown = run(with_client(target, work))
    click.secho(f"\n── version {shown}", dim=True)
