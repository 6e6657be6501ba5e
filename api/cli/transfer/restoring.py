"""``steno import`` of JSON Lines: chats back from the JSON Lines of an export, exactly as they were, straight into the database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import rich_click as click

from api.cli.login import Failed
from api.cli.operating.priority import lower_priority
from api.cli.operating.projections import database
from api.cli.progress import Progress
from api.cli.safe_text import safe
from commands.transfer.restore import Restored
from domain.errors import LogUnavailable, UserNotFound


def restore_file(file: IO[bytes], *, email: str | None, data: Path | None, read_bytes: Callable[[], int], size_bytes: int) -> None:
    """Restore every chat of the file and say what came of it. Raises ``Failed`` where something of it was not restored.

    ``size_bytes`` is 0 if unknown, as of a pipe; ``read_bytes`` counts the bytes read so far.
    """
    from adapters.postgres.transfer.restore import restore  # only here: it brings a driver with it

    done = Restored()
    ended = ""
    with database(data) as dsn, Progress("Restoring", 0, unit="lines") as bar:

        def progressed() -> None:
            read = read_bytes()
            bar.reached(done.lines, round(done.lines * size_bytes / read) if read and size_bytes else None)

        lower_priority()
        try:
            asyncio.run(restore(dsn, file, done, email=email, progressed=progressed))
        except UserNotFound:
            raise Failed(f"Nobody here has the address {email}: make the account first, with  steno user add") from None
        except LogUnavailable as error:
            ended = f"It ended at line {done.lines}: {error}"
        except KeyboardInterrupt:
            ended = f"It was interrupted at line {done.lines}."
    for line in format_result(done):
        click.echo(safe(line), err=True)
    if ended:
        done.refuse(f"{ended}\nWhat was restored is kept: import the file again, and it goes on from there.")
    if done.problems:
        raise Failed("\n".join(problems_of(done)))


def format_result(done: Restored) -> Iterator[str]:
    yield f"{done.chats_whole:,} of {done.chats:,} chats are here as the file has them."
    yield f"{done.events_added:,} events added, {done.events_known:,} were here already."
    if done.owners_replaced:
        yield f"{done.owners_replaced:,} chats got another owner: an export of them differs in that one place."


def problems_of(done: Restored) -> Iterator[str]:
    for problem in done.problems:
        yield f"{problem[:1].upper()}{problem[1:]}" + ("" if problem.endswith(".") else ".")
    if done.problems_count > len(done.problems):
        yield f"… and {done.problems_count - len(done.problems):,} more."
