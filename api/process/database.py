"""The database that the settings name, as it is before a server or a command uses it.

A module of its own: most commands of an operator need the database alone, and loading a server takes half a second.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from uuid import UUID

from adapters.embedded.server import CONNECTIONS_MAX as EMBEDDED_CONNECTIONS
from adapters.embedded.server import EmbeddedPostgres, make_data_folder
from adapters.postgres.appending.appender import SENDERS
from adapters.postgres.connections.query_reader import CONNECTIONS_MAX
from adapters.postgres.log.epoch import current_epoch
from adapters.postgres.preparing.migrate import migrate
from adapters.postgres.preparing.requirements import require_database
from api.settings import Settings

# Connections of one process to Postgres: the pool of readers, the appender's, the bell's, and the two projectors'.
CONNECTIONS_LEAST = 1 + 1 + 1 + 2
CONNECTIONS_MOST = CONNECTIONS_MAX + SENDERS + 1 + 2
CONNECTIONS_OF_OTHERS = 20  # an operator's, a rebuild's, a backup's


@contextlib.contextmanager
def database(settings: Settings, *, as_it_is: bool = False) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """The database of the settings, migrated: its owner's URL, and the embedded server if it runs in one.

    With ``as_it_is`` the database is only read and not migrated.
    """
    if settings.database_url is not None:
        make_data_folder(settings.data)
        require_database(settings.database_url)
        if not as_it_is:
            migrate(settings.database_url)
        yield settings.database_url, None
        return
    # It creates the data folder itself: started by root, the folder must be open to the system user that Postgres runs as.
    with embedded_of(settings) as embedded:
        if not as_it_is:
            migrate(embedded.dsn)
        yield embedded.dsn, embedded


def embedded_of(settings: Settings) -> EmbeddedPostgres:
    """The Postgres of the data folder, with room for all server processes."""
    return EmbeddedPostgres(
        settings.data, connections_max=max(EMBEDDED_CONNECTIONS, settings.workers * CONNECTIONS_MOST + CONNECTIONS_OF_OTHERS)
    )


def new_epoch(settings: Settings) -> UUID:
    """Begin a new epoch, for a restore that the server cannot notice by itself. A running server must be restarted."""
    with database(settings) as (dsn, _):
        return asyncio.run(current_epoch(dsn, force_new=True)).epoch
