"""The client and the real server, over a line that breaks off: each event once, whatever the transport."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from stenograph_client import ChannelLeft, Client, CursorGone, EpochChanged, Event, NotFound, Snapshot, SubscriptionRefused
from tests.api.conftest import Running, Serving, on_one_and_two, serving
from tests.client.line import bad_line
from tests.client.world import WAIT_S, one, soon

pytestmark = [pytest.mark.anyio, on_one_and_two]
__all__ = ["serving"]  # a fixture
ELSEWHERE = "0190bbbb-0000-7000-8000-000000000002"


@pytest.fixture
async def server(tmp_path: Path, serving: Serving) -> AsyncIterator[Running]:  # that fixture
    async with serving(Settings(data=tmp_path, drain_s=0.2)) as made:
        yield made


def client_at(url: str, token: str | None = None, **options: Any) -> Client:
    return Client(url, token=token, backoff=soon, **options)


async def signed_up(server: Running, **options: Any) -> Client:
    client = client_at(server.url, **options)
    await client.sign_up("Ada", "ada@example.org", "correct horse battery")
    return client


async def test_a_turn_from_the_question_to_its_end(server: Running) -> None:
    async with await signed_up(server) as client:
        chat = await client.new_chat("Greetings")
        begun = await client.complete("demo:20", [{"role": "user", "content": "Hello"}], chat_id=chat["id"])
        seen = [event async for event in client.answer(begun)]
        assert [event.version for event in seen] == list(range(begun.version + 1, begun.version + 1 + len(seen)))
        assert (seen[0].type, seen[-1].type) == ("message_added", "message_end")
        said = "".join(event.data["text"] for event in seen if event.type == "message_delta")
        assert said == seen[-1].data["content"]
        assert (await client.chat(chat["id"]))["version"] == seen[-1].version
        assert [one["title"] for one in await client.chats()] == ["Greetings"]
        assert (await client.me()).role == "admin"
        assert "demo" in [model["id"] for model in await client.models()]


async def test_a_repeated_question_is_one_question(server: Running) -> None:
    async with await signed_up(server) as client:
        chat = await client.new_chat()
        asked: dict[str, Any] = {"chat_id": chat["id"], "session_id": "tab", "idempotency_key": "k"}
        first = await client.complete("demo:5", [{"role": "user", "content": "Hello"}], **asked)
        assert await client.complete("demo:5", [{"role": "user", "content": "Hello"}], **asked) == first


async def test_stopping_is_not_leaving(server: Running) -> None:
    async with await signed_up(server) as client:
        chat = await client.new_chat()
        begun = await client.complete("demo:1000", [{"role": "user", "content": "Hello"}], chat_id=chat["id"])
        async with contextlib.aclosing(client.answer(begun)) as events:
            async for event in events:
                if event.type == "message_delta":
                    break  # leaving
        async with contextlib.aclosing(client.follow(begun.stream, event.cursor)) as events:
            assert (await one(events)).type == "message_delta"  # it goes on
            assert await client.stop(begun.task_id)
            async for event in events:
                if event.type == "cancelled":
                    break
        with pytest.raises(NotFound):
            await client.stop(begun.task_id)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("seed", range(3))
async def test_over_a_line_that_breaks_off_each_event_comes_once(server: Running, transport: Any, seed: int) -> None:
    async with await signed_up(server) as owner:
        chat = await owner.new_chat()
        chance = random.Random(seed)
        async with (
            bad_line(server.url, [chance.randrange(300, 2500) for _ in range(12)]) as line,
            client_at(line.url, owner.credentials.token, transport=transport, retry_s=WAIT_S) as client,
        ):
            following = asyncio.ensure_future(until_the_end(client, f"chat/{chat['id']}"))
            begun = await owner.complete("demo:60", [{"role": "user", "content": "Hello"}], chat_id=chat["id"], params={})
            seen = await following
            assert line.cuts > 0
        everything = [event async for event in owner.events(begun.stream)]
        assert seen == everything


async def until_the_end(client: Client, stream: str) -> list[Event]:
    seen = []
    async with asyncio.timeout(WAIT_S), contextlib.aclosing(client.follow(stream)) as events:
        async for event in events:
            seen.append(event)
            if event.type == "message_end":
                return seen
    raise AssertionError("the follow ended by itself")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_another_history(server: Running, transport: Any) -> None:
    async with await signed_up(server, transport=transport) as client:
        chat = await client.new_chat("Kept")
        stream = f"chat/{chat['id']}"
        with pytest.raises(EpochChanged):
            await one(client.follow(stream, f"{ELSEWHERE}:1"))
        snapshot = await one(client.follow(stream, f"{ELSEWHERE}:1", epoch_change="snapshot"))
        assert isinstance(snapshot, Snapshot)
        assert (snapshot.version, snapshot.state["title"]) == (chat["version"], "Kept")
        with pytest.raises(CursorGone):
            await client.page(stream, f"{ELSEWHERE}:1")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_snapshot_and_what_follows_it(server: Running, transport: Any) -> None:
    async with await signed_up(server, transport=transport) as client:
        chat = await client.new_chat()
        async with contextlib.aclosing(client.follow(f"chat/{chat['id']}", snapshot=True)) as items:
            snapshot = await one(items)
            assert isinstance(snapshot, Snapshot)
            added = await client.add_message(chat["id"], "user", "Hello")
            event = await one(items)
            assert (event.version, added["version"]) == (snapshot.version + 1, snapshot.version + 1)


async def test_a_stream_that_is_not_there(server: Running) -> None:
    async with await signed_up(server) as client:
        with pytest.raises(SubscriptionRefused):
            await one(client.follow(f"chat/{ELSEWHERE}"))
        with pytest.raises(NotFound):
            await one(client.follow(f"chat/{ELSEWHERE}", transport="sse"))


@pytest.mark.parametrize("handshake", ["header", "ticket", "hello"])
async def test_every_way_in(server: Running, handshake: Any) -> None:
    async with await signed_up(server, handshake=handshake) as client:
        chat = await client.new_chat()
        assert (await one(client.follow(f"chat/{chat['id']}"))).type == "chat_created"


async def test_the_own_user_stream_from_its_start(server: Running) -> None:
    async with await signed_up(server) as client:
        me = await client.me()
        chat = await client.new_chat()
        types: list[str] = []
        async for event in client.follow(f"user/{me.id}"):
            types.append(event.type)
            if event.type == "chat_listed":
                assert event.data == {"chat_id": chat["id"]}
                break
        assert types[0] == "user_created"


async def test_a_password_renews_what_was_revoked(server: Running) -> None:
    async with await signed_up(server) as first:
        chat = await first.new_chat()
        token = first.credentials.token
        async with Client(server.url, token=token, email="ada@example.org", password="correct horse battery", backoff=soon) as client:
            async with contextlib.aclosing(client.follow(f"chat/{chat['id']}")) as events:
                assert (await one(events)).version == 1
                await first.http.post("/api/v1/auths/signout")
                await client.add_message(chat["id"], "user", "still here")
                assert (await one(events)).version == 2
            assert client.credentials.token != token


@pytest.mark.parametrize("seed", range(2))
async def test_all_channels_come_over_one_line_that_breaks_off(server: Running, seed: int) -> None:
    chance = random.Random(seed)
    async with await signed_up(server) as ada:
        await ada.add_user("Bob", "bob@example.org", "correct horse battery")
        async with client_at(server.url) as signing_in:
            token = (await signing_in.sign_in("bob@example.org", "correct horse battery")).token
            me = await signing_in.me()
        async with (
            bad_line(server.url, [chance.randrange(1_500, 6_000) for _ in range(8)]) as line,
            client_at(line.url, token, retry_s=WAIT_S) as bob,
        ):
            first, second = [await ada.create_channel(name, user_ids=[me.id]) for name in ("first", "second")]
            following = asyncio.ensure_future(until_all_was_seen(bob, first.stream, second.stream))
            for number in range(30):
                await (first, second)[number % 2].post(f"message {number}")
            third = await ada.create_channel("third", user_ids=[me.id])
            await third.post("welcome")
            await first.remove_members([me.id])
            await second.post("the end")
            seen, third_stream = await following
            assert third_stream == third.stream
            assert line.cuts > 0
        everything = [event async for event in ada.events(second.stream)]
        assert seen[second.stream] == everything
        of_first = [event async for event in ada.events(first.stream)]
        assert seen[first.stream] == of_first[: len(seen[first.stream])]


async def until_all_was_seen(client: Client, first: str, second: str) -> tuple[dict[str, list[Event]], str]:
    """The events of two channels from their start, until the first was left, the second has ended and a third was greeted in."""
    seen: dict[str, list[Event]] = {first: [], second: []}
    ended, third = set[str](), ""
    following = client.follow_channels({first: "start", second: "start"}, snapshot=True)
    async with asyncio.timeout(WAIT_S), contextlib.aclosing(following) as items:
        async for item in items:
            match item:
                case ChannelLeft(stream=stream):
                    ended.add(stream)
                case Snapshot(stream=stream, state=state):
                    third = stream if state["messages"] else third
                case Event(stream=stream, type=kind, data=data):
                    seen.setdefault(stream, []).append(item)
                    ended |= {stream} if kind == "message" and data["content"] == "the end" else set()
                    third = stream if kind == "message" and data["content"] == "welcome" else third
                case _:
                    pass
            if ended == {first, second} and third:
                return seen, third
    raise AssertionError("the follow ended by itself")
