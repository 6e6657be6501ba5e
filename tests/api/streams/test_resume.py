"""The thirteen ways in which resuming a stream goes wrong elsewhere, each with its own test here.

Two of them need processes that die, and stand in ``tests/crash``: the death of a producer, and of the server itself.
"""

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from adapters.delivery.hub import SEGMENT_VERSIONS
from api.settings import Settings
from tests.api.conftest import Running, Serving, User, Wire, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def chat_with(server: Running, user: User, messages: int) -> str:
    """A chat of so many messages, at version ``messages + 1``."""
    chat_id = await user.new_chat()
    for number in range(messages):
        await user.add(chat_id, f"message {number}")
    return chat_id


async def caught_up(wire: Wire, stream: str, after: str, **more: object) -> None:
    await wire.say(op="subscribe", id=1, stream=stream, after=after, **more)
    await wire.op("caught_up", stream=stream)


def assert_dense(versions: list[int], first: int, last: int) -> None:
    assert versions == list(range(first, last + 1))


async def test_a_gap_is_filled_without_being_asked_for(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    stream = f"chat/{chat_id}"
    begun = await user.ask(chat_id, "demo:30")
    seen: list[int] = []
    end = None
    for _ in range(4):  # looks in again and again while it streams, and never says what it has missed
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(seen[-1]) if seen else "start")
        while not wire.versions(stream):
            await wire.frame()
        seen += wire.versions(stream)
        end = wire.event_of(stream, "message_end")
        await wire.socket.close()
        if end is not None:  # on a busy machine all of it may pass between two looks, and nothing is left to wait for
            break
    if end is None:
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(seen[-1]))
        end = await wire.event(stream, "message_end")
        seen += wire.versions(stream)
    assert_dense(seen, 1, end["version"])
    assert begun["message_id"] == end["message_id"]


async def test_nothing_comes_twice_when_a_replay_meets_the_live_stream(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    stream = f"chat/{chat_id}"
    await user.ask(chat_id, "demo:60")
    wires = []
    for _ in range(10):  # each joins at another moment of the answer
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=stream, after="start")
        wires.append(wire)
        await asyncio.sleep(0.01)
    for wire in wires:
        end = await wire.event(stream, "message_end")
        assert_dense(wire.versions(stream), 1, end["version"])


async def test_live_events_do_not_overtake_the_replay(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 5)
    stream = f"chat/{chat_id}"
    wire = await server.connect(user)
    writes = [asyncio.create_task(user.add(chat_id, f"live {number}")) for number in range(20)]
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    await asyncio.gather(*writes)
    while len(wire.versions(stream)) < 26:
        await wire.frame()
    assert_dense(wire.versions(stream), 1, 26)


async def test_a_second_drop_loses_no_cursor(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 3)
    stream = f"chat/{chat_id}"
    wire = await server.connect(user)
    await caught_up(wire, stream, "start")
    await wire.socket.close()
    second = await server.connect(user)
    await second.say(op="subscribe", id=1, stream=stream, after=server.cursor(2))
    await second.socket.close()  # dropped again before anything of the replay was read
    await user.add(chat_id, "meanwhile")
    third = await server.connect(user)
    await caught_up(third, stream, server.cursor(2))
    assert_dense(third.versions(stream), 3, 5)


async def test_who_has_seen_nothing_yet_resumes_from_the_start(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:5")
    stream = f"chat/{chat_id}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(begun["version"]))
    subscribed = await wire.op("subscribed", stream=stream)
    assert (subscribed["replay"], subscribed["from"]) == ("suffix", begun["version"] + 1)
    await wire.event(stream, "message_end")
    assert wire.versions(stream)[0] == begun["version"] + 1
    whole = await server.connect(user)
    await whole.say(op="subscribe", id=1, stream=stream, after="start")
    assert (await whole.op("subscribed", stream=stream))["replay"] == "full"


async def test_resuming_after_the_end_says_that_there_is_no_more(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 2)
    stream = f"chat/{chat_id}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(3))
    subscribed = await wire.op("subscribed", stream=stream)
    assert (subscribed["head"], subscribed["from"]) == (3, 4)
    assert (await wire.op("caught_up", stream=stream))["version"] == 3
    assert wire.versions(stream) == []
    await user.add(chat_id, "more")
    await wire.event(stream, "message_added")
    assert wire.versions(stream) == [4]


async def test_a_burst_within_one_instant_has_an_id_for_each_event(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    await user.ask(chat_id, "demo:fast")
    wire = await server.connect(user)
    stream = f"chat/{chat_id}"
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    end = await wire.event(stream, "message_end")
    events = wire.events(stream)
    assert len({(event["stream"], event["version"]) for event in events}) == len(events) == end["version"]
    assert len({event["position"] for event in events}) == len(events)
    assert all(a["at"] <= b["at"] for a, b in pairwise(events))


async def test_a_filter_moves_the_cursor_over_what_it_leaves_out(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:20")
    wire = await server.connect(user)
    stream = f"chat/{chat_id}"
    await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(begun["version"]))
    end = await wire.event(stream, "message_end")
    path, after, seen, pages = f"/api/v1/streams/{stream}/events", "start", list[str](), 0
    while True:
        page = (await user.get(path, after=after, limit=4, types="message_added,message_end")).json()
        if page["next"] == after:
            break
        after, pages = page["next"], pages + 1
        seen += [event["data"]["type"] for event in page["events"]]
    assert seen == ["message_added", "message_end"]
    assert after == server.cursor(end["version"])
    assert pages == -(-end["version"] // 4)


async def test_a_filtered_event_stream_still_moves_its_id(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 3)
    lines = await sse_until(user, f"/api/v1/streams/chat/{chat_id}/events?types=chat_created", "event: caught_up")
    assert [line for line in lines if line.startswith("id: ")][-1] == f"id: {server.cursor(4)}"
    assert sum(line.startswith('data: {"stream"') for line in lines) == 1


async def sse_until(user: User, path: str, last: str, **headers: str) -> list[str]:
    """The lines of an event stream up to the one that starts with ``last``."""
    lines: list[str] = []
    async with asyncio.timeout(60), user.http.stream("GET", path, headers={"accept": "text/event-stream", **headers}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            lines.append(line)
            if line.startswith(last):
                break
    return lines


async def test_an_event_source_comes_back_with_its_own_header(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 4)
    path = f"/api/v1/streams/chat/{chat_id}/events?after=start"
    lines = await sse_until(user, path, "event: caught_up", **{"last-event-id": server.cursor(3)})
    ids = [line for line in lines if line.startswith("id: ")]
    assert ids[:2] == [f"id: {server.cursor(4)}", f"id: {server.cursor(5)}"]


async def test_another_persons_stream_is_not_replayed_by_guessing_its_cursor(server: Running) -> None:
    await server.sign_up("Root")
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await chat_with(server, ada, 2)
    wire = await server.connect(bob)
    for stream in (f"chat/{chat_id}", f"user/{ada.id}"):
        for after in (server.cursor(1), "start", "now"):
            await wire.say(op="subscribe", id=9, stream=stream, after=after)
            refused = await wire.op("error")
            assert (refused["code"], refused["id"]) == ("stream_not_found", 9)
        answer = await bob.get(f"/api/v1/streams/{stream}/events", after=server.cursor(1))
        assert answer.status_code == 404
    assert (await bob.get("/api/v1/log")).status_code == 403
    assert wire.events(f"chat/{chat_id}") == []


async def test_stopping_and_leaving_are_two_things(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    stream = f"chat/{chat_id}"
    begun = await user.ask(chat_id, "demo:40")
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    await wire.event(stream, "message_delta")
    await wire.socket.close()
    again = await server.connect(user)
    await again.say(op="subscribe", id=1, stream=stream, after="start")
    assert (await again.event(stream, "message_end"))["data"]["data"]["deltas"] == 40
    begun = await user.ask(chat_id, "demo:10000")
    await user.post(f"/api/tasks/stop/{begun['task_id']}")
    cancelled = await again.event(stream, "cancelled")
    assert cancelled["data"]["data"]["by"] == user.id


async def test_a_caller_that_hangs_up_on_its_answer_leaves_it_running(server: Running) -> None:
    user = await server.sign_up()
    body = {"model": "demo:30", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with user.http.stream("POST", "/api/chat/completions", json=body) as answer:
        chat_id = answer.headers["x-chat-id"]
        async for line in answer.aiter_lines():
            if '"content":"' in line and '"content":""' not in line:
                break
    wire = await server.connect(user)
    stream = f"chat/{chat_id}"
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    assert (await wire.event(stream, "message_end"))["data"]["data"]["deltas"] == 30


async def test_a_replay_larger_than_memory_comes_in_bounded_frames(tmp_path: Path, serving: Serving) -> None:
    settings = Settings(data=tmp_path, drain_s=0.2, frame_out_bytes=2_000, tail_memory_bytes=50_000)
    async with serving(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        wire = await server.connect(user)
        await user.ask(chat_id, "demo:3000", params={})
        await user.post(f"/api/tasks/chat/{chat_id}/stop")
        for number in range(60):
            await user.add(chat_id, f"{number} " + "x" * 1_000)
        head = (await user.get(f"/api/v1/chats/{chat_id}")).json()["version"]
        await caught_up(wire, stream, "start")
        assert_dense(wire.versions(stream), 1, head)
        assert all(len(json.dumps(frame)) < 4_000 for frame in wire.frames if frame["op"] == "events")


async def test_a_storm_of_subscribers_is_served_by_few_reads(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 40)
    stream = f"chat/{chat_id}"
    for system in server.systems:  # as after a restart: nothing of it is in memory
        system.hub._segments.clear()
        system.hub._bytes = 0
    before = sum(system.hub.reads for system in server.systems)
    wires = await asyncio.gather(*(server.connect(user) for _ in range(30)))
    await asyncio.gather(*(caught_up(wire, stream, server.cursor(1)) for wire in wires))
    for wire in wires:
        assert_dense(wire.versions(stream), 2, 41)
    assert sum(system.hub.reads for system in server.systems) - before == len(server.systems) * -(-41 // SEGMENT_VERSIONS)


async def test_a_storm_that_asks_for_more_than_memory_holds_misses_nothing(tmp_path: Path, serving: Serving) -> None:
    settings = Settings(data=tmp_path, drain_s=0.2, frame_out_bytes=2_000, tail_memory_bytes=20_000)
    async with serving(settings) as server:
        user = await server.sign_up()
        chat_ids = [await user.new_chat() for _ in range(4)]
        for chat_id in chat_ids:
            for number in range(12):
                await user.add(chat_id, f"{number} " + "z" * 1_000)
        wires = await asyncio.gather(*(server.connect(user) for _ in range(8)))
        streams = [f"chat/{chat_id}" for chat_id in chat_ids]
        await asyncio.gather(*(follow_all(wire, streams, server.cursor(1)) for wire in wires))
        for wire in wires:
            for stream in streams:
                assert_dense(wire.versions(stream), 2, 13)


async def follow_all(wire: Wire, streams: list[str], after: str) -> None:
    for stream in streams:
        await wire.say(op="subscribe", id=stream, stream=stream, after=after)
    waiting = set(streams)
    while waiting:
        frame = await wire.frame()
        if frame["op"] == "caught_up":
            waiting.discard(frame["stream"])


async def test_a_slow_reader_is_served_from_the_log_again_and_misses_nothing(tmp_path: Path, serving: Serving) -> None:
    settings = Settings(data=tmp_path, drain_s=0.2, tail_memory_bytes=20_000)
    async with serving(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        wire = await server.connect(user)
        await caught_up(wire, stream, "now")
        wire.socket.transport.pause_reading()  # it answers nothing and reads nothing
        for number in range(100):
            await user.add(chat_id, f"{number} " + "y" * 20_000)
        assert all(system.hub._bytes < 100_000 for system in server.systems)
        wire.socket.transport.resume_reading()
        while not wire.versions(stream) or wire.versions(stream)[-1] < 101:
            await wire.frame()
        assert_dense(wire.versions(stream), 2, 101)


async def test_a_cursor_of_another_history_or_from_the_future_gets_the_state_instead(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await chat_with(server, user, 2)
    stream = f"chat/{chat_id}"
    other = "0190a000-0000-7000-8000-000000000000"
    for after, reason in ((f"{other}:1", "epoch"), (server.cursor(99), "above_head")):
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=stream, after=after)
        subscribed = await wire.op("subscribed", stream=stream)
        assert (subscribed["replay"], subscribed["reason"]) == ("snapshot", reason)
        snapshot = await wire.op("snapshot", stream=stream)
        assert snapshot["version"] == 3
        shown = (await user.get(f"/api/v1/chats/{chat_id}")).json()
        assert snapshot["state"] == shown
        await user.add(chat_id, "after it")
        await wire.event(stream, "message_added")
        assert wire.versions(stream)[0] == 4
        await user.http.delete(f"/api/v1/chats/{chat_id}/messages/{wire.events(stream)[0]['message_id']}")
        gone = await user.get(f"/api/v1/streams/{stream}/events", after=after)
        assert (gone.status_code, gone.json()["code"], gone.json()["epoch"]) == (410, "cursor_gone", server.epoch)
        chat_id = await chat_with(server, user, 2)
        stream = f"chat/{chat_id}"


async def test_a_snapshot_and_its_suffix_are_the_whole_also_in_mid_answer(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    stream = f"chat/{chat_id}"
    begun = await user.ask(chat_id, "demo:40")
    wire = await server.connect(user)
    await asyncio.sleep(0.3)
    await wire.say(op="subscribe", id=1, stream=stream, after="start", snapshot=True)
    snapshot = await wire.op("snapshot", stream=stream)
    end = await wire.event(stream, "message_end")
    assert_dense(wire.versions(stream), snapshot["version"] + 1, end["version"])
    so_far = snapshot["state"]["chat"]["history"]["messages"][begun["message_id"]]["content"]
    rest = "".join(e["data"]["data"]["text"] for e in wire.events(stream) if e["data"]["type"] == "message_delta")
    assert so_far + rest == end["data"]["data"]["content"]


@pytest.mark.parametrize(
    "after", ["", "soon", "1", ":1", "x:1", "0190a000-0000-7000-8000-000000000000:", "0190a000-0000-7000-8000-000000000000:-1"]
)
async def test_a_malformed_cursor_is_refused_and_the_connection_lives(server: Running, after: str) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=5, stream=f"chat/{chat_id}", after=after)
    refused = await wire.op("error")
    assert (refused["code"], refused["id"]) == ("bad_cursor", 5)
    await caught_up(wire, f"chat/{chat_id}", "start")
    answer = await user.get(f"/api/v1/streams/chat/{chat_id}/events", after=after)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_a_long_poll_waits_for_the_next_event(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    path = f"/api/v1/streams/chat/{chat_id}/events"
    waiting = asyncio.create_task(user.get(path, after="now", live="long-poll", timeout_s=9))
    while not any(len(system.live) for system in server.systems):  # noqa: ASYNC110  # nothing there offers an event
        await asyncio.sleep(0.001)
    await user.add(chat_id, "here it is")
    page = (await waiting).json()
    assert [event["version"] for event in page["events"]] == [2]
    assert page["next"] == server.cursor(2)
    idle = (await user.get(path, after=page["next"], live="long-poll", timeout_s=0.05)).json()
    assert (idle["events"], idle["next"]) == ([], page["next"])


async def test_the_whole_log_is_read_in_commit_order_by_those_who_may(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    await user.new_chat()
    after, positions = "start", list[int]()
    while True:
        page = (await admin.get("/api/v1/log", after=after, limit=2)).json()
        if not page["events"]:
            break
        positions += [event["position"] for event in page["events"]]
        after = page["next"]
    assert positions == list(range(1, page["head"] + 1))
    await admin.post(f"/api/v1/users/{user.id}/update", {"role": "auditor"})
    await server.settled()  # the other server knows of the new role, too
    assert (await user.get("/api/v1/log")).status_code == 200


async def test_a_request_that_streams_is_let_go_with_its_caller(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    await sse_until(user, f"/api/v1/streams/chat/{chat_id}/events", "event: caught_up")
    while any(len(system.live) for system in server.systems):  # noqa: ASYNC110  # nothing there offers an event
        await asyncio.sleep(0.001)


async def test_an_event_stream_ends_with_its_callers_access(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await bob.new_chat()
    async with (
        asyncio.timeout(60),
        bob.http.stream("GET", f"/api/v1/streams/chat/{chat_id}/events", headers={"accept": "text/event-stream"}) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if line.startswith("event: caught_up"):
                break
        await admin.http.delete(f"/api/v1/users/{bob.id}")
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(lines)
    assert isinstance(answer, httpx.Response)
