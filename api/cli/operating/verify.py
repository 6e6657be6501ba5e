"""``steno verify``: is the log as it was written, and are the views what it says?"""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import rich_click as click

from adapters.garbage_collection import collect_rarely
from api.cli.login import Failed
from api.cli.operating.server import data_option, settings_with_data
from api.cli.progress import Progress
from api.cli.safe_text import safe
from domain.errors import BadStreamName
from domain.log.stream import Stream, parse_stream

if TYPE_CHECKING:
    from adapters.projector.compare import Compared
    from domain.verify.log import Report

DAMAGED: Final = 1
NOT_VERIFIED: Final = 2


class NotVerified(Failed):
    """Nothing is known about the log: neither that it is whole nor that it is not."""

    exit_code = NOT_VERIFIED


@click.command()
@click.option("--projections", "with_projections", is_flag=True, help="Compare every projection with a fresh replay, too.")
@click.option(
    "--from", "first", type=click.IntRange(min=1), default=1, metavar="POSITION", help="Begin here instead of at the first event."
)
@click.option("--stream", "name", metavar="KIND/ID", help="One stream alone, such as `chat/0190…`.")
@click.option("--json", "as_json", is_flag=True, help="Say it as one JSON object.")
@data_option
def verify(with_projections: bool, first: int, name: str | None, as_json: bool, data: Path | None) -> None:
    """Check the log: that no row is missing, moved or changed, and that every answer is what was streamed.

    It reads the database itself, also while a server writes to it, and changes nothing. What began before `--from` is checked as far
    as it stands after it.

    Exit code 0: nothing is wrong. 1: damage was found, and is named. 2: it could not be verified.
    """
    if with_projections and (first > 1 or name is not None):
        raise click.UsageError("--projections compares whole views: it goes with neither --from nor --stream.")
    stream = stream_of(name) if name is not None else None
    collect_rarely()
    try:
        settings = settings_with_data(data)
    except Failed as failed:
        raise NotVerified(failed.message) from None
    from adapters.embedded.host import EmbeddedPostgresError
    from adapters.postgres.connections.errors import DatabaseError, database_errors
    from api.process.database import database  # only here: it brings the drivers with it
    from api.process.logging import configure

    configure("warning", "console")
    try:
        with database_errors(), database(settings, as_it_is=True) as (dsn, _):
            began_s = time.monotonic()
            report = verified(dsn, first, stream)
            took_s = time.monotonic() - began_s
            compared, notes = compared_projections(dsn) if with_projections else ([], [])
    except EmbeddedPostgresError as error:
        raise NotVerified(f"The database can't be used: {error}") from None
    except DatabaseError as error:
        raise NotVerified(f"The database can't be read: {error}") from None
    show = show_json if as_json else show_words
    show(report, took_s, compared, notes)
    if not report.is_whole or any(one.count for one in compared):
        sys.exit(DAMAGED)
    if notes:
        sys.exit(NOT_VERIFIED)


def stream_of(name: str) -> Stream:
    try:
        return parse_stream(name)
    except BadStreamName as error:
        raise click.UsageError(str(error)) from None


def verified(dsn: str, first: int, stream: Stream | None) -> "Report":
    from adapters.postgres.log.verify import NoSuchStream, Verified
    from adapters.postgres.log.verify import verify as verify_log

    with Progress("Verifying the log", 0, unit="events") as bar:

        def progressed(done: Verified) -> None:
            if stream is None:
                bar.reached(done.position - first + 1, done.head - first + 1)
            else:
                bar.reached(done.events, None)

        try:
            return verify_log(dsn, progressed, first=first, stream=stream)
        except NoSuchStream:
            raise NotVerified(f"There is no stream {stream}.") from None


def compared_projections(dsn: str) -> "tuple[list[Compared], list[str]]":
    """What was compared, and in words what could not be."""
    from adapters.projector.compare import verify_projections
    from adapters.projector.replay import Done
    from api.systems import FOR_ANALYSTS, FOR_PEOPLE

    with Progress("Replaying the projections", 0, unit="events") as bar:

        def progressed(done: Done) -> None:
            bar.reached(done.position, done.head)

        async def work() -> "tuple[list[Compared], list[str]]":
            compared: list[Compared] = []
            notes: list[str] = []
            for together in (FOR_PEOPLE, FOR_ANALYSTS):  # that one projector writes: the others stand elsewhere while a server runs
                more, said = await verify_projections(dsn, together, progressed)
                compared += more
                notes += said
            return compared, notes

        return asyncio.run(work())


def show_json(report: "Report", took_s: float, compared: "list[Compared]", notes: list[str]) -> None:
    said: dict[str, Any] = {
        "ok": report.is_whole and not any(one.count for one in compared),
        **msgspec.to_builtins(report),
        "took_s": round(took_s, 3),
        "projections": msgspec.to_builtins(compared),
        "notes": notes,
    }
    click.echo(msgspec.json.encode(said))


def show_words(report: "Report", took_s: float, compared: "list[Compared]", notes: list[str]) -> None:
    rate = f" in {took_s:.1f} s, {report.events / took_s:,.0f}/s" if took_s > 1 else ""
    open_ = f" {report.open_answers:,} answers are still open." if report.open_answers else ""
    click.echo(f"{report.events:,} events were read up to position {report.head:,}{rate}.{open_}")
    for finding in report.findings:
        where = f"position {finding.position:,}" if finding.position is not None else "the database"
        stream = f", {finding.stream} version {finding.version}" if finding.stream is not None else ""
        click.secho(f"{finding.check}: {where}{stream}: {safe(finding.text)}", fg="red")
    for check, count in report.counts.items():
        listed = sum(finding.check == check for finding in report.findings)
        if count > listed:
            click.secho(f"{check}: and {count - listed:,} more.", fg="red")
    for one in compared:
        if not one.count:
            click.echo(f"The projection {one.name} is what a replay up to position {one.position:,} makes.")
        for finding in one.findings:
            click.secho(f"{finding.check}: {safe(finding.text)}", fg="red")
        if one.count > len(one.findings):
            click.secho(f"projections: and {one.count - len(one.findings):,} more in {one.name}.", fg="red")
        if one.count:
            click.echo(f"Put it right:  steno projections rebuild {one.name}")
    for note in notes:
        click.secho(note, fg="yellow", err=True)
    if report.is_whole:
        click.secho("The log is whole.", fg="green")
    elif report.first_bad_position is not None:
        click.secho(f"The log is damaged. The first bad position is {report.first_bad_position:,}.", fg="red", bold=True)
    else:
        click.secho("The log is damaged.", fg="red", bold=True)
