"""A server that is told to stop ends in good order: answers first, then sockets, then itself."""

import asyncio
import signal

import psycopg
import pytest

from tests.crash.conftest import StartServer, on_one_and_two
from tests.crash.proxy import proxied
from tests.crash.support import Log, Tab, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]

DRAIN_S = 3


def nodes(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM nodes").fetchone()
    assert row is not None
    return int(row[0])


async def test_answers_finish_or_are_interrupted_and_every_socket_is_told_when_to_come_back(
    new_server: StartServer, database: str, workers: int
) -> None:
    server = await new_server(database, drain_s=DRAIN_S).start()
    assert nodes(database) == workers
    async with people(server.url, "ada") as (ada,):
        short, long = await ada.chats(2)
        streams = [f"chat/{short}", f"chat/{long}"]
        followers = [Tab(server.url, ada.token, streams, comes_back=False) for _ in range(10)]
        async with tabs(*followers):
            await ada.ask(short, "demo:60")
            await ada.ask(long, "demo:1000")
            await until(lambda: followers[0].deltas() >= 20)
            server.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            # New work is refused while the old is finished, and what runs is still delivered.
            refused = await ada.try_ask(short, "demo:20", "One more.")
            assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable"), refused.text
            assert int(refused.headers["retry-after"]) >= 1
            assert (await ada.http.get("/ready")).status_code == 503
            assert await server.ended() == 0
            await until(lambda: all(tab.closes for tab in followers))
        log = await Log.read(database)
        ends = {answer.stream: answer.end for answer in log.assert_whole()}
        assert ends == {streams[0]: "message_end", streams[1]: "interrupted"}
        for tab in followers:
            tab.assert_saw(log)
            assert tab.closes == [1012]
            assert len(tab.said("reconnect")) == 1
        delays = [tab.said("reconnect")[0]["after_ms"] for tab in followers]
        assert len(set(delays)) >= 8, f"they would all come back at once: {delays}"
    assert nodes(database) == 0, "its row is left behind, and others would wait for its lease"
    assert len([row for row in log.rows if row.type == "message_added"]) == 2


async def test_clients_find_the_next_server_by_themselves(new_server: StartServer, database: str) -> None:
    """A rolling restart: the second answer is asked of the new process, and nobody misses anything."""
    server = await new_server(database, drain_s=DRAIN_S).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        async with Tab(server.url, ada.token, [f"chat/{chat}"]) as tab:
            await ada.ask(chat, "demo:30")
            server.signal(signal.SIGTERM)
            assert await server.ended() == 0
            await server.start()
            await ada.ask(chat, "demo:30", "And now?")
            await until(lambda: tab.ended(f"chat/{chat}") == ["message_end", "message_end"])
            log = await Log.read(database)
            tab.assert_saw(log)
            assert set(tab.closes) == {1012}
        log.assert_whole()


async def test_an_answer_that_streams_over_http_is_finished_too(new_server: StartServer, database: str) -> None:
    server = await new_server(database, drain_s=5).start()
    async with people(server.url, "ada") as (ada,):
        body = {"model": "demo:60", "messages": [{"role": "user", "content": "Say something."}], "stream": True}
        lines: list[str] = []
        async with ada.http.stream("POST", "/api/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if not lines:
                    server.signal(signal.SIGTERM)
                lines.append(line)
        assert lines[-2:] == ["data: [DONE]", ""]
        assert await server.ended() == 0
        assert [answer.end for answer in (await Log.read(database)).assert_whole()] == ["message_end"]


async def test_asked_twice_it_does_not_wait(new_server: StartServer, database: str) -> None:
    server = await new_server(database, drain_s=3600).start()
    async with people(server.url, "ada") as (ada,):
        await ada.ask(await ada.chat(), "demo:100000")
        server.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_it_ends_while_postgres_is_away(new_server: StartServer, database: str) -> None:
    """Nothing can be written then: the open answer is left to whoever starts next."""
    async with proxied(database) as proxy:
        server = await new_server(proxy.url, drain_s=1, hold_s=3).start()
        async with people(server.url, "ada") as (ada,):
            chat = await ada.chat()
            await ada.ask(chat, "demo:1000")
            async with Tab(server.url, ada.token, [f"chat/{chat}"], comes_back=False) as tab:
                await until(lambda: tab.deltas() >= 10)
                proxy.stall()
                server.signal(signal.SIGTERM)
                await server.ended()
                await until(lambda: tab.closes)
            proxy.cut()
            proxy.flow()
        successor = await new_server(database).start()
        async with Tab(successor.url, ada.token, [f"chat/{chat}"]) as tab:
            await until(lambda: tab.ended(f"chat/{chat}"))
            assert tab.ended(f"chat/{chat}") == ["interrupted"]
