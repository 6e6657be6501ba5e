"""The socket, against a real server that cuts, closes, refuses and leaves out on request."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stenograph_client import (
    AccessEnded,
    AlreadyFollowed,
    CaughtUp,
    Client,
    ConnectionStopped,
    EpochChanged,
    Event,
    Item,
    NotSignedIn,
    Snapshot,
    State,
    SubscriptionRefused,
)
from tests.client.world import CHAT, EPOCH, OTHER_EPOCH, SECOND, WAIT_S, FakeServer, one, soon

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as running:
        yield running


async def take(client: Client, count: int, stream: str = CHAT, after: str = "start", **options: Any) -> list[Any]:
    found: list[Item] = []
    async with asyncio.timeout(WAIT_S), contextlib.aclosing(client.follow(stream, after, **options)) as items:
        async for item in items:
            found.append(item)
            if len(found) == count:
                break
    return found


def versions(items: list[Any]) -> list[int]:
    return [item.version for item in items if isinstance(item, Event)]


async def test_replay_then_live(server: FakeServer) -> None:
    server.heads[CHAT] = 5
    async with server.client() as client:
        found: list[Item] = []
        async for item in client.follow(CHAT, caught_up=True):
            found.append(item)
            if isinstance(item, CaughtUp) and item.version == 5:
                await server.append(CHAT, 2)
            if item.version == 7:
                break
        assert versions(found) == [1, 2, 3, 4, 5, 6, 7]
        assert [item for item in found if isinstance(item, CaughtUp)] == [CaughtUp(CHAT, EPOCH, 5)]


async def test_an_event_has_the_cursor_to_resume_from(server: FakeServer) -> None:
    server.heads[CHAT] = 4
    async with server.client() as client:
        (first, second) = await take(client, 2)
    async with server.client() as client:
        assert versions(await take(client, 2, after=second.cursor)) == [3, 4]
    assert first.cursor == f"{EPOCH}:1"
    assert first.data == {"index": 0, "text": " 1"}


@pytest.mark.parametrize("cut_after", range(1, 12))
async def test_cut_at_any_frame_each_event_comes_once(server: FakeServer, cut_after: int) -> None:
    server.heads[CHAT], server.per_frame = 8, 1
    server.cut_after = [cut_after]
    async with server.client() as client:
        assert versions(await take(client, 8)) == list(range(1, 9))


async def test_cut_at_every_frame_in_turn(server: FakeServer) -> None:
    """Each connection brings one frame more of its own than is lost: three (welcome, subscribed, one of events)."""
    server.heads[CHAT], server.per_frame = 30, 2
    server.cut_after = [3] * 15
    async with server.client() as client:
        assert versions(await take(client, 30)) == list(range(1, 31))
    assert server.connections >= 15


async def test_a_cut_while_following_from_now_before_any_event(server: FakeServer) -> None:
    server.heads[CHAT] = 5
    async with server.client() as client:
        following = asyncio.ensure_future(take(client, 2, after="now"))
        await server.until(lambda: len(server.subscribes) == 1)
        while client._connection.session.tracks[CHAT].cursor is None:  # noqa: ASYNC110  # its answer yields nothing
            await asyncio.sleep(0)
        await server.cut_all()
        await server.until(lambda: len(server.subscribes) == 2)
        await server.append(CHAT, 2)
        assert versions(await following) == [6, 7]


async def test_repeats_are_dropped_and_gaps_repaired(server: FakeServer) -> None:
    server.heads[CHAT], server.repeat, server.leave_out = 20, True, [2, 9, 20]
    async with server.client() as client:
        assert versions(await take(client, 20)) == list(range(1, 21))
    assert len(server.subscribes) > 1


async def test_several_streams_on_one_socket(server: FakeServer) -> None:
    server.heads.update({CHAT: 9, SECOND: 6})
    async with server.client() as client:
        both = await asyncio.gather(take(client, 9), take(client, 6, SECOND))
    assert [versions(one) for one in both] == [list(range(1, 10)), list(range(1, 7))]
    assert server.connections == 1


async def test_a_stream_is_followed_once_at_a_time(server: FakeServer) -> None:
    server.heads[CHAT] = 2
    async with server.client() as client:
        async with contextlib.aclosing(client.follow(CHAT)) as first:
            await one(first)
            with pytest.raises(AlreadyFollowed):
                await one(client.follow(CHAT))
        assert versions(await take(client, 2)) == [1, 2]  # once it is left it can be followed again


async def test_a_consumer_that_stands_still_holds_up_nobody_for_long(server: FakeServer) -> None:
    server.heads.update({CHAT: 400, SECOND: 50})
    server.per_frame = 10
    async with server.client(buffer_items=20, patience_s=0.01) as client, contextlib.aclosing(client.follow(CHAT)) as slow:
        got = [await one(slow)]
        assert versions(await take(client, 50, SECOND)) == list(range(1, 51))
        assert next(one["stream"] for one in server.received if one["op"] == "unsubscribe") == CHAT
        while len(got) < 400:
            got.append(await one(slow))
        assert versions(got) == list(range(1, 401))


async def test_the_buffer_is_bounded(server: FakeServer) -> None:
    server.heads[CHAT], server.per_frame = 5000, 10
    async with server.client(buffer_items=20, patience_s=60.0) as client, contextlib.aclosing(client.follow(CHAT)) as events:
        await one(events)
        (buffer,) = client._connection._buffers.values()
        await server.until(lambda: server.sent_events > 100)  # the server runs on into the sockets' own buffers
        for _ in range(200):
            assert len(buffer) < 20 + 10
            await one(events)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1006, 4408, 4409, 4429, 1000, 4999])
async def test_codes_that_mean_come_back(server: FakeServer, code: int) -> None:
    server.heads[CHAT] = 2
    server.close_with = [(code, "go away for now")] * 2
    async with server.client() as client:
        assert versions(await take(client, 2)) == [1, 2]
    assert server.connections == 3


@pytest.mark.parametrize("code", [1008, 4403, 1009, 1003])
async def test_codes_that_mean_stop(server: FakeServer, code: int) -> None:
    server.close_with = [(code, "no")]
    async with server.client() as client:
        with pytest.raises(ConnectionStopped, match="no") as stopped:
            await take(client, 1)
        assert stopped.value.code == code
    assert server.connections == 1


async def test_a_refused_token_is_replaced_first(server: FakeServer) -> None:
    server.heads[CHAT] = 1
    tokens = iter(["stale", "good"])

    async def source() -> str:
        return next(tokens)

    async with server.client(token_source=source) as client:
        assert versions(await take(client, 1)) == [1]
    assert server.authorizations == ["Bearer stale", "Bearer good"]


async def test_a_refused_token_without_another_is_said_so(server: FakeServer) -> None:
    async with server.client(token="revoked") as client:
        with pytest.raises(NotSignedIn):
            await take(client, 1)


async def test_a_fresh_token_is_sent_before_the_old_one_ends(server: FakeServer) -> None:
    server.expires_at = time.time() + 0.2
    tokens = iter(["good", "fresh"])

    async def source() -> str:
        return next(tokens)

    async with server.client(token_source=source) as client:
        following = asyncio.ensure_future(take(client, 1))
        await server.until(lambda: {"op": "hello", "token": "fresh"} in server.received)
        await server.append(CHAT)
        assert versions(await following) == [1]
    assert server.connections == 1


async def test_hello_as_the_first_frame(server: FakeServer) -> None:
    server.heads[CHAT] = 1
    async with server.client(handshake="hello") as client:
        assert versions(await take(client, 1)) == [1]
    assert server.authorizations == [None]
    assert server.received[0] == {"op": "hello", "token": "good"}


async def test_the_server_says_when_to_come_back(server: FakeServer) -> None:
    server.heads[CHAT] = 1
    server.say_first, server.cut_after = [{"op": "reconnect", "after_ms": 3}], [2]
    states: list[State] = []
    async with server.client(on_state=states.append) as client:
        assert versions(await take(client, 1)) == [1]
    lost = next(state for state in states if not state.connected)
    assert lost.retry_s is not None
    assert lost.retry_s == pytest.approx(0.003, abs=1e-6) or lost.retry_s < 0.003
    assert [state.connected for state in states][:3] == [True, False, True]


async def test_garbage_from_the_server_is_a_lost_connection(server: FakeServer) -> None:
    server.heads[CHAT] = 1
    server.say_first = [{"op": "events", "stream": 3}]
    async with server.client() as client:
        assert versions(await take(client, 1)) == [1]
    assert server.connections == 2


async def test_another_history_raises(server: FakeServer) -> None:
    server.heads[CHAT] = 9
    async with server.client() as client:
        with pytest.raises(EpochChanged) as changed:
            await take(client, 1, after=f"{OTHER_EPOCH}:3")
    assert (changed.value.epoch, changed.value.head) == (EPOCH, 9)


async def test_a_history_that_changes_while_following(server: FakeServer) -> None:
    server.heads[CHAT] = 3
    async with server.client() as client, contextlib.aclosing(client.follow(CHAT, epoch_change="snapshot")) as items:
        assert [(await one(items)).version for _ in range(3)] == [1, 2, 3]
        server.epoch, server.heads[CHAT], server.snapshot_pages = OTHER_EPOCH, 2, 2
        await server.cut_all()
        assert await one(items) == Snapshot(CHAT, OTHER_EPOCH, 2, {"version": 2}, "epoch")
        await server.append(CHAT)
        item = await one(items)
        assert (item.version, item.epoch) == (3, OTHER_EPOCH)


async def test_a_snapshot_where_it_is_asked_for(server: FakeServer) -> None:
    server.heads[CHAT], server.snapshot_pages = 3, 4
    async with server.client() as client:
        (snapshot, end) = await take(client, 2, snapshot=True, caught_up=True)
    assert snapshot == Snapshot(CHAT, EPOCH, 3, {"version": 3}, "asked")
    assert end == CaughtUp(CHAT, EPOCH, 3)


async def test_a_refusal_ends_one_follow_and_not_the_others(server: FakeServer) -> None:
    server.heads[SECOND] = 1
    server.refuse = [("stream_not_found", "no stream that you may read")]
    async with server.client() as client:
        with pytest.raises(SubscriptionRefused, match="that you may read"):
            await take(client, 1)
        assert versions(await take(client, 1, SECOND)) == [1]
    assert server.connections == 1


async def test_a_log_that_is_away_is_asked_again(server: FakeServer) -> None:
    server.heads[CHAT] = 1
    server.refuse = [("log_unavailable", "Postgres is silent")]
    async with server.client() as client:
        assert versions(await take(client, 1)) == [1]


async def test_an_ended_access_is_raised_after_the_events_before_it(server: FakeServer) -> None:
    server.heads[CHAT] = 2
    async with server.client() as client, contextlib.aclosing(client.follow(CHAT)) as events:
        assert [(await one(events)).version for _ in range(2)] == [1, 2]
        socket = next(iter(server._live))
        await socket.send(json.dumps({"op": "unsubscribed", "stream": CHAT, "code": "access_ended", "reason": "unshared"}))
        with pytest.raises(AccessEnded, match="unshared"):
            await one(events)


async def test_a_server_that_is_not_there_is_waited_for(server: FakeServer) -> None:
    states: list[State] = []
    async with Client("http://127.0.0.1:9", token="good", backoff=soon, on_state=states.append) as client:
        following = asyncio.ensure_future(take(client, 1))
        while len(states) < 3:  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.001)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    assert not any(state.connected for state in states)
