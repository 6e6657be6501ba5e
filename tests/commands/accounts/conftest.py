"""Server processes that share a log, in memory and in Postgres."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.memory.accounts.credentials import MemoryCredentials
from adapters.memory.accounts.tickets import MemoryTickets
from adapters.memory.log import MemoryLog
from adapters.postgres.accounts.credentials import PostgresCredentials
from adapters.postgres.accounts.tickets import PostgresTickets
from adapters.postgres.log.log import PostgresLog, postgres_log
from tests.commands.accounts.processes import Process, Start


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
async def start(dsn: str | None) -> AsyncIterator[Start]:
    """Starts one more process on the same history."""
    shared = MemoryLog(), MemoryCredentials(), MemoryTickets()
    logs: list[PostgresLog] = []

    async def started(**options: Any) -> Process:
        if dsn is None:
            return Process(*shared, **options)
        log = postgres_log(dsn, lambda _: None)
        await log.start()
        logs.append(log)
        return Process(log, PostgresCredentials(log.reader), PostgresTickets(log.reader), **options)

    yield started
    for log in logs:
        await log.close()


@pytest.fixture
async def one(start: Start) -> Process:
    return await start()


@pytest.fixture
async def two(start: Start) -> Process:
    return await start()
