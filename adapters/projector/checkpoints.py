"""What an operator sees of projections, and does to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import psycopg

from adapters.postgres.connections.queries import text

PROJECTIONS: Final = text("projections")
PAUSE: Final = text("pause_projection")
RESUME: Final = text("resume_projection")
LOG_HEAD: Final = text("log_head")


class ProjectionState(msgspec.Struct, frozen=True):
    name: str
    position: int  # its tables hold everything up to it
    moved_at: datetime | None
    paused: bool
    owner: UUID | None  # the process that writes it
    is_owned: bool | None  # and is not late
    failed_position: int | None  # of the event that could not be projected
    failure: str | None


def listed(dsn: str) -> tuple[Sequence[ProjectionState], int]:
    """All of them, and the head of the log."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(PROJECTIONS).fetchall()
        head = connection.execute(LOG_HEAD).fetchone()
    return [ProjectionState(*row) for row in rows], head[0] if head is not None else 0


def pause(dsn: str, name: str) -> bool:
    """Whether there is one of that name. Whoever writes it stops before its next batch; reads stay exact, lists stand still."""
    return _changed(dsn, PAUSE, name)


def resume(dsn: str, name: str) -> bool:
    """The same. Also after a failure: the event is tried again."""
    return _changed(dsn, RESUME, name)


def _changed(dsn: str, query: str, name: str) -> bool:
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        return connection.execute(query, (name,)).fetchone() is not None
