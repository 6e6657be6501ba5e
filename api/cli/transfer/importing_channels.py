"""``steno import`` of channels: Slack's ZIP file, Mattermost's bulk JSON Lines, and the chitchat data set as one channel."""

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import rich_click as click

from api.cli.operating.priority import lower_priority
from api.cli.operating.projections import database
from api.cli.progress import Progress
from api.cli.safe_text import safe
from api.cli.transfer.import_files import ImportFiles, reading_archives
from api.cli.transfer.sources import broken_off, owner_of

MATTERMOST: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"version"')
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
MEMBER_BYTES_MAX: Final = 256 * 1024 * 1024  # of one day of one channel
SKIPS_SHOWN: Final = 20
EXIT_SKIPPED: Final = 1


def import_channels(files: ImportFiles, source: str, email: str | None, data: Path | None, name: str | None) -> None:
    """Import all channels of the file for one person, and say what became of it. Exits with 1 where a part was skipped."""
    import uvloop  # only here, as with all that reaches the database: most commands need none of it

    with database(data) as dsn:
        lower_priority()
        summary = uvloop.run(into(dsn, files, source, email, name))
    for skip in summary.skips[:SKIPS_SHOWN]:
        click.secho(safe(f"{skip.where}: {skip.reason}"), fg="red", err=True)
    if summary.skipped > SKIPS_SHOWN:
        click.secho(f"… and {summary.skipped - SKIPS_SHOWN:,} more.", fg="red", err=True)
    click.echo(
        f"{summary.channels:,} channels and {summary.messages:,} messages imported ({summary.events:,} events), {summary.there:,} messages "
        f"were there already, {summary.skipped:,} parts skipped.",
        err=True,
    )
    if summary.skipped:
        sys.exit(EXIT_SKIPPED)


async def into(dsn: str, files: ImportFiles, source: str, email: str | None, name: str | None) -> Any:
    from adapters.garbage_collection import collect_rarely
    from adapters.postgres.transfer.bulk_log import bulk_log
    from commands.channels.importing import mattermost
    from commands.channels.importing.imported import ImportIds
    from commands.channels.importing.importer import ChannelImporter, ChannelImportSummary
    from commands.channels.importing.slack import SlackExport

    collect_rarely()
    async with bulk_log(dsn) as bulk:
        owner = await owner_of(bulk, email)
        with Progress("Importer", files.total or 1, unit="bytes") as bar:

            def counted(_: ChannelImportSummary) -> None:
                bar.reached(files.done, files.total or files.done)

            importer = ChannelImporter(bulk.log, owner, source, bounds=bulk.bounds, counted=counted)
            if source == "slack":
                assert files.archive is not None
                export = SlackExport(files.archive.namelist(), reader(files, files.archive), ImportIds(owner.id, source))
                export.id_of = await importer.ids_of(export.people())
                return await importer.import_all(export.parts())
            if source == "mattermost":
                return await importer.import_all(mattermost.Mattermost(lines(files)).parts())
            return await importer.import_all(conversations(files, name or "Chit chat"))


def reader(files: ImportFiles, archive: zipfile.ZipFile) -> Any:
    def read(member: str) -> bytes:
        if archive.getinfo(member).file_size > MEMBER_BYTES_MAX:
            raise KeyError(f"{member} has more than {MEMBER_BYTES_MAX:,} bytes")
        with reading_archives():
            content = archive.read(member)
        files.read_bytes += len(content)
        return content

    return read


def lines(files: ImportFiles) -> Iterator[bytes]:
    """Each line; of one that is too long its beginning, which is no JSON."""
    file = io.BufferedReader(files.first)
    while line := file.readline(LINE_BYTES_MAX):
        yield line
        while len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES_MAX)


def conversations(files: ImportFiles, name: str) -> Iterator[Any]:
    from adapters.files.json_items import NotJson, items
    from commands.channels.importing import chitchat
    from commands.channels.importing.imported import SkippedPart

    broken: list[SkippedPart] = []

    def found() -> Iterator[tuple[str, bytes]]:
        try:
            for item in items(files.first.read, members=True):
                yield item.key or f"at byte {item.offset:,}", item.raw
        except NotJson as error:
            broken.append(SkippedPart("the rest of the file", broken_off(error)))

    yield from chitchat.parts(found(), name)
    yield from broken
