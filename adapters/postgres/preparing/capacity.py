"""Whether a Postgres has room for the connections of all server processes, asked before they start."""

import psycopg
import structlog
from psycopg.rows import dict_row

from adapters.postgres.connections.errors import database_errors
from adapters.postgres.connections.queries import text

logger = structlog.get_logger("capacity")


class TooFewConnections(RuntimeError):
    """Even idle, so many server processes hold more connections than this Postgres gives to anyone."""

    def __init__(self, workers: int, least: int, most: int, room: int) -> None:
        super().__init__(
            f"{workers} server processes hold {workers * least} connections when idle and take up to {workers * most} under load, "
            f"and the Postgres gives {room} in all (max_connections less what is reserved, or the limit of its user or database): "
            f"take at most {room // most or 1} workers, or raise max_connections to {workers * most + 20} or more"
        )


def require_connections(dsn: str, workers: int, *, least: int, most: int) -> None:
    """``least`` and ``most`` are what one process holds when idle, and under load.

    Raises ``TooFewConnections`` if they exceed the room even when idle, ``DatabaseError``. Logs a warning if they may run short.
    """
    with (
        database_errors(),
        psycopg.connect(dsn, autocommit=True, application_name="stenograph capacity", row_factory=dict_row) as connection,
    ):
        row = connection.execute(text("connection_capacity")).fetchone()
    assert row is not None
    room, taken = row["room"], row["taken"]
    if workers * least > room:
        raise TooFewConnections(workers, least, most, room)
    if workers * most > room - taken:
        logger.warning("few_connections", workers=workers, wanted_under_load=workers * most, given=room, taken_by_others=taken)
