"""The log of a database for a command that writes much beside the servers which may run on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from adapters.postgres.bell import Bell
from adapters.postgres.connection import connect
from adapters.postgres.log import PostgresLog


@asynccontextmanager
async def writing(dsn: str, *, batch_events_max: int, batch_bytes_max: int) -> AsyncIterator[PostgresLog]:
    """With a bell, so that servers see what is written at once; and it gives way to them. Nothing is left waiting at the end."""
    bell = Bell(uuid4(), lambda: connect(dsn, application="bell of a command"), rung=lambda _: None, signalled=lambda _: None)
    log = PostgresLog(
        dsn,
        lambda events: bell.ring(events[-1].position),
        batch_events_max=batch_events_max,
        batch_bytes_max=batch_bytes_max,
        gives_way=True,
    )
    await bell.start()
    try:
        await log.start()
        yield log
    finally:
        await log.close()
        await bell.close()
