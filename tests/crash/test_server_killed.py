"""``kill -9`` of the server while it answers, and a new start on the same data."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from tests.crash.conftest import StartServer, on_one_and_two
from tests.crash.processes import postmaster
from tests.crash.support import Log, Tab, User, all_ended, closed, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]

CHATS = 20
# Some have ended when it is killed, most have not, and those as fast as it goes are caught in mid-flight.
MODELS = ("demo:300", "demo:300", "demo:20", "demo:fast")


async def ask_all(ada: User, chats: list[str]) -> list[asyncio.Task[object]]:
    return [asyncio.create_task(ada.try_ask(chat, MODELS[at % len(MODELS)])) for at, chat in enumerate(chats)]


async def test_what_was_seen_stays_and_what_was_open_is_interrupted(new_server: StartServer, database: str) -> None:
    chance = random.Random(3)
    server = await new_server(database).start()
    async with people(server.url, "ada") as (ada,):
        chats = await ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        # Five follow four chats each, one follows all: each comes back to places of its own.
        followers = [Tab(server.url, ada.token, streams[at : at + 4]) for at in range(0, CHATS, 4)] + [Tab(server.url, ada.token, streams)]
        async with tabs(*followers):
            for _ in range(3):
                asked = await ask_all(ada, chats)
                await asyncio.sleep(chance.uniform(0.3, 2.5))
                server.kill()
                await asyncio.gather(*asked, return_exceptions=True)  # who was not answered may have been heard or not
                await server.start()
                await closed(database)
            log = await Log.read(database)
            for tab in followers:
                await tab.reached(log)
                tab.assert_saw(log)
                assert tab.connections == 4
        answers = log.assert_whole()
        interrupted = [answer for answer in answers if answer.end == "interrupted"]
        assert len(interrupted) >= CHATS // 2
        assert any(answer.text for answer in interrupted)
        for answer in interrupted:
            assert answer.outcome["node_id"] == json.loads(answer.start.data)["node_id"]


async def test_the_postgres_of_the_data_folder_outlives_the_server_and_is_found_again(new_server: StartServer, data_folder: Path) -> None:
    server = await new_server(data=data_folder).start()
    pid = postmaster(data_folder)
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        async with Tab(server.url, ada.token, [f"chat/{chat}"]) as tab:
            await ada.ask(chat, "demo:300")
            await until(lambda: tab.deltas() >= 20)
            server.kill()
            await server.start()
            assert postmaster(data_folder) == pid
            await all_ended([tab], [f"chat/{chat}"])
            assert tab.ended(f"chat/{chat}") == ["interrupted"]
            await ada.ask(chat, "demo:20", "Go on.")
            await all_ended([tab], [f"chat/{chat}"], 2)
            assert tab.ended(f"chat/{chat}") == ["interrupted", "message_end"]
            assert not tab.faults
        # `Tab` has compared numbers; the texts are compared here, without a database URL at hand.
        page = (await ada.page(f"chat/{chat}", "start")).json()
        assert [(event["version"], event["data"]["data"]) for event in page["events"]] == [
            (event.version, event.data) for event in tab.seen[f"chat/{chat}"]
        ]
