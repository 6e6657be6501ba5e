"""``steno export``: a chat as a file, or as an operator every chat of the database."""

import codecs
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from api.cli.login import Failed, Target, chat_stream, options, run, with_client
from api.cli.operating.projections import database
from api.cli.operating.server import data_option
from api.cli.progress import Progress
from api.cli.safe_text import safe
from stenograph_client import Client
from stenograph_client.export import export_bytes, export_lines


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """A binary file that appears under its name only when it is complete."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@click.command()
@click.argument("chat", required=False)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. Default: standard output.")
@click.option(
    "--format",
    "chosen",
    type=click.Choice(["jsonl", "markdown", "html", "open-webui"]),
    help="JSON Lines, a transcript to read, or the JSON that Open WebUI imports. Default: by the file's ending, else jsonl.",
)
@click.option("--at", metavar="CURSOR|TIME", help="As it was then: `epoch:version`, or a time in ISO 8601.")
@click.option(
    "--branch", metavar="MESSAGE|all", help="Of a transcript: the branch that ends in MESSAGE, or all of them. Default: the current one."
)
@click.option(
    "--all", "everything", is_flag=True, help="Every chat of the database, for its operator: straight from Postgres, without a server."
)
@click.option("--user", metavar="EMAIL", help="With --all: only the chats of this person.")
@data_option
@options
def export(
    target: Target,
    chat: str | None,
    output: Path | None,
    chosen: str | None,
    at: str | None,
    branch: str | None,
    everything: bool,
    user: str | None,
    data: Path | None,
) -> None:
    """Write CHAT (an id, `last`, or `channel/ID`) to a file: as JSON Lines, every event with the seconds since the one before, or as a
    transcript.

    `steno replay FILE` plays JSON Lines back, `steno import FILE` restores them.
    """
    kind = chosen or by_ending(output)
    if everything == (chat is not None):
        raise click.UsageError("name a CHAT, or say --all")
    if everything and (kind != "jsonl" or at is not None or branch is not None):
        raise click.UsageError("--all writes JSON Lines of everything: it goes with -o, --user and --data alone")
    if not everything and (user is not None or data is not None):
        raise click.UsageError("--user and --data go with --all")
    if kind == "jsonl" and branch is not None:
        raise click.UsageError("--branch is for transcripts: JSON Lines hold every event")
    with destination(output) as write:
        if everything:
            said = write_everything(write, user, data)
        else:
            assert chat is not None
            said = write_chat(target, write, chat, kind, at, branch)
    if output is not None:
        click.echo(f"{said} in {output}", err=True)


def by_ending(output: Path | None) -> str:
    """What a file of that name holds, as far as its ending says so."""
    endings = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".json": "open-webui"}
    return endings.get(output.suffix.lower() if output is not None else "", "jsonl")


Write = Callable[[bytes], object]
EXPORTED = {"chat": "chats", "channel": "channels"}


@contextlib.contextmanager
def destination(output: Path | None) -> Iterator[Write]:
    """Where to write: a file that is whole or not there, or standard output."""
    try:
        if output is None:
            yield to_terminal() if sys.stdout.isatty() else sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        else:
            with whole_file(output) as file:
                yield file.write
    except BrokenPipeError:
        # The reader closed the pipe. Buffered output must not be written again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        raise Failed(f"{output or 'The output'} cannot be written: {error.strerror or error}") from None


def to_terminal() -> Write:
    """A terminal gets the text made safe, whatever the pieces of it are; a file or a pipe gets the bytes."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    return lambda piece: sys.stdout.write(safe(decode(piece)))


def write_chat(target: Target, write: Write, chat: str, kind: str, at: str | None, branch: str | None) -> str:
    async def work(client: Client) -> str:
        stream = await chat_stream(client, chat)
        of, _, chat_id = stream.partition("/")
        if of not in EXPORTED:
            raise Failed(f"Only chats and channels can be exported, this is {stream}.")
        if kind != "jsonl":
            return f"{await copied(export_bytes(client.http, chat_id, kind, at=at, branch=branch, kind=EXPORTED[of]), write):,} bytes"
        head = (await client.page(stream, "now", limit=1)).head if of == "chat" else 0
        count = 0
        with Progress("Exporting", head, unit="events") as progress:
            async for line in export_lines(client.http, chat_id, at=at, kind=EXPORTED[of]):
                write(line)
                count += 1
                progress.advance()
        return f"{count:,} lines"

    return run(with_client(target, work))


async def copied(pieces: AsyncIterator[bytes], write: Write) -> int:
    size = 0
    async for piece in pieces:
        write(piece)
        size += len(piece)
    return size


def write_everything(write: Write, email: str | None, data: Path | None) -> str:
    from adapters.postgres.transfer.export import WholeExport as whole  # only here: it brings a driver with it
    from commands.accounts.accounts import normal_email

    with database(data) as dsn, whole(dsn) as source:
        owner_id = source.owner(normal_email(email)) if email is not None else None
        if email is not None and owner_id is None:
            raise Failed(f"Nobody here has the address {email}.")
        with Progress("Exporting", source.total(), unit="events") as progress:
            for lines in source.lines(owner_id):
                write(lines)
                progress.reached(source.events)
        return f"{source.events:,} events of {source.chats:,} chats"
