"""The log of a database for a command that writes much, while servers may run on the same database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from adapters.postgres.accounts.user_list import PostgresUserList
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.blobs import PostgresBlobs
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.processes.nodes import PostgresNodes
from commands.transfer.bounds import FULL, SMALL, RequestBounds


class BulkLog(NamedTuple):
    """What an import or a restore reads and writes."""

    log: PostgresLog
    blobs: PostgresBlobs
    nodes: PostgresNodes
    user_list: PostgresUserList

    def bounds(self) -> RequestBounds:
        """How much the next request may hold: little while others write."""
        return SMALL if self.log.appender.is_beside_others else FULL


@asynccontextmanager
async def bulk_log(dsn: str) -> AsyncIterator[BulkLog]:
    """A log whose appender gives way to the servers' appends, and announces its commits so that the servers deliver them at once.

    Everything that was appended is committed when the context ends. Raises ``LogUnavailable``.
    """
    node_id = uuid4()
    reader = QueryReader(dsn)
    log = postgres_log(
        dsn,
        batch_events_max=FULL.events,
        batch_bytes_max=FULL.bytes,
        yields_to_others=True,
        announce_as=lambda: node_id,
        reader=reader,
    )
    try:
        await log.start()
        yield BulkLog(log, PostgresBlobs(reader), PostgresNodes(reader), PostgresUserList(reader))
    finally:
        await log.close()
