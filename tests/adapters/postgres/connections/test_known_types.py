"""What Postgres's own types are made of is asked once for each process, and the databases' own types on each connection."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from adapters.postgres.connections import known_types
from adapters.postgres.connections.connection import connect

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_types, "_known", {})


async def asked_for(dsn: str, query: str, *given: object) -> tuple[Any, list[str]]:
    """The answer on a new connection, and the statements that it took."""
    sent: list[str] = []
    connection = await connect(dsn, application="test")
    try:
        connection.add_query_logger(lambda record: sent.append(record.query))
        return await connection.fetchval(query, *given), sent
    finally:
        await connection.close()


async def test_an_array_of_postgres_own_type_is_asked_for_once(database: str) -> None:
    given = [uuid4(), uuid4()]
    first, asked = await asked_for(database, "SELECT $1::uuid[]", given)
    second, not_asked = await asked_for(database, "SELECT $1::uuid[]", given)
    assert first == second == given
    assert len(asked) > len(not_asked) == 1


async def test_json_in_an_array_stays_bytes(database: str) -> None:
    for _ in range(2):
        assert (await asked_for(database, "SELECT $1::json[]", [b'{"a": 1}']))[0] == [b'{"a": 1}']


async def test_a_type_of_one_database_is_not_kept_for_another(database: str) -> None:
    owner = await asyncpg.connect(database)
    try:
        await owner.execute("CREATE TYPE public.pair AS (a int, b text)")
        await owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        assert (await asked_for(database, "SELECT ROW(1, 'x')::public.pair"))[0] == (1, "x")
        await owner.execute("DROP TYPE public.pair")
        await owner.execute("CREATE TYPE public.pair AS (a int, b text, c int)")
        assert (await asked_for(database, "SELECT ROW(1, 'x', 2)::public.pair"))[0] == (1, "x", 2)
        assert known_types._known == {}
    finally:
        await owner.close()
