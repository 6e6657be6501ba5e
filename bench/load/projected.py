"""Projections of everything that the log holds, before a server is measured: else it would be writing them meanwhile."""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from adapters.postgres.preparing.migrate import schema_of
from adapters.projector.writer import Writer, connect
from projections.projection import Projection

BATCH_EVENTS: Final = 500
LEASE_S: Final = 300.0


async def project(dsn: str, projections: Sequence[Projection]) -> None:
    """Bring one group of projections up to the log's end, without a server."""
    async with await connect(dsn, [schema_of(one.name) for one in projections]) as connection:
        writer = Writer(connection, projections, uuid4(), LEASE_S)
        if not await writer.acquire():
            raise RuntimeError("another process writes these projections")
        head = await writer.head()
        while writer.position < head:
            await writer.advance(BATCH_EVENTS, head)
        await writer.release()
