"""A server and its Postgres both live, and what is between them does not."""

import asyncio
import random

import pytest

from tests.crash.conftest import StartServer, on_one_and_two
from tests.crash.proxy import proxied
from tests.crash.support import Log, Tab, all_ended, metric, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]

CHATS = 10


async def test_all_connections_are_cut_again_and_again(new_server: StartServer, database: str) -> None:
    chance = random.Random(5)
    async with proxied(database) as proxy:
        server = await new_server(proxy.url).start()
        async with people(server.url, "ada") as (ada,):
            chats = await ada.chats(CHATS)
            streams = [f"chat/{chat}" for chat in chats]
            followers = [Tab(server.url, ada.token, streams), Tab(server.url, ada.token, streams[:3])]
            async with tabs(*followers):
                await asyncio.gather(*(ada.ask(chat, "demo:200") for chat in chats))
                for _ in range(10):
                    await asyncio.sleep(chance.uniform(0.1, 0.6))
                    proxy.cut()
                await all_ended(followers, streams)
                log = await Log.read(database)
                for tab in followers:
                    tab.assert_saw(log)
                    assert tab.connections == 1
            assert await metric(server.url, "stenograph_append_retries") > 0
        assert [answer.end for answer in log.assert_whole()] == ["message_end"] * CHATS


async def test_appends_are_committed_and_their_answers_lost(new_server: StartServer, database: str) -> None:
    """The outcome is not known to the server: it asks again, and finds what it wrote."""
    async with proxied(database) as proxy:
        server = await new_server(proxy.url).start()
        async with people(server.url, "ada") as (ada,):
            chats = await ada.chats(CHATS)
            streams = [f"chat/{chat}" for chat in chats]
            async with Tab(server.url, ada.token, streams) as tab:
                before = await metric(server.url, "stenograph_append_retries")
                for lost in range(4):
                    proxy.lose_answers(1 + lost % 2)  # the second time the answer to the question after it is lost too
                    some = chats[lost * 2 : lost * 2 + 4]
                    # The start of an answer is lost as well as its tokens, and its end.
                    await asyncio.gather(*(ada.ask(chat, "demo:40") for chat in some))
                    await until(lambda: not proxy.answers_to_lose)
                    proxy.lose_answers(1)
                    await until(lambda: not proxy.answers_to_lose)
                count = {stream: sum(chat in stream for at in range(4) for chat in chats[at * 2 : at * 2 + 4]) for stream in streams}
                for stream in streams:
                    await until(lambda stream=stream: len(tab.ended(stream)) == count[stream], what=stream)
                log = await Log.read(database)
                tab.assert_saw(log)
            assert await metric(server.url, "stenograph_append_retries") >= before + 8
        answers = log.assert_whole()
        assert [answer.end for answer in answers] == ["message_end"] * sum(count.values())
        users = [row for row in log.rows if row.type == "message_added"]
        assert len(users) == len(answers), "a question was written twice, or not at all"


@pytest.mark.parametrize("stall_s", [1.0, 7.0], ids=["shorter than the lease", "longer than the lease"])
async def test_nothing_passes_for_a_while(new_server: StartServer, database: str, stall_s: float) -> None:
    async with proxied(database) as proxy:
        server = await new_server(proxy.url).start()
        async with people(server.url, "ada") as (ada,):
            chats = await ada.chats(CHATS)
            streams = [f"chat/{chat}" for chat in chats]
            async with Tab(server.url, ada.token, streams) as tab:
                await asyncio.gather(*(ada.ask(chat, "demo:100") for chat in chats))
                await until(lambda: tab.deltas() >= 100)
                proxy.stall()
                await asyncio.sleep(stall_s)
                if stall_s > 5:  # and it is lost in the end: everything that was under way is asked again
                    proxy.cut()
                proxy.flow()
                await all_ended([tab], streams)
                log = await Log.read(database)
                tab.assert_saw(log)
        assert [answer.end for answer in log.assert_whole()] == ["message_end"] * CHATS


async def test_two_servers_are_cut_off_for_longer_than_the_lease_and_neither_declares_the_other_dead(
    new_server: StartServer, database: str
) -> None:
    async with proxied(database) as proxy, proxied(database) as late_proxy:
        one = await new_server(late_proxy.url).start()
        other = await new_server(proxy.url).start()
        async with people(one.url, "ada") as (ada,):
            chats = await ada.chats(4)
            streams = [f"chat/{chat}" for chat in chats]
            followers = [Tab(one.url, ada.token, streams), Tab(other.url, ada.token, streams)]
            async with tabs(*followers), ada.at(other.url) as there:
                for at, chat in enumerate(chats):
                    body = {"model": "demo:150", "chat_id": chat, "session_id": "tab", "messages": [{"role": "user", "content": "Go."}]}
                    assert (await ada.post("/api/chat/completions", body, http=there if at % 2 else None)).status_code == 200
                await until(lambda: min(tab.deltas() for tab in followers) >= 40)
                proxy.stall()
                late_proxy.stall()
                await asyncio.sleep(3)  # the lease is 2 s
                proxy.flow()
                await asyncio.sleep(0.5)  # the other one is back first, and finds an old beat of this one
                late_proxy.flow()
                await all_ended(followers, streams)
                log = await Log.read(database)
                for tab in followers:
                    tab.assert_saw(log)
        assert [answer.end for answer in log.assert_whole()] == ["message_end"] * 4
