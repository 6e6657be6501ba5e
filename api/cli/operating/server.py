"""``steno serve`` and what is done to a server's own data."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import rich_click as click

from adapters.garbage_collection import collect_rarely
from api.cli.login import Failed
from api.running import server_of_data, server_of_folder
from api.settings import Settings, SettingsError
from api.settings_loading import load

FOR_THE_OPERATOR: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTDIR, errno.EISDIR})


def settings_with(given: Mapping[str, object]) -> Settings:
    """The settings of the environment and the file, and the options above both. Raises ``Failed`` with everything that is wrong."""
    options = {f"STENO_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    try:
        return load({**os.environ, **options})
    except SettingsError as error:
        raise Failed(f"The settings cannot be used:\n{error}\nWhat there is: docs/configuration.md") from None


def settings_with_data(data: Path | None) -> Settings:
    """The settings for what makes sense only where there is a database already: it never makes one.

    Without a data folder of their own, that of the server which was started in this folder. Raises ``Failed`` that names the folder.
    """
    from adapters.embedded.server import has_cluster  # only here: most commands touch no database

    settings = settings_with({"data": data})
    if settings.database_url is not None:
        return settings
    here = server_of_folder() if settings.data == Settings().data else server_of_data(settings.data)
    if here is not None and not here.own_database:
        raise Failed(f"The server at {here.url} has a Postgres of its own: name it, as that server's environment does, in DATABASE_URL.")
    if here is not None:
        settings = msgspec.structs.replace(settings, data=Path(here.data))
    if not has_cluster(settings.data):
        raise Failed(
            f"There is no database in {settings.data.absolute()}.\n"
            "Name the data folder of the server:  --data FOLDER  (or STENO_DATA; DATABASE_URL for a Postgres of your own)"
        )
    return settings


data_option = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="The data folder (STENO_DATA).")


@click.command()
@click.option("--host", help="The address to listen on (STENO_HOST); `0.0.0.0` lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port (STENO_PORT).")
@click.option("--workers", type=click.IntRange(1, 64), help="Server processes on this machine (STENO_WORKERS).")
@data_option
def serve(host: str | None, port: int | None, workers: int | None, data: Path | None) -> None:
    """Run the server: its own Postgres in the data folder, unless DATABASE_URL names another.

    Ctrl-C or SIGTERM stops it: answers that run have `STENO_DRAIN_S` (10 s) to finish, and what is unfinished then is kept and marked as
    interrupted. A second one does not wait. After a crash, the next server marks what was left open. `steno chat` continues such answers.

    Everything else is set in the environment or in a `stenograph.toml`: docs/configuration.md.
    """
    settings = settings_with({"host": host, "port": port, "workers": workers, "data": data})
    collect_rarely()  # loading the server and making its routes leave no garbage, and looking for it was a tenth of the start
    from api.process.front_end_folder import FrontEndMissing
    from api.process.serve import CannotListen, run  # only here: no other command needs a server
    from api.process.telemetry import TelemetryMissing

    try:
        with start_failures(settings):
            run(settings)
    except (CannotListen, FrontEndMissing, TelemetryMissing) as error:
        raise Failed(str(error)) from None


@contextlib.contextmanager
def start_failures(settings: Settings) -> Iterator[None]:
    """What an operator can put right becomes ``Failed``, with what to do. Anything else is a fault of ours, and is raised as it is."""
    from adapters.embedded.host import EmbeddedPostgresError
    from adapters.postgres.connections.errors import DatabaseError
    from adapters.postgres.preparing.capacity import TooFewConnections
    from adapters.postgres.preparing.migrate import MigrationError

    try:
        yield
    except (EmbeddedPostgresError, MigrationError, TooFewConnections) as error:
        raise Failed(f"The database cannot be used: {error}") from None
    except DatabaseError as error:
        if settings.database_url is None:  # not for an operator to put right: the embedded Postgres is our own
            raise
        raise Failed(f"The database of DATABASE_URL cannot be used:\n{error}") from None
    except OSError as error:
        if error.errno not in FOR_THE_OPERATOR:
            raise
        raise Failed(f"{error.filename or settings.data} cannot be used: {error.strerror}") from None


@click.group()
def epoch() -> None:
    """The name of this history."""


@epoch.command()
@data_option
def new(data: Path | None) -> None:
    """Begin a new epoch: do this after restoring the database from a backup, before the server starts.

    Cursors from before it are then refused, and clients read a snapshot, instead of missing events in silence.
    """
    settings = settings_with_data(data)
    from api.process.database import new_epoch

    with start_failures(settings):
        click.echo(f"The epoch is now {new_epoch(settings)}.")
