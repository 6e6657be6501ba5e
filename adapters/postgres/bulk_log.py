"""The log of a database for a command that writes much, while servers may run on the same database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from adapters.postgres.bell import Bell
from adapters.postgres.blobs import PostgresBlobs
from adapters.postgres.connection import connect
from adapters.postgres.log import PostgresLog, postgres_log
from adapters.postgres.nodes import PostgresNodes
from adapters.postgres.query_reader import QueryReader
from adapters.postgres.user_list import PostgresUserList


class BulkLog(NamedTuple):
    """What an import or a restore reads and writes."""

    log: PostgresLog
    blobs: PostgresBlobs
    nodes: PostgresNodes
    user_list: PostgresUserList


@asynccontextmanager
async def bulk_log(dsn: str, *, batch_events_max: int, batch_bytes_max: int) -> AsyncIterator[BulkLog]:
    """A log whose appender gives way to the servers' appends, with a bell so that the servers deliver its events at once.

    Everything that was appended is committed when the context ends. Raises ``LogUnavailable``.
    """
    bell = Bell(uuid4(), lambda: connect(dsn, application="bell of a command"), rung=lambda _: None, signalled=lambda _: None)
    reader = QueryReader(dsn)
    log = postgres_log(
        dsn,
        lambda events: bell.ring(events[-1].position),
        batch_events_max=batch_events_max,
        batch_bytes_max=batch_bytes_max,
        yields_to_others=True,
        reader=reader,
    )
    await bell.start()
    try:
        await log.start()
        yield BulkLog(log, PostgresBlobs(reader), PostgresNodes(reader), PostgresUserList(reader))
    finally:
        await log.close()
        await bell.close()
