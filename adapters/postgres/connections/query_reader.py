"""Queries through a pool of connections: everything that this process asks of Postgres besides appends and notifications."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from adapters.postgres.connections.connection import FAILURES, passes, pool, refuses_data
from domain.errors import BadRequest, LogUnavailable

T = TypeVar("T")
CONNECTIONS_MAX: Final = 8
TIMEOUT_S: Final = 10.0
ATTEMPTS_MAX: Final = 6
RETRY_FIRST_S: Final = 0.05


class QueryReader:
    """A pool that repeats a query whose connection failed, since reading twice is harmless.

    ``connections_max`` bounds the pool; ``statement_cache`` is the number of prepared statements that each connection keeps.
    """

    def __init__(self, dsn: str, *, connections_max: int = CONNECTIONS_MAX, statement_cache: int = 100) -> None:
        self._dsn = dsn
        self._connections_max = connections_max
        self._statement_cache = statement_cache
        self._pool: asyncpg.Pool[Any] | None = None
        self.queries = 0

    async def start(self) -> None:
        self._pool = await pool(self._dsn, connections_max=self._connections_max, statement_cache=self._statement_cache)

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """All rows. Raises ``LogUnavailable`` when Postgres does not answer within the bound."""
        rows: list[Any] = await self._repeat(lambda connection: connection.fetch(query, *arguments))
        return rows

    async def execute(self, query: str, *arguments: Any) -> None:
        """A statement without rows. It may run twice, so it must be safe to repeat. Raises as ``fetch`` does."""
        await self._repeat(lambda connection: connection.execute(query, *arguments))

    async def _repeat(self, ask: Callable[[Any], Any]) -> Any:
        assert self._pool is not None
        pause_s = RETRY_FIRST_S
        for attempt in range(ATTEMPTS_MAX):
            try:
                async with asyncio.timeout(TIMEOUT_S), self._pool.acquire() as connection:
                    self.queries += 1
                    return await ask(connection)
            except FAILURES as error:
                if not passes(error):
                    if isinstance(error, asyncpg.PostgresError) and refuses_data(error):
                        raise BadRequest(f"Postgres refused the request's data: {error.args[0]}") from error
                    raise
                if attempt == ATTEMPTS_MAX - 1:
                    raise LogUnavailable(f"Postgres did not answer: {type(error).__name__}: {error}") from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # spreads retries, guards nothing
            pause_s *= 2
        raise AssertionError("unreachable")

    async def in_transaction_snapshot(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run ``work`` on one connection whose statements all see the same moment. It is repeated as a whole where it fails."""

        async def within(connection: Any) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await work(connection)

        made: T = await self._repeat(within)
        return made
