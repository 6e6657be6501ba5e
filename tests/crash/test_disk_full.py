"""Postgres has no room left: whoever waits is told so, nothing ends but what cannot be written, and it all goes on afterwards."""

import asyncio
import contextlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from adapters.embedded.server import EmbeddedPostgres
from tests.crash.conftest import StartServer, copy_folder, stop_postgres
from tests.crash.support import Log, Tab, all_ended, metric, people, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOM_MIB = 128
HOLD_S = 3


class SmallDisk:
    """A data folder on a disk of its own, which can be filled."""

    def __init__(self, mount: Path) -> None:
        self.folder = mount / "data"
        self._balloon = mount / "balloon"

    def fill(self) -> None:
        with self._balloon.open("ab", buffering=0) as balloon, contextlib.suppress(OSError):
            while True:
                balloon.write(bytes(4096))

    def free(self) -> None:
        self._balloon.unlink()


@pytest.fixture
def small_disk(made_folder: Path, open_folder: Path) -> Iterator[SmallDisk]:
    mount = open_folder / f"disk-{uuid4().hex[:8]}"
    mount.mkdir()
    used_mib = sum(file.lstat().st_blocks for file in made_folder.rglob("*")) * 512 // 2**20
    options = f"size={used_mib + ROOM_MIB}m,mode=711"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", mount], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        copy_folder(made_folder, mount / "data")
        yield SmallDisk(mount)
    finally:
        stop_postgres(mount / "data")
        said = (mount / "data" / "postgres.log").read_text(errors="replace").splitlines()
        sys.stdout.write("--- Postgres said last:\n" + "\n".join(said[-100:]) + "\n")  # shown by pytest where the test failed
        subprocess.run(["umount", "--lazy", mount], check=True)
        mount.rmdir()


async def read_log(folder: Path) -> Log:
    with EmbeddedPostgres(folder) as embedded:
        return await Log.read(embedded.dsn)


@asynccontextmanager
async def chatting(new_server: StartServer, disk: SmallDisk, hold_s: float) -> AsyncIterator[tuple]:
    server = await new_server(data=disk.folder, hold_s=hold_s).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(5)
        async with Tab(server.url, ada.token, [f"chat/{chat}" for chat in chats]) as tab:
            for chat in chats:
                await ada.ask(chat, "demo:300")
            await until(lambda: tab.deltas() >= 50)
            yield server, ada, chats, tab


async def refused(url: str) -> None:
    """Appends are failing at this moment."""
    before = await metric(url, "stenograph_append_retries")
    for _ in range(200):
        if await metric(url, "stenograph_append_retries") >= before + 3:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("Postgres has found room all the time")


async def test_what_is_freed_in_time_is_not_noticed(new_server: StartServer, small_disk: SmallDisk) -> None:
    async with chatting(new_server, small_disk, hold_s=40) as (server, ada, chats, tab):
        small_disk.fill()
        await refused(server.url)
        asked = asyncio.create_task(ada.try_ask(chats[0], "demo:20", "Are you there?"))
        await asyncio.sleep(1)
        small_disk.free()
        assert (await asked).status_code == 200
        await all_ended([tab], tab.cursors)
        await all_ended([tab], [f"chat/{chats[0]}"], 2)
        log = await read_log(small_disk.folder)
        tab.assert_saw(log)
        assert [answer.end for answer in log.assert_whole()] == ["message_end"] * 6


async def until_ready(http: httpx.AsyncClient, ready: bool) -> None:
    """The server says whether there is room, some seconds after there is none and soon after there is again."""
    for _ in range(300):
        answer = await http.get("/ready")
        if (answer.status_code, answer.json()["writable"]) == ((200, True) if ready else (503, False)):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the server never says that it is {'' if ready else 'not '}ready: {answer.text}")


def ask_for_more_wal(folder: Path) -> None:
    with (
        EmbeddedPostgres(folder) as embedded,
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(embedded.dsn, autocommit=True) as connection,
    ):
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CREATE TABLE no_room (row text)")


@pytest.mark.parametrize("wal", [False, True], ids=["no room for rows", "no room for the write-ahead log"])
async def test_whoever_waits_too_long_is_told_so_and_nothing_is_lost(new_server: StartServer, small_disk: SmallDisk, wal: bool) -> None:
    async with chatting(new_server, small_disk, HOLD_S) as (server, ada, chats, tab):
        small_disk.fill()
        if wal:  # Postgres takes this for a disaster, ends, and cannot even start
            await asyncio.to_thread(ask_for_more_wal, small_disk.folder)
        await refused(server.url)
        # So long that it fits into no page that is there.
        question = f"Are you there? {secrets.token_hex(10_000)}"
        answers = await asyncio.gather(*(ada.try_ask(chat, "demo:20", question) for chat in chats))
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "log_unavailable")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/health")).status_code == 200
            await until_ready(http, False)
        await asyncio.sleep(2 * HOLD_S)  # by then the runs have given up too
        seen = tab.deltas()
        assert not any(tab.ended(stream) for stream in tab.cursors), "an end was seen that cannot have been written"
        small_disk.free()
        await all_ended([tab], tab.cursors)  # Postgres recovers first
        async with httpx.AsyncClient(base_url=server.url) as http:
            await until_ready(http, True)
        assert tab.deltas() >= seen
        for chat in chats:
            await ada.ask(chat, "demo:20", "And now?")
        await all_ended([tab], tab.cursors, 2)
        log = await read_log(small_disk.folder)
        tab.assert_saw(log)
        log.assert_dense()
        for answer in log.answers():
            assert len(answer.ends) == 1
            assert not answer.late
            if answer.end == "error":
                assert answer.outcome["code"] == "log_unavailable"
                # What the model said last may have found no room as a token, and is kept here.
                assert answer.outcome["content"].startswith(answer.text)
        ends = [answer.end for answer in log.answers()]
        assert len(ends) == 10
        # Of the first five those have failed whose tokens found no room for so long; now and then one fits into a page that is there.
        assert 1 <= ends.count("error") <= 5
        assert set(ends) == {"error", "message_end"}
        # What was refused was not written all the same.
        questions = [row for row in log.rows if row.type == "message_added" and "Are you there?" in row.data]
        assert not questions
