"""One log of each kind, for the suites that run against both."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import postgres_log
from domain.log.event import StoredEvent
from tests.adapters.postgres.log.contract import Log


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
def committed() -> list[StoredEvent]:
    """What the log said it committed, as it said it."""
    return []


@pytest.fixture
async def log(dsn: str | None, committed: list[StoredEvent]) -> AsyncIterator[Log]:
    made: Log = MemoryLog(committed.extend) if dsn is None else postgres_log(dsn, committed.extend)
    await made.start()
    yield made
    await made.close()
