"""``steno import``: chats from elsewhere into the log, as the operator, with or without a server that runs on it meanwhile."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple
from uuid import UUID

import rich_click as click

from api.commandline.place import Failed, Place, options
from api.commandline.progress import Progress
from api.commandline.projections import database
from api.commandline.server import data_option
from api.commandline.transfer import import_lines

FORMATS: Final = ("auto", "open-webui", "chitchat", "jsonl")
SNIFFED_BYTES: Final = 64 * 1024
REFUSALS_SHOWN: Final = 20
GC_THRESHOLDS: Final = (100_000, 20, 50)
LINE: Final = re.compile(rb'\s*\{[^\n]*"stream"\s*:\s*"[a-z]+/[^\n]*"version"\s*:')
CHITCHAT: Final = re.compile(rb'\s*\{\s*"[^"]+"\s*:\s*\{\s*"(?:messages|ratings|start|prompt)"\s*:')
EXIT_REFUSED: Final = 1
Format = Literal["open-webui", "chitchat", "jsonl"]


class Source(NamedTuple):
    """A file on its way in. ``chats`` yields whole chats and refusals for one owner; ``broken`` says, afterwards, where it broke off."""

    chats: Callable[[UUID], Iterator[Any]]
    broken: list[str]


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True, help="What FILE is.")
@click.option("--user", metavar="EMAIL", help="Whose chats they become. Default: the only account there is.")
@click.option("--stream-answers", is_flag=True, help="chitchat: log the answers word by word, as a model would have said them.")
@data_option
@options
def import_(place: Place, file: IO[bytes], format_: str, user: str | None, stream_answers: bool, data: Path | None) -> None:
    """Import the chats in FILE (`-`: standard input).

    `open-webui`: what Open WebUI exports, one chat or an array of any length. `chitchat`: the `dataset.json` of the package
    chitchat-dataset. Both go into the database directly; a server may run on it. To import the same again changes nothing, and what was
    interrupted goes on. A chat that cannot be taken is named, with its key; the others are.

    `jsonl`: what `steno export` wrote, through the server.
    """
    head, read = looked_into(file)
    found = format_of(head) if format_ == "auto" else format_
    if found == "jsonl":
        # To be replaced by the exact restore of a log's lines; until then as a new chat of one's own, through the server.
        import_lines(place, lines_of(read))
        return
    if stream_answers and found != "chitchat":
        raise Failed("--stream-answers is for chitchat: in other formats nobody knows how the answers came.")
    source = chitchat_source(read, streams=stream_answers) if found == "chitchat" else open_webui_source(read)
    total = size_of(file)
    import uvloop  # only here, as with all that reaches the database: most commands need none of it

    with database(data) as dsn:
        summary = uvloop.run(into(dsn, source, user, read, total))
    report(summary, source.broken)


def lines_of(read: "Counting") -> Iterator[bytes]:
    rest = b""
    while piece := read(SNIFFED_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


class Counting:
    """Reads a file and knows how far it is."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file
        self.done = 0

    def __call__(self, size: int) -> bytes:
        piece, self._head = (self._head, b"") if self._head else (self._file.read(size), b"")
        self.done += len(piece)
        return piece


def looked_into(file: IO[bytes]) -> tuple[bytes, Counting]:
    """The file's first bytes, and a reader of all of it."""
    head = file.read(SNIFFED_BYTES)
    return head, Counting(head, file)


def format_of(head: bytes) -> Format:
    """By its first bytes. Raises ``Failed`` for an empty file, and for one of something else."""
    text = head.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise Failed("The file is empty.")
    if LINE.match(text):
        return "jsonl"
    if text.lstrip()[:1] not in (b"[", b"{"):
        raise Failed("This is neither a chat export of Open WebUI, nor of `steno export`, nor the chitchat data set.")
    return "chitchat" if CHITCHAT.match(text) else "open-webui"


def size_of(file: IO[bytes]) -> int:
    """0 where nobody knows: a pipe."""
    try:
        here = file.tell()
        size = file.seek(0, 2)
        file.seek(here)
    except (OSError, ValueError):
        return 0
    return size


def open_webui_source(read: Counting) -> Source:
    from adapters.json_items import NotJson, items
    from commands import open_webui
    from domain.errors import ImportRefused

    broken: list[str] = []

    def chats(owner_id: UUID) -> Iterator[Any]:
        try:
            for number, item in enumerate(items(read), 1):
                name = f"number {number}, at byte {item.offset:,}"
                try:
                    yield open_webui.whole_chat(open_webui.decoded(item.raw, name), owner_id, name=name)
                except ImportRefused as refusal:
                    yield refusal
        except NotJson as error:
            broken.append(broken_off(error))

    return Source(chats, broken)


def chitchat_source(read: Counting, *, streams: bool) -> Source:
    from adapters.json_items import NotJson, items
    from commands import chitchat
    from domain.errors import ImportRefused

    broken: list[str] = []

    def chats(owner_id: UUID) -> Iterator[Any]:
        try:
            for item in items(read, members=True):
                try:
                    yield chitchat.whole_chat(item.key or f"at byte {item.offset:,}", item.raw, owner_id, streams=streams)
                except ImportRefused as refusal:
                    yield refusal
        except NotJson as error:
            broken.append(broken_off(error))

    return Source(chats, broken)


def broken_off(error: Any) -> str:
    where = f"; the chat that is broken begins at byte {error.item_offset:,}" if error.item_offset != error.offset else ""
    return f"{error}{where}"


async def into(dsn: str, source: Source, email: str | None, read: Counting, total: int) -> Any:
    """Import everything for one person. Returns the summary."""
    import gc

    from adapters.postgres.writing import writing
    from commands.chat import Chats
    from commands.importing import Importing, Summary
    from commands.whole_chat import REQUEST_EVENTS_MAX, WholeChats

    gc.set_threshold(*GC_THRESHOLDS)  # chats make no cycles: looking for them takes a tenth of the time
    async with writing(dsn, batch_events_max=REQUEST_EVENTS_MAX) as log:
        owner = await owner_of(log, email)
        with Progress("Importing", total or 1, unit="bytes") as bar:

            def counted(_: Summary) -> None:
                bar.reached(read.done, total or read.done)

            importing = Importing(WholeChats(log, log, Chats(log)), lambda _: owner, counted)
            return await importing.take(source.chats(owner.id))


async def owner_of(log: Any, email: str | None) -> Any:
    """The account that is named, or the only one. Raises ``Failed``."""
    from commands.account import normal_email
    from commands.aggregate import Aggregate
    from domain.event import Actor
    from domain.user import NOBODY, evolve

    if email is None:
        ids, count = await log.users(offset=0, limit=2)
        if not count:
            raise Failed("There is no account yet. Sign up first:  steno login")
        if count > 1:
            raise Failed(f"There are {count} accounts. Whose chats are they?  steno import --user EMAIL …")
        user_id = ids[0]
    else:
        stream = await log.find_claim("email", normal_email(email))
        if stream is None:
            raise Failed(f"There is no account {email}.")
        user_id = stream.id
    _, account = await Aggregate(log, "user", NOBODY, evolve).state(user_id)
    return Actor(user_id, account.name, account.role)


def report(summary: Any, broken: list[str]) -> None:
    """What became of the chats. Exits with 1 where not all of them are there."""
    for refusal in summary.refusals[:REFUSALS_SHOWN]:
        click.secho(str(refusal), fg="red", err=True)
    if summary.refused > REFUSALS_SHOWN:
        click.secho(f"… and {summary.refused - REFUSALS_SHOWN:,} more.", fg="red", err=True)
    chats = "chat" if summary.imported == 1 else "chats"
    click.echo(
        f"{summary.imported:,} {chats} imported ({summary.events:,} events), {summary.there:,} were there already, "
        f"{summary.refused:,} refused.",
        err=True,
    )
    for where in broken:
        click.secho(f"The file is broken: {where}. What comes before it is imported.", fg="red", err=True)
    if summary.refused or broken:
        sys.exit(EXIT_REFUSED)
