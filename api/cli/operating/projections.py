"""``steno projections``: what readers see, and how far it is behind the log."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from adapters.garbage_collection import collect_rarely
from api.cli.login import Failed
from api.cli.operating.server import data_option, settings_with_data, start_failures
from api.cli.progress import Progress


@contextmanager
def database(data: Path | None) -> Iterator[str]:
    """The database of the settings, which a server may be using meanwhile: its owner's URL."""
    from api.process.database import database as database_of  # only here: it brings the drivers with it
    from api.process.logging import configure

    configure("warning", "console")
    settings = settings_with_data(data)
    with start_failures(settings), database_of(settings) as (dsn, _):
        yield dsn


@click.group()
def projections() -> None:
    """Views derived from the log: they can be thrown away and rebuilt at any time."""


@projections.command("list")
@data_option
def list_(data: Path | None) -> None:
    """Show each projection's checkpoint, and what it waits for."""
    from rich.console import Console
    from rich.table import Table

    from adapters.projector.checkpoints import listed

    with database(data) as dsn:
        states, head = listed(dsn)
    table = Table("projection", "position", "behind", "state", title=f"The log's head is {head:,}.", title_justify="left")
    for one in states:
        if one.failed_position is not None:
            state = f"[red]stopped before position {one.failed_position:,}[/]: {one.failure}"
        elif one.paused:
            state = "paused"
        else:
            state = "live" if one.is_owned else "nobody writes it now"
        table.add_row(one.name, f"{one.position:,}", f"{head - one.position:,}", state)
    Console(file=sys.stdout).print(table)


@projections.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@data_option
def rebuild(names: tuple[str, ...], data: Path | None) -> None:
    """Build each NAME anew from the first event on, beside the live one, and put it in its place. Several are built together.

    It can be interrupted, and goes on where it was when it is asked again. Readers notice nothing.
    """
    from adapters.projector.rebuild import RebuildFailed
    from adapters.projector.rebuild import rebuild as build
    from adapters.projector.replay import Done
    from adapters.projector.writer import CheckpointMoved, Poisoned
    from api.systems import PROJECTIONS

    known = {one.name: one for one in PROJECTIONS}
    for name in names:
        if name not in known:
            raise Failed(f"There is no projection {name}. There are: {', '.join(known)}")
    name = ", ".join(dict.fromkeys(names))
    collect_rarely()
    with database(data) as dsn, Progress(f"Rebuilding {name}", 0, unit="events") as bar:

        def progressed(done: Done) -> None:
            bar.reached(done.position, done.head)

        try:
            built = asyncio.run(build(dsn, [known[one] for one in dict.fromkeys(names)], progressed))
        except RebuildFailed as error:
            raise Failed(f"{name} was not rebuilt: {error}") from None
        except Poisoned as error:
            raise Failed(f"{name} was not rebuilt: {error}\nWhat is built so far stays, and the next try goes on from there.") from None
        except CheckpointMoved:
            raise Failed(f"{name} was not rebuilt: another process took over. The live one is as it was.") from None
    click.echo(f"Rebuilt as of position {built.position:,}: {name}.", err=True)
    if not built.compared:
        click.echo("The one before it stood elsewhere in the log, so the two were not compared.", err=True)
    elif not built.differing:
        click.echo("It holds the same rows as the one before it.", err=True)
    for table, (before, after) in built.differing.items():
        click.secho(f"{table} differed: {before:,} rows before, {after:,} now.", fg="yellow", err=True)


@projections.command()
@click.argument("name")
@data_option
def pause(name: str, data: Path | None) -> None:
    """Stop writing NAME. Chats are read exactly all the same; lists and searches stand still."""
    from adapters.projector.checkpoints import pause as pause_it

    _change(name, data, pause_it, "is paused")


@projections.command()
@click.argument("name")
@data_option
def resume(name: str, data: Path | None) -> None:
    """Go on with NAME, after a pause or a failure."""
    from adapters.projector.checkpoints import resume as resume_it

    _change(name, data, resume_it, "goes on")


def _change(name: str, data: Path | None, change: Callable[[str, str], bool], what: str) -> None:
    with database(data) as dsn:
        if not change(dsn, name):
            raise Failed(f"There is no projection {name}. What there is:  steno projections list")
    click.echo(f"{name} {what}.", err=True)
