"""Two servers on one database: what runs on one is followed on the other, whatever becomes of the first."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import httpx
import pytest

from tests.crash.conftest import StartServer
from tests.crash.processes import ServerProcess
from tests.crash.support import Log, Tab, User, all_ended, closed, people, tabs, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CHATS = 6


class Two(NamedTuple):
    a: ServerProcess
    b: ServerProcess
    ada: User  # the admin, at A
    bob: User
    at_b: httpx.AsyncClient  # ada, at B
    dsn: str


Both = Callable[[], AbstractAsyncContextManager[Two]]


@pytest.fixture
def two(new_server: StartServer, database: str) -> Both:
    @asynccontextmanager
    async def both() -> AsyncIterator[Two]:
        a, b = new_server(database), new_server(database)
        await a.start()
        await b.start()
        async with people(a.url, "ada", "bob") as (ada, bob), ada.at(b.url) as at_b:
            yield Two(a, b, ada, bob, at_b, database)

    return both


async def test_what_runs_on_one_is_seen_on_the_other_in_order_each_once(two: Both) -> None:
    async with two() as it:
        chats = await it.ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        followers = [Tab(it.a.url, it.ada.token, streams), Tab(it.b.url, it.ada.token, streams), Tab(it.b.url, it.ada.token, streams[:2])]
        async with tabs(*followers):
            for at, chat in enumerate(chats):
                await it.ada.ask(chat, ("demo:100", "demo:fast")[at % 2])
            # Both write into one chat at once: their versions interleave, and neither loses to the other for ever.
            body = {"model": "demo:100", "chat_id": chats[0], "session_id": "tab", "messages": [{"role": "user", "content": "And you?"}]}
            assert (await it.ada.post("/api/chat/completions", body, http=it.at_b)).status_code == 200
            await all_ended(followers, streams[:1], 2)
            await all_ended(followers, streams)
            log = await Log.read(it.dsn)
            for tab in followers:
                await tab.reached(log)
                tab.assert_saw(log)
        answers = log.assert_whole()
        assert [answer.end for answer in answers] == ["message_end"] * (CHATS + 1)
        assert len({json.loads(answer.start.data)["node_id"] for answer in answers}) == 2


async def test_the_open_answers_of_one_that_is_killed_are_closed_by_the_other(two: Both) -> None:
    async with two() as it:
        chats = await it.ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        async with Tab(it.b.url, it.ada.token, streams) as tab:
            for chat in chats:
                await it.ada.ask(chat, "demo:1000")
            body = {"model": "demo:200", "chat_id": chats[0], "session_id": "tab", "messages": [{"role": "user", "content": "And you?"}]}
            assert (await it.ada.post("/api/chat/completions", body, http=it.at_b)).status_code == 200
            await until(lambda: tab.deltas() >= 200)
            it.a.kill()
            await all_ended([tab], streams)
            await all_ended([tab], streams[:1], 2)  # B's own answer in the same chat goes on beside it
            log = await closed(it.dsn)
            tab.assert_saw(log)
        ends = [answer.end for answer in log.assert_whole()]
        assert sorted(ends) == ["interrupted"] * CHATS + ["message_end"]
        assert all(answer.text for answer in log.answers())


async def test_one_that_was_stopped_for_longer_than_its_lease_gives_up_what_was_closed(two: Both) -> None:
    async with two() as it:
        chats = await it.ada.chats(CHATS)
        streams = [f"chat/{chat}" for chat in chats]
        at_a, at_b = Tab(it.a.url, it.ada.token, streams), Tab(it.b.url, it.ada.token, streams)
        async with tabs(at_a, at_b):
            for chat in chats:
                await it.ada.ask(chat, "demo:1000")
            await until(lambda: at_a.deltas() >= 200)
            it.a.signal(signal.SIGSTOP)
            await all_ended([at_b], streams)
            # Life goes on at B while A stands still.
            for chat in chats:
                body = {"model": "demo:20", "chat_id": chat, "session_id": "tab", "messages": [{"role": "user", "content": "Go on."}]}
                assert (await it.ada.post("/api/chat/completions", body, http=it.at_b)).status_code == 200
            await all_ended([at_b], streams, 2)
            it.a.signal(signal.SIGCONT)
            await all_ended([at_a], streams, 2)
            # Everything A has to say of it, it has said by now: its runs have found the end, and write no more.
            await until_no_runs(it.a)
            await it.ada.ask(chats[0], "demo:20", "And once more, at A.")
            await all_ended([at_a, at_b], streams[:1], 3)
            log = await closed(it.dsn)
            for tab in (at_a, at_b):
                await tab.reached(log)
                tab.assert_saw(log)
                assert tab.connections == 1
        ends = [answer.end for answer in log.assert_whole()]
        assert sorted(ends) == ["interrupted"] * CHATS + ["message_end"] * (CHATS + 1)


async def until_no_runs(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        for _ in range(200):
            lines = (await http.get("/metrics")).text.splitlines()
            if "stenograph_runs_open 0.0" in lines:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("there are still runs")


async def test_a_task_of_one_is_stopped_through_the_other(two: Both) -> None:
    async with two() as it:
        chat = await it.ada.chat()
        stream = f"chat/{chat}"
        at_a, at_b = Tab(it.a.url, it.ada.token, [stream]), Tab(it.b.url, it.ada.token, [stream])
        async with tabs(at_a, at_b):
            task = (await it.ada.ask(chat, "demo:1000"))["task_id"]
            await until(lambda: at_a.deltas() >= 20)
            listed = (await it.at_b.get("/api/tasks/")).json()
            assert listed == {"tasks": [task]}
            answer = await it.at_b.post(f"/api/tasks/stop/{task}")
            assert answer.status_code == 200, answer.text
            await all_ended([at_a, at_b], [stream])
            await until_no_runs(it.a)
            again = await it.at_b.post(f"/api/tasks/stop/{task}")
            assert again.status_code == 404
            log = await Log.read(it.dsn)
            for tab in (at_a, at_b):
                await tab.reached(log)
                tab.assert_saw(log)
        (answer,) = log.assert_whole()
        assert (answer.end, answer.outcome["by"]) == ("cancelled", it.ada.id)


async def test_a_change_of_account_at_one_ends_the_sockets_at_the_other(two: Both) -> None:
    async with two() as it, people(it.a.url, "cyd") as (cyd,):
        demoted, deactivated = it.bob, cyd
        open_tabs: list[Tab] = []
        async with AsyncExitStack() as stack:
            for user in (demoted, deactivated):
                chat = await user.chat()
                open_tabs.append(await stack.enter_async_context(Tab(it.b.url, user.token, [f"chat/{chat}"], comes_back=False)))
                # An answer streams into it all the time, so that something always waits to be sent.
                await user.ask(chat, "demo:1000")
            await until(lambda: all(tab.deltas() >= 20 for tab in open_tabs))
            done = await it.ada.post(f"/api/v1/users/{demoted.id}/update", {"role": "pending"})
            assert done.status_code == 200, done.text
            done = await it.ada.http.delete(f"/api/v1/users/{deactivated.id}")
            assert done.status_code == 200, done.text
            for user, tab in zip((demoted, deactivated), open_tabs, strict=True):
                await until(lambda tab=tab: tab.closes)
                assert tab.closes == [4401]
                async with user.at(it.b.url) as there:
                    assert (await there.get("/api/v1/chats/")).status_code in (401, 403)
        log = await Log.read(it.dsn)
        for user, tab in zip((demoted, deactivated), open_tabs, strict=True):
            changed = next(row for row in log.streams[f"user/{user.id}"] if row.type in ("role_changed", "user_deactivated"))
            beyond = [event.at_s for events in tab.seen.values() for event in events if event.position > changed.position]
            assert not beyond or max(beyond) - min(beyond) <= 0.25, "tokens came for longer than 250 ms after the account's end"
            tab.assert_saw(log, everything=False)


async def test_unsharing_at_one_ends_the_subscription_at_the_other_at_exactly_that_version(two: Both) -> None:
    async with two() as it:
        chat = await it.ada.chat()
        stream = f"chat/{chat}"
        shared = await it.ada.post(f"/api/v1/chats/{chat}/access", {"user_id": it.bob.id, "permission": "read"})
        assert shared.status_code == 200, shared.text
        bobs, adas = Tab(it.b.url, it.bob.token, [stream]), Tab(it.b.url, it.ada.token, [stream])
        async with tabs(bobs, adas):
            await it.ada.ask(chat, "demo:fast")
            await it.ada.ask(chat, "demo:1000")
            await until(lambda: bobs.deltas() >= 200)
            taken = await it.ada.post(f"/api/v1/chats/{chat}/access", {"user_id": it.bob.id, "permission": None})
            assert taken.status_code == 200, taken.text
            await until(lambda: bobs.said("unsubscribed"))
            task = (await it.ada.http.get(f"/api/tasks/chat/{chat}")).json()["task_ids"][0]
            assert (await it.ada.post(f"/api/tasks/stop/{task}")).status_code == 200
            await all_ended([adas], [stream], 2)
            (said,) = bobs.said("unsubscribed")
            assert (said["stream"], said["code"]) == (stream, "access_ended")
            assert bobs.last(stream) == taken.json()["version"]
            assert bobs.seen[stream][-1].type == "chat_unshared"
            assert bobs.connections == 1
            log = await Log.read(it.dsn)
            await adas.reached(log)
            adas.assert_saw(log)
            bobs.assert_saw(log, everything=False)
            await bobs.follow(stream)
            await until(lambda: bobs.said("error"))
            assert bobs.said("error")[0]["code"] == "stream_not_found"
