"""``/ready`` tells a balancer and an operator whether this server can write, and by itself when it can again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.settings import Settings
from tests.api.conftest import WAIT_S, Running, User, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path, database: str) -> AsyncIterator[Running]:
    async with running(Settings(data=tmp_path, drain_s=0.2, lease_s=1.5), database) as made:
        yield made


async def run(dsn: str, statement: str) -> None:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await connection.execute(statement)  # type: ignore[arg-type]  # a constant of the test
    await connection.close()


async def becomes(user: User, status: int) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while (answer := await user.get("/ready")).status_code != status:  # noqa: ASYNC110  # a server somewhere else has no event
            await asyncio.sleep(0.05)
    state: dict[str, Any] = answer.json()
    return state


async def test_a_log_that_takes_no_events_makes_it_false_and_it_recovers_without_a_request(server: Running, database: str) -> None:
    user = await server.sign_up()
    assert (await becomes(user, 200))["writable"] is True
    await run(database, "REVOKE INSERT ON events FROM stenograph_app")
    refused = await user.post("/api/v1/chats/new", {"chat": {"title": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable")
    state = await becomes(user, 503)
    assert (state["database"], state["writable"], state["draining"]) == (True, False, False)
    assert any(warning.startswith("nothing can be written to the database") for warning in state["warnings"])
    assert "permission denied" not in str(state["warnings"]), "what Postgres says is for the log: anyone may ask /ready"
    await run(database, "GRANT INSERT ON events TO stenograph_app")
    assert (await becomes(user, 200))["writable"] is True
    await user.new_chat()


async def test_a_heartbeat_that_cannot_be_written_makes_it_false(server: Running, database: str) -> None:
    user = await server.sign_up()
    await run(database, "REVOKE ALL ON nodes FROM stenograph_app")
    assert (await becomes(user, 503))["writable"] is False
    await run(database, "GRANT SELECT, INSERT, UPDATE, DELETE ON nodes TO stenograph_app")
    await becomes(user, 200)


async def test_the_probe_leaves_nothing_in_the_log(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SELECT probe_append('\"x\"')")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)


async def test_a_request_that_postgres_refuses_for_its_data_does_not_make_it_false(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    refused = await user.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "a\x00b"})
    assert refused.status_code in (200, 400)
    assert server.system.log.write_failure is None
    await becomes(user, 200)


async def test_a_projection_that_stands_is_named(server: Running) -> None:
    user = await server.sign_up()
    projector = server.system.projectors[0]
    projector.standings["chat_list"].failure = "the event at position 7 can't be projected: no such column"
    state = server.system.readiness()
    assert state["ready"] is True, "lists are old, and everything else works"
    assert any(warning.startswith("projection chat_list: ") for warning in state["warnings"])
    assert user.token not in str(state)
