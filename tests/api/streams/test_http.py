"""Streams over plain HTTP: what a page, an event stream and a long-poll promise, and who is served by them."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
import pytest

from api.settings import Settings
from commands.chats.chats import Chats
from domain.chat.commands import ShareChat
from domain.log.stream import chat_stream
from tests.api.conftest import WAIT_S, Running, User, running

pytestmark = pytest.mark.anyio


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110  # what happens on the server tells nobody here
            await asyncio.sleep(0.001)


def followers(server: Running) -> int:
    return len(server.system.live)


class EventStream:
    """One open event stream, line by line."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.lines: list[str] = []
        self._iterator = answer.aiter_lines()

    async def until(self, start: str) -> str:
        """Reads on to the line that starts so. Raises ``StopAsyncIteration`` where the stream ends before."""
        async with asyncio.timeout(WAIT_S):
            while True:
                line = await anext(self._iterator)
                self.lines.append(line)
                if line.startswith(start):
                    return line

    async def rest(self) -> list[str]:
        async with asyncio.timeout(WAIT_S):
            self.lines += [line async for line in self._iterator]
        return self.lines

    @property
    def versions(self) -> list[int]:
        return [json.loads(line[6:])["version"] for line in self.lines if line.startswith('data: {"stream"')]


def streaming(user: User, path: str, **headers: str):  # type: ignore[no-untyped-def]  # a context manager of httpx
    return user.http.stream("GET", path, headers={"accept": "text/event-stream", **headers})


async def share(owner: User, chat_id: str, user: User, permission: str | None) -> int:
    answer = await owner.post(f"/api/v1/chats/{chat_id}/access", {"user_id": user.id, "permission": permission})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


async def test_an_event_stream_replays_says_so_and_goes_on_live(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    async with streaming(user, f"/api/v1/streams/chat/{chat_id}/events?after=start") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = EventStream(answer)
        await events.until("event: caught_up")
        assert await events.until("data: ") == 'data: {"version":1}'
        await user.add(chat_id, "live")
        await events.until(f"id: {server.cursor(2)}")
        await events.until("data: ")
        assert events.versions == [1, 2]
        assert not any(line.startswith("event: error") for line in events.lines)


async def test_an_idle_event_stream_shows_that_it_lives(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.sse.PING_S", 0.01)
    user = await server.sign_up()
    chat_id = await user.new_chat()
    async with streaming(user, f"/api/v1/streams/chat/{chat_id}/events?after=now") as answer:
        events = EventStream(answer)
        assert await events.until("event: ") == "event: caught_up"
        for _ in range(3):
            await events.until(": ")
        assert events.versions == []


async def test_an_event_stream_ends_at_the_version_that_ended_access(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    await share(ada, chat_id, bob, "read")
    async with streaming(bob, f"/api/v1/streams/chat/{chat_id}/events?after=start") as answer:
        events = EventStream(answer)
        await events.until("event: caught_up")
        ended_at = await share(ada, chat_id, bob, None)
        for number in range(5):
            await ada.add(chat_id, f"secret {number}")
        await events.rest()
    assert events.versions == list(range(1, ended_at + 1))
    assert (await bob.get(f"/api/v1/streams/chat/{chat_id}/events", after=server.cursor(ended_at))).status_code == 404


async def test_a_kept_state_from_before_access_ended_lets_nobody_in(server: Running) -> None:
    """Another process took the access away. What this one keeps of the chat is older than the stream's head, so it is read again."""
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    await share(ada, chat_id, bob, "read")
    live, log = server.system.live, server.system.log
    principal = await server.system.authentication.authenticate(bob.token)
    stream = chat_stream(UUID(chat_id))
    assert (await live.access(principal, stream))[0]
    elsewhere = Chats(log)
    await elsewhere.handle(ShareChat(chat_id=stream.id, by=UUID(ada.id), user_id=UUID(bob.id), permission=None))
    assert not (await live.access(principal, stream, at_least=await log.version(stream)))[0]
    assert (await bob.get(f"/api/v1/streams/{stream}/events", after="start")).status_code == 404
    wire = await server.connect(bob)
    await wire.say(op="subscribe", id=1, stream=str(stream), after="start")
    assert (await wire.op("error"))["code"] == "stream_not_found"


async def test_a_deleted_chat_ends_its_event_streams(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    async with streaming(user, f"/api/v1/streams/chat/{chat_id}/events?after=start") as answer:
        events = EventStream(answer)
        await events.until("event: caught_up")
        await user.http.delete(f"/api/v1/chats/{chat_id}")
        await events.rest()
    assert events.versions == [1, 2]


async def test_an_event_stream_is_told_when_to_come_back_as_the_server_goes_away(settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        async with streaming(user, f"/api/v1/streams/chat/{chat_id}/events?after=now") as answer:
            events = EventStream(answer)
            await events.until("event: caught_up")
            await server.system.drain()
            await events.rest()
        (retry,) = [line for line in events.lines if line.startswith("retry: ")]
        assert 200 <= int(retry[7:]) <= 5_000


@pytest.mark.parametrize("query", ["", "&types=nothing"])
async def test_who_hangs_up_is_let_go(server: Running, query: str) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    path = f"/api/v1/streams/chat/{chat_id}/events?after=now{query}"
    async with streaming(user, path) as answer:
        await EventStream(answer).until("event: caught_up")
        assert followers(server) == 1
    await until(lambda: followers(server) == 0)
    polling = asyncio.create_task(user.http.get(f"{path}&live=long-poll&timeout_s=100"))
    await until(lambda: followers(server) == 1)
    polling.cancel()
    await until(lambda: followers(server) == 0)


async def test_who_hangs_up_without_reading_is_let_go_too(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    address = urlsplit(server.url)
    _reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"GET /api/v1/streams/chat/{chat_id}/events?after=start HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {user.token}\r\n\r\n".encode()
    )
    await until(lambda: followers(server) == 1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a transport that reads
    for number in range(60):  # more than the buffers of both sides
        await user.add(chat_id, f"{number} " + "x" * 200_000)
    assert server.system.hub._bytes < 50_000_000
    writer.transport.abort()
    await until(lambda: followers(server) == 0)


async def test_an_account_has_a_bounded_number_of_live_requests(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, connections_per_user_max=1)) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        path = f"/api/v1/streams/chat/{chat_id}/events"
        async with streaming(user, f"{path}?after=now") as answer:
            await EventStream(answer).until("event: caught_up")
            refused = await user.get(path, after="now", live="long-poll")
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_reached")
            assert (await user.get(path, after="start")).status_code == 200


async def test_a_filtered_long_poll_waits_for_what_is_wanted(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    path = f"/api/v1/streams/chat/{chat_id}/events"
    waiting = asyncio.create_task(user.get(path, after="start", types="chat_renamed", live="long-poll", timeout_s=9))
    await until(lambda: followers(server) == 1)
    await user.add(chat_id, "not this one")
    await user.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "this one"}})
    page = (await waiting).json()
    assert [event["data"]["type"] for event in page["events"]] == ["chat_renamed"]
    assert page["next"] == server.cursor(3)
    passed = (await user.get(path, after="start", types="nothing", live="long-poll", timeout_s=0.05)).json()
    assert (passed["events"], passed["next"]) == ([], server.cursor(3))


async def test_a_waiting_long_poll_ends_with_its_callers_access(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    version = await share(ada, chat_id, bob, "read")
    path = f"/api/v1/streams/chat/{chat_id}/events"
    waiting = asyncio.create_task(bob.get(path, after=server.cursor(version), types="nothing", live="long-poll", timeout_s=9))
    await until(lambda: followers(server) == 1)
    await share(ada, chat_id, bob, None)
    assert (await waiting).status_code == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "timeout_s=0&live=long-poll", "timeout_s=1000&live=long-poll", "live=never"]
)
async def test_a_request_that_does_not_fit_is_refused(server: Running, query: str) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    answer = await user.http.get(f"/api/v1/streams/chat/{chat_id}/events?{query}")
    assert answer.status_code == 400


@pytest.mark.parametrize("stream", ["chat/x", "toast/0190a000-0000-7000-8000-000000000000"])
async def test_a_stream_that_cannot_be_is_refused(server: Running, stream: str) -> None:
    user = await server.sign_up()
    answer = await user.get(f"/api/v1/streams/{stream}/events")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_stream_name")


async def test_a_page_of_large_events_is_cut_and_its_next_goes_on(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.event_pages.PAGE_BYTES_MAX", 5_000)
    user = await server.sign_up()
    chat_id = await user.new_chat()
    for number in range(6):
        await user.add(chat_id, f"{number}" + "x" * 2_000)
    after, versions, pages = "start", list[int](), 0
    while len(versions) < 7:
        page = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", after=after)).json()
        assert page["head"] == 7
        versions += [event["version"] for event in page["events"]]
        after, pages = page["next"], pages + 1
    assert versions == list(range(1, 8))
    assert pages > 2


async def test_content_by_reference_is_for_the_streams_readers(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    content = b"<script>large</script>"
    sha256 = await server.system.stores.blobs.put(chat_stream(UUID(chat_id)), content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    path = f"/api/v1/streams/chat/{chat_id}/blobs/"
    answer = await ada.get(path + sha256)
    assert (answer.content, answer.headers["content-type"]) == (content, "application/octet-stream")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await bob.get(path + sha256)).status_code == 404
    assert (await ada.get(path + "0" * 64)).status_code == 404
    assert (await ada.get(path + "XYZ")).status_code == 400


async def test_a_token_that_ends_takes_its_event_stream_along(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.sse.PING_S", 0.05)
    async with running(msgspec.structs.replace(settings)) as server:
        server.system.sessions._token_lifetime_s = 1
        user = await server.sign_up()
        chat_id = await user.new_chat()
        async with streaming(user, f"/api/v1/streams/chat/{chat_id}/events?after=start") as answer:
            await EventStream(answer).rest()
