"""``steno import``: chats from elsewhere into the log, as the operator, with or without a server that runs on it meanwhile."""

import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

import rich_click as click

from adapters.garbage_collection import collect_rarely
from api.cli.login import Failed
from api.cli.operating.priority import lower_priority
from api.cli.operating.projections import database
from api.cli.operating.server import data_option
from api.cli.progress import Progress
from api.cli.safe_text import safe
from api.cli.transfer.import_files import DAMAGED, ImportFiles
from api.cli.transfer.importing_channels import MATTERMOST, import_channels
from api.cli.transfer.restoring import restore_file
from api.cli.transfer.sources import broken_off, owner_of

if TYPE_CHECKING:
    pass

FORMATS: Final = ("auto", "export", "open-webui", "chitchat", "jsonl", "slack", "mattermost")
REFUSALS_SHOWN: Final = 20
LINE: Final = re.compile(rb'\s*\{[^\n]*"stream"\s*:\s*"[a-z]+/[^\n]*"version"\s*:')
CHITCHAT: Final = re.compile(rb'\s*\{\s*"[^"]+"\s*:\s*\{\s*"(?:messages|ratings|start|prompt)"\s*:')
EXIT_REFUSED: Final = 1
Format = Literal["export", "chitchat", "jsonl", "slack", "mattermost"]


class ImportFile(NamedTuple):
    """A file on its way in. ``chats`` yields whole chats and refusals for one owner; ``broken`` says, afterwards, where it broke off."""

    chats: Callable[[UUID], Iterator[Any]]
    broken: list[str]


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True, help="What FILE is.")
@click.option(
    "--user",
    metavar="EMAIL",
    help="Whose chats they become; of JSON Lines only those whose owner has no account here. Default: the only account there is.",
)
@click.option("--stream-answers", is_flag=True, help="chitchat: log the answers word by word, as a model would have said them.")
@click.option("--channel", metavar="NAME", help="chitchat: as one channel of this name, in which each conversation is a thread.")
@data_option
def import_(file: IO[bytes], format_: str, user: str | None, stream_answers: bool, channel: str | None, data: Path | None) -> None:
    """Import the chats in FILE (`-`: standard input) into the database; a server may run on it meanwhile.

    `export`: what Open WebUI, ChatGPT, Claude, LibreChat or Qwen export, one chat or any number; FILE may be their ZIP file, or packed
    with gzip. `chitchat`: the `dataset.json` of the package chitchat-dataset. A chat that cannot be imported is named, with its key; the
    others are imported.

    `jsonl`: what `steno export` wrote. Its chats are restored exactly as they were, times included.

    `slack`: the ZIP file of Slack's export. `mattermost`: Mattermost's bulk export. Their channels become channels of the person, with
    their times, threads, reactions and what is known of files; whoever has an account here by their address is that account. Parts that
    cannot be taken are named and skipped.

    To import the same again changes nothing, and what was interrupted goes on.
    """
    files = ImportFiles(file)
    found = format_ if format_ != "auto" else "slack" if files.is_slack else format_of(files.first.head)
    if channel is not None and found != "chitchat":
        raise Failed("--channel is only for chitchat: the channels of other formats have names.")
    if found == "slack" and not files.is_slack:
        raise Failed("This is no ZIP file of Slack's export: it has no users.json and channels.json.")
    if stream_answers and found != "chitchat":
        raise Failed("--stream-answers is only for chitchat: other formats do not say how their answers were streamed.")
    if found == "jsonl":
        restore_file(io.BufferedReader(files.first), email=user, data=data, read_bytes=lambda: files.done, size_bytes=files.total)
        return
    if found in ("slack", "mattermost") or channel is not None:
        import_channels(files, found, user, data, channel)
        return
    source = chitchat_source(files, streams=stream_answers) if found == "chitchat" else export_source(files)
    import uvloop  # only here, as with all that reaches the database: most commands need none of it

    with database(data) as dsn:
        lower_priority()
        summary = uvloop.run(into(dsn, source, user, files))
    report(summary, source.broken)


def format_of(head: bytes) -> Format:
    """By its first bytes. Raises ``Failed`` for an empty file, and for one of something else."""
    text = head.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise Failed("The file is empty.")
    if LINE.match(text):
        return "jsonl"
    if MATTERMOST.match(text):
        return "mattermost"
    if text.lstrip()[:1] not in (b"[", b"{"):
        raise Failed(
            "This is no chat export that is known here (Open WebUI, ChatGPT, Claude, LibreChat, Qwen, `steno export`), "
            "nor the chitchat data set."
        )
    return "chitchat" if CHITCHAT.match(text) else "export"


def export_source(files: ImportFiles) -> ImportFile:
    """The chats of any system whose exports are known: each row tells by its content."""
    from adapters.files.json_items import NotJson, items
    from commands.transfer import open_webui
    from commands.transfer.foreign import recognised
    from domain.errors import ImportRefused

    broken: list[str] = []

    def chats(owner_id: UUID) -> Iterator[Any]:
        try:
            every = (item for file in files for item in items(file.read))
            for number, item in enumerate(every, 1):
                name = f"number {number}, at byte {item.offset:,}"
                try:
                    system, row = recognised(open_webui.decoded(item.raw, name))
                    yield open_webui.whole_chat(row, owner_id, name=name, source=system)
                except ImportRefused as refusal:
                    yield refusal
        except NotJson as error:
            broken.append(broken_off(error))
        except DAMAGED as error:
            broken.append(f"the archive is damaged, {error}")

    return ImportFile(chats, broken)


def chitchat_source(files: ImportFiles, *, streams: bool) -> ImportFile:
    from adapters.files.json_items import NotJson, items
    from commands.transfer import chitchat
    from domain.errors import ImportRefused

    broken: list[str] = []

    def chats(owner_id: UUID) -> Iterator[Any]:
        try:
            for item in items(files.first.read, members=True):
                try:
                    yield chitchat.whole_chat(item.key or f"at byte {item.offset:,}", item.raw, owner_id, streams=streams)
                except ImportRefused as refusal:
                    yield refusal
        except NotJson as error:
            broken.append(broken_off(error))

    return ImportFile(chats, broken)


async def into(dsn: str, source: ImportFile, email: str | None, files: ImportFiles) -> Any:
    """Import everything for one person. Returns the summary."""
    from adapters.postgres.transfer.bulk_log import bulk_log
    from commands.chats.chats import Chats
    from commands.transfer.importing import Importer, Summary
    from commands.transfer.whole_chat import WholeChats

    collect_rarely()
    async with bulk_log(dsn) as bulk:
        owner = await owner_of(bulk, email)
        with Progress("Importer", files.total or 1, unit="bytes") as bar:

            def counted(_: Summary) -> None:
                bar.reached(files.done, files.total or files.done)

            importing = Importer(WholeChats(bulk.log, bulk.blobs, Chats(bulk.log), bounds=bulk.bounds), lambda _: owner, counted)
            return await importing.import_all(source.chats(owner.id))


def report(summary: Any, broken: list[str]) -> None:
    """What became of the chats. Exits with 1 where not all of them are there."""
    for refusal in summary.refusals[:REFUSALS_SHOWN]:
        click.secho(safe(str(refusal)), fg="red", err=True)
    if summary.refused > REFUSALS_SHOWN:
        click.secho(f"… and {summary.refused - REFUSALS_SHOWN:,} more.", fg="red", err=True)
    for note in summary.notes[:REFUSALS_SHOWN]:
        click.secho(safe(note), fg="yellow", err=True)
    if len(summary.notes) > REFUSALS_SHOWN:
        click.secho(f"… and {len(summary.notes) - REFUSALS_SHOWN:,} more such notes.", fg="yellow", err=True)
    chats = "chat" if summary.imported == 1 else "chats"
    click.echo(
        f"{summary.imported:,} {chats} imported ({summary.events:,} events), {summary.there:,} were there already, "
        f"{summary.refused:,} refused.",
        err=True,
    )
    for where in broken:
        click.secho(f"The file is broken: {safe(where)}. What comes before it is imported.", fg="red", err=True)
    if summary.refused or broken:
        sys.exit(EXIT_REFUSED)
