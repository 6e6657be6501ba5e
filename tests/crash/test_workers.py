"""``steno serve --workers 2``: what dies is started again and taken over, and what is told to end ends as one."""

import asyncio
import os
import signal
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.crash.conftest import StartServer
from tests.crash.processes import ServerProcess, lives, postgres_gone, postmaster
from tests.crash.support import Log, Tab, all_ended, closed, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CHATS = 6


def checkpoints(dsn: str) -> list[tuple[Any, ...]]:
    """``(name, position, owner)`` of each projection."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT name, position, owner FROM projections ORDER BY name").fetchall()


def chat_list(dsn: str) -> tuple[Any, ...]:
    """Its row: each projection may have another owner."""
    return next(row for row in checkpoints(dsn) if row[0] == "chat_list")


async def figures(server: ServerProcess) -> dict[str, float]:
    """Everything of one scrape, by name and labels."""
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


async def alive(server: ServerProcess, count: int = 2) -> None:
    for _ in range(500):
        try:
            seen = await figures(server)
        except httpx.HTTPError:
            seen = {}
        if sum(name.startswith("stenograph_worker_silent_seconds") for name in seen) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"there are not {count} workers:\n{server.said()}")


async def worker_of(server: ServerProcess, metric: str, **labels: str) -> int:
    """The number of the worker for which this figure is not 0."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    for _ in range(200):
        found = [
            name
            for name, value in (await figures(server)).items()
            if name.startswith(metric + "{") and value and all(one in name for one in wanted)
        ]
        if len(found) == 1:
            return int(found[0].partition('worker="')[2].partition('"')[0])
        await asyncio.sleep(0.05)
    raise AssertionError(f"{metric} is not of one worker")


async def test_a_worker_killed_in_mid_answer_is_taken_over_and_started_again(new_server: StartServer, database: str) -> None:
    server = await new_server(database, workers=2).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        followers = [Tab(server.url, ada.token, streams) for _ in range(4)]
        async with tabs(*followers):
            for chat in chats:  # over one connection: all run in one of the two
                await ada.ask(chat, "demo:1000")
            await until(lambda: all(tab.deltas() >= 60 for tab in followers))
            before = server.workers()
            number = await worker_of(server, "stenograph_runs_open")
            os.kill(before[number - 1], signal.SIGKILL)
            await all_ended(followers, streams)
            await alive(server)
            assert len(set(server.workers()) & set(before)) == 1, "one was started again, the other lives on"
            await ada.ask(chats[0], "demo:20", "Go on.")
            await all_ended(followers, streams[:1], 2)
            log = await closed(database)
            for tab in followers:
                await tab.reached(log)
                tab.assert_saw(log)
        ends = [answer.end for answer in log.assert_whole()]
        assert sorted(ends) == ["interrupted"] * CHATS + ["message_end"]
        assert (await figures(server))[f'stenograph_worker_starts_total{{worker="{number}"}}'] == 2
        assert '"event": "worker_died"' in server.said()


async def test_a_projection_of_a_worker_that_is_killed_goes_on_in_the_other(new_server: StartServer, database: str) -> None:
    server = await new_server(database, workers=2).start()
    async with people(server.url, "ada") as (ada,):
        first = (await ada.post("/api/v1/chats/new", {"chat": {"title": "first"}})).json()
        assert (await ada.http.get("/api/v1/chats/", params={"at_least": first["position"]})).status_code == 200
        owner = chat_list(database)
        number = await worker_of(server, "stenograph_projection_owned", projection="chat_list")
        os.kill(server.workers()[number - 1], signal.SIGKILL)
        while True:
            try:
                second = (await ada.post("/api/v1/chats/new", {"chat": {"title": "second"}})).json()
                break
            except httpx.TransportError:  # the connection was to the one that is gone
                pass
        await until(lambda: chat_list(database)[1] >= second["position"], what="the checkpoint at what was written last")
        assert chat_list(database)[2] != owner[2]
        listed = (await ada.http.get("/api/v1/chats/", params={"at_least": second["position"]})).json()
        assert [chat["title"] for chat in listed] == ["second", "first"]


async def test_only_one_process_moves_a_checkpoint(new_server: StartServer, database: str) -> None:
    """Each move is one row of a table that only this test has: by one owner, and never back."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE moves (number bigint GENERATED ALWAYS AS IDENTITY, name text, before bigint, after bigint, by uuid)"
        )
        connection.execute("GRANT INSERT ON moves TO stenograph_app")
        connection.execute(
            "CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.moves (name, before, after, by)"
            " VALUES (OLD.name, OLD.position, NEW.position, NEW.owner); RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE TRIGGER moved AFTER UPDATE OF position ON projections FOR EACH ROW"
            " WHEN (OLD.position <> NEW.position) EXECUTE FUNCTION note_move()"
        )
    server = await new_server(database, workers=2).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        async with Tab(server.url, ada.token, streams) as tab:
            await asyncio.gather(*(ada.ask(chat, "demo:100") for chat in chats))
            await all_ended([tab], streams)
        log = await Log.read(database)
        await until(lambda: checkpoints(database)[0][1] == len(log.rows), what="the checkpoint at the head")
    with psycopg.connect(database) as connection:
        names = [name for (name,) in connection.execute("SELECT DISTINCT name FROM moves").fetchall()]
        moves_of = {
            name: connection.execute("SELECT before, after, by FROM moves WHERE name = %s ORDER BY number", (name,)).fetchall()
            for name in names
        }
    assert moves_of
    for moves in moves_of.values():
        assert moves[0][0] == 0
        assert all(one[1] == following[0] for one, following in pairwise(moves)), "two have moved it from one place"
        assert all(before < after for before, after, _ in moves)
        assert len({by for _, _, by in moves}) == 1, "no process was away, and yet another one wrote"


async def test_all_end_together_and_a_second_signal_does_not_wait(new_server: StartServer, database: str) -> None:
    server = await new_server(database, workers=2, drain_s=3600).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        followers = [Tab(server.url, ada.token, [f"chat/{chat}"], comes_back=False) for _ in range(8)]
        async with tabs(*followers):
            await ada.ask(chat, "demo:100000")
            await until(lambda: all(tab.deltas() >= 10 for tab in followers))
            workers = server.workers()
            server.signal(signal.SIGINT)
            seen = followers[0].deltas()
            await until(lambda: all(tab.deltas() >= seen + 20 for tab in followers), what="what runs in one is followed through both")
            assert not any(tab.closes for tab in followers)
            server.signal(signal.SIGINT)
            assert await server.ended() == 0
            assert not any(lives(pid) for pid in workers)


async def test_the_death_of_the_parent_leaves_nobody_behind(new_server: StartServer, data_folder: Path) -> None:
    server = await new_server(data=data_folder, workers=2, drain_s=1).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        async with Tab(server.url, ada.token, [f"chat/{chat}"]) as tab:
            await ada.ask(chat, "demo:1000")
            await until(lambda: tab.deltas() >= 20)
            workers = server.workers()
            os.kill(server.pid, signal.SIGKILL)
            await server.ended()
            await until(lambda: is_free(server.port), what="the address, for the next one")
            await until(lambda: not any(lives(pid) for pid in workers), what="the end of the workers")
            await postgres_gone(data_folder)
            await server.start()
            await all_ended([tab], [f"chat/{chat}"])
            assert tab.ended(f"chat/{chat}") == ["interrupted"], "it is written before the last worker ends, seen by who was there or not"
            await ada.ask(chat, "demo:20", "Go on.")
            await all_ended([tab], [f"chat/{chat}"], 2)
            assert not tab.faults
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert postmaster(data_folder) is None


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def test_a_scrape_of_one_shows_all(new_server: StartServer, database: str) -> None:
    server = await new_server(database, workers=2).start()
    seen = await figures(server)
    for name in ("stenograph_log_head", "process_resident_memory_bytes", "stenograph_worker_alive", "stenograph_worker_starts_total"):
        assert {f'{name}{{worker="1"}}', f'{name}{{worker="2"}}'} <= seen.keys(), name
    owned = [value for name, value in seen.items() if name.startswith("stenograph_projection_owned{") and 'projection="chat_list"' in name]
    assert sum(owned) <= 1
    assert len(owned) == 2, "of each worker"


async def test_too_few_connections_are_refused_before_anything_runs(new_server: StartServer, database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 9").format(psycopg.sql.Identifier(str(name))))
    server = new_server(database, workers=2)
    server.spawn()
    assert await server.ended() != 0
    assert "2 server processes hold 10 connections when idle and take up to 26 under load, and the Postgres gives 9" in server.said()
