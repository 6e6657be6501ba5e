"""``steno serve`` and what is done to a server's own data."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import rich_click as click

from api.cli.login import Failed
from api.settings import Settings, SettingsError, load


def settings_with(given: Mapping[str, object]) -> Settings:
    """The settings of the environment and the file, and the options above both. Raises ``Failed`` with everything that is wrong."""
    options = {f"STENO_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    try:
        return load({**os.environ, **options})
    except SettingsError as error:
        raise Failed(f"The settings cannot be used:\n{error}\nWhat there is: docs/configuration.md") from None


def require_data(settings: Settings) -> None:
    """For what makes sense only where there is a database already: it never makes one. Raises ``Failed`` that names the folder."""
    from adapters.embedded.server import has_cluster  # only here: most commands touch no database

    if settings.database_url is None and not has_cluster(settings.data):
        raise Failed(
            f"There is no database in {settings.data.absolute()}.\n"
            "Name the data folder of the server:  --data FOLDER  (or STENO_DATA; DATABASE_URL for a Postgres of your own)"
        )


data_option = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="The data folder (STENO_DATA).")


@click.command()
@click.option("--host", help="The address to listen on (STENO_HOST); `0.0.0.0` lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port (STENO_PORT).")
@click.option("--workers", type=click.IntRange(1, 64), help="Server processes on this machine (STENO_WORKERS).")
@data_option
def serve(host: str | None, port: int | None, workers: int | None, data: Path | None) -> None:
    """Run the server: its own Postgres in the data folder, unless DATABASE_URL names another.

    Everything else is set in the environment or in a `stenograph.toml`: docs/configuration.md.
    """
    settings = settings_with({"host": host, "port": port, "workers": workers, "data": data})
    from adapters.embedded.host import EmbeddedPostgresError  # only here: no other command needs a server
    from adapters.postgres.capacity import TooFewConnections
    from adapters.postgres.errors import DatabaseUnreachable
    from adapters.postgres.migrate import MigrationError
    from api.process.serve import run

    try:
        run(settings)
    except (EmbeddedPostgresError, MigrationError, TooFewConnections) as error:
        raise Failed(f"The database cannot be used: {error}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failed(
                f"Port {settings.port} on {settings.host} is taken: is a server running already?\nTake another:  steno serve --port 8081"
            ) from None
        if error.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
            raise Failed(f"Cannot listen on {settings.host}:{settings.port} or use {settings.data}: {error}") from None
        raise
    except DatabaseUnreachable as error:
        if settings.database_url is None:  # not for an operator to put right: the embedded Postgres is our own
            raise
        raise Failed(f"The database of DATABASE_URL cannot be used:\n{error}") from None


@click.group()
def epoch() -> None:
    """The name of this history."""


@epoch.command()
@data_option
def new(data: Path | None) -> None:
    """Begin a new epoch: do this after restoring the database from a backup, before the server starts.

    Cursors from before it are then refused, and clients read a snapshot, instead of missing events in silence.
    """
    settings = settings_with({"data": data})
    require_data(settings)
    from api.process.serve import new_epoch  # only here and above: no other command touches a database

    click.echo(f"The epoch is now {new_epoch(settings)}.")
