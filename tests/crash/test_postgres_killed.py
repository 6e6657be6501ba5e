"""``kill -9`` of Postgres, and its fast restart, while runs go on: nobody is told that anything happened."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded.server import EmbeddedPostgres
from tests.crash.conftest import StartServer, on_one_and_two
from tests.crash.processes import kill_postgres, postgres_gone, postmaster
from tests.crash.support import Log, Tab, all_ended, metric, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]

CHATS = 10


@contextlib.contextmanager
def stopped_group(folder: Path) -> Iterator[None]:
    """The postmaster and all its children stand still: whoever asks gets no answer, and no refusal."""
    pid = postmaster(folder)
    assert pid is not None
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pids = [pid, *map(int, children)]
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


async def read_log(folder: Path) -> Log:
    with EmbeddedPostgres(folder) as embedded:  # joins the one that runs
        return await Log.read(embedded.dsn)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "fast restart"])
async def test_runs_go_on_and_nothing_is_lost_or_doubled(new_server: StartServer, data_folder: Path, number: signal.Signals) -> None:
    server = await new_server(data=data_folder).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        followers = [Tab(server.url, ada.token, streams), Tab(server.url, ada.token, streams[:3])]
        async with tabs(*followers):
            await asyncio.gather(*(ada.ask(chat, "demo:200") for chat in chats))
            for seen in (200, 600):
                await until(lambda seen=seen: followers[0].deltas() >= seen)
                before = postmaster(data_folder)
                kill_postgres(data_folder, number)
                await until(lambda before=before: postmaster(data_folder) not in (None, before), what="another Postgres")
            await all_ended(followers, streams)
            log = await read_log(data_folder)
            for tab in followers:
                tab.assert_saw(log)
                assert tab.connections == 1, "a socket need not be closed for it"
        answers = log.assert_whole()
        assert [answer.end for answer in answers] == ["message_end"] * CHATS
        assert await metric(server.url, "stenograph_append_retries") > 0


async def test_it_may_be_away_for_longer_than_the_lease(new_server: StartServer, data_folder: Path) -> None:
    """Stopped for thrice the lease: everything stands still, nobody is declared dead, and then everything goes on."""
    server = await new_server(data=data_folder).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        stream = f"chat/{chat}"
        async with Tab(server.url, ada.token, [stream]) as tab:
            await ada.ask(chat, "demo:200")
            await until(lambda: tab.deltas() >= 20)
            with stopped_group(data_folder):
                await asyncio.sleep(6)
            await all_ended([tab], [stream])
            log = await read_log(data_folder)
            tab.assert_saw(log)
        assert [answer.end for answer in log.assert_whole()] == ["message_end"]


async def test_what_is_asked_while_it_is_away_is_answered_when_it_is_back(new_server: StartServer, data_folder: Path) -> None:
    server = await new_server(data=data_folder).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(5)
        streams = [f"chat/{chat}" for chat in chats]
        async with Tab(server.url, ada.token, streams) as tab:
            kill_postgres(data_folder)
            await postgres_gone(data_folder)
            asked = await asyncio.gather(*(ada.try_ask(chat, "demo:20", **{"idempotency-key": chat}) for chat in chats))
            # Whoever is refused is told to come again, and may do so with the same key.
            for chat, answer in zip(chats, asked, strict=True):
                while answer.status_code == 503:
                    assert answer.json()["code"] in ("log_unavailable", "unavailable")
                    answer = await ada.try_ask(chat, "demo:20", **{"idempotency-key": chat})
                assert answer.status_code == 200, answer.text
            await all_ended([tab], streams)
            log = await read_log(data_folder)
            tab.assert_saw(log)
        assert [answer.end for answer in log.assert_whole()] == ["message_end"] * len(chats)
