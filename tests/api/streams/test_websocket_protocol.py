"""The short way out of the server: frames made once, slow readers kept, dead ones let go. And the long way, for other servers."""

import asyncio
import json
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import msgspec
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

import tests.api.conftest
from api.process.serve import config
from api.settings import Settings
from api.streams.snapshots import State
from api.streams.socket import Socket
from api.streams.socket_subscription import SocketSubscription
from api.streams.websocket_protocol import AsgiWire, payload_of, text_frame
from domain.log.stream import parse_stream
from tests.api.conftest import WAIT_S, Running, User, Wire, running

anyio = pytest.mark.anyio
TRANSPORT_BYTES = 64 * 1024


@pytest.fixture(params=["framed", "asgi"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test that asks for it runs on both ways."""
    with monkeypatch.context() as patch:
        if request.param == "asgi":
            patch.setattr(tests.api.conftest, "config", plain)
        yield request.param


def plain(*given: Any) -> uvicorn.Config:
    made = config(*given)
    made.ws = "websockets-sansio"
    return made


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110  # what happens on the server tells nobody here
            await asyncio.sleep(0.001)


def sockets(server: Running) -> list[Socket]:
    return [reader for reader in server.system.live.all() if isinstance(reader, Socket)]


async def subscribed(server: Running, user: User, stream: str, after: str = "now") -> Wire:
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after=after)
    await wire.op("caught_up", stream=stream)
    return wire


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_the_standard_says(length: int) -> None:
    payload = b"x" * length
    frame = text_frame(payload)
    assert frame[0] == 0x81
    assert frame[1] == (length if length < 126 else 126 if length < 65_536 else 127)
    assert int.from_bytes(frame[2 : len(frame) - length] or bytes([length])) == length
    assert payload_of(frame) == payload


@given(st.binary(max_size=300))
def test_a_payload_comes_out_as_it_went_in(payload: bytes) -> None:
    assert payload_of(text_frame(payload)) == payload


@anyio
async def test_replay_and_live_come_whole_and_in_order(either: str, settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        first = await subscribed(server, user, stream)
        begun = await user.ask(chat_id, "demo:200")
        late = await server.connect(user)
        await late.say(op="subscribe", id=1, stream=stream, after="start")
        end = await first.event(stream, "message_end")
        await late.event(stream, "message_end")
        assert begun["message_id"] == end["message_id"]
        assert first.versions(stream) == list(range(2, end["version"] + 1))
        assert late.versions(stream) == list(range(1, end["version"] + 1))


@anyio
async def test_large_frames_and_small_ones_arrive_alike(either: str, settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        wire = await subscribed(server, user, stream)
        for size in (1, 60, 50_000, 1, 60_000):
            await user.add(chat_id, "ü" * size)
        while len(wire.versions(stream)) < 5:
            await wire.frame()
        assert [len(event["data"]["data"]["content"]) for event in wire.events(stream)] == [1, 60, 50_000, 1, 60_000]


@anyio
async def test_who_reads_nothing_costs_a_frame_and_the_transports_buffer(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, frame_out_bytes=100_000, tail_memory_bytes=500_000)
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        wire = await subscribed(server, user, stream)
        wire.socket.transport.pause_reading()
        for number in range(150):
            await user.add(chat_id, f"{number} " + "y" * 60_000)
        (socket,) = sockets(server)
        protocol: Any = socket.wire
        await until(lambda: not socket.wire.can_write)
        assert protocol.transport.get_write_buffer_size() <= settings.frame_out_bytes + TRANSPORT_BYTES
        assert socket.answers == []
        assert len(socket.ready) <= 1
        assert server.system.hub._bytes <= 2 * settings.tail_memory_bytes
        wire.socket.transport.resume_reading()
        while not wire.versions(stream) or wire.versions(stream)[-1] < 151:
            await wire.frame()
        assert wire.versions(stream) == list(range(2, 152))
        assert (await wire.op("caught_up", stream=stream))["version"] == 151


@anyio
async def test_nothing_goes_out_to_a_slow_reader_after_its_account_has_changed(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, frame_out_bytes=50_000)
    async with running(settings) as server:
        admin, bob = await server.sign_up(), await server.sign_up("Bob")
        chat_id = await bob.new_chat()
        stream = f"chat/{chat_id}"
        wire = await subscribed(server, bob, stream)
        wire.socket.transport.pause_reading()
        for number in range(150):
            await bob.add(chat_id, f"{number} " + "y" * 40_000)
        (socket,) = sockets(server)
        await until(lambda: not socket.wire.can_write)
        (joined,) = [one for one in server.system.hub.subscriptions(parse_stream(stream)) if isinstance(one, SocketSubscription)]
        had = joined.cursor
        await admin.http.delete(f"/api/v1/users/{bob.id}")
        wire.socket.transport.resume_reading()
        assert await wire.closed() == 4401
        assert wire.versions(stream) == list(range(2, had + 1))


@anyio
async def test_a_slow_reader_that_goes_on_reading_is_not_taken_for_dead(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, ping_interval_s=0.05, pong_timeout_s=2.0, frame_out_bytes=20_000)
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        stream = f"chat/{chat_id}"
        for number in range(100):
            await user.add(chat_id, f"{number} " + "y" * 100_000)
        reader, writer = await raw_socket(server, user)
        send(writer, {"op": "subscribe", "id": 1, "stream": stream, "after": "start"})
        received = 0
        while received < 10_000_000:  # takes longer than a pong may; and never a pong
            received += len(await reader.read(50_000))
            await asyncio.sleep(0.015)
        assert len(sockets(server)) == 1
        writer.close()


@anyio
async def test_a_dead_reader_is_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.websocket_protocol.CLOSE_TIMEOUT_S", 0.05)
    settings = msgspec.structs.replace(settings, ping_interval_s=0.05, pong_timeout_s=0.1, frame_out_bytes=20_000)
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        _reader, writer = await raw_socket(server, user)
        send(writer, {"op": "subscribe", "id": 1, "stream": f"chat/{chat_id}", "after": "start"})
        await until(lambda: any(True for _ in server.system.hub.subscriptions(parse_stream(f"chat/{chat_id}"))))
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a transport that reads
        for number in range(60):
            await user.add(chat_id, f"{number} " + "y" * 200_000)
        await until(lambda: not sockets(server))
        assert not any(True for _ in server.system.hub.subscriptions(parse_stream(f"chat/{chat_id}")))
        writer.transport.abort()


@anyio
async def test_who_does_not_answer_a_close_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.websocket_protocol.CLOSE_TIMEOUT_S", 0.05)
    async with running(settings) as server:
        user = await server.sign_up()
        reader, writer = await raw_socket(server, user)
        await until(lambda: sockets(server))
        await user.post("/api/v1/auths/signout")
        async with asyncio.timeout(WAIT_S):
            received = await reader.read()
        assert b"\x88" in received  # a close frame, and then the end
        assert (4401).to_bytes(2) in received
        writer.close()


@anyio
async def test_a_client_that_asks_without_reading_is_read_no_further(settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        for number in range(30):
            await user.add(chat_id, f"{number} " + "y" * 200_000)
        made, make = list[Any](), server.system.sockets._context.snapshots._state_of

        async def counted(stream: Any, principal: Any) -> State:
            made.append(stream)
            return await make(stream, principal)

        server.system.sockets._context.snapshots._state_of = counted
        reader, writer = await raw_socket(server, user)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a transport that reads
        stream = f"chat/{chat_id}"
        for _ in range(5):  # six megabytes each
            send(writer, {"op": "subscribe", "id": 1, "stream": stream, "after": "start", "snapshot": True})
            send(writer, {"op": "unsubscribe", "stream": stream})
        (socket,) = sockets(server)
        await until(lambda: made and not socket.wire.can_write)
        await user.get(f"/api/v1/chats/{chat_id}")  # time enough for it to have gone on
        assert len(made) == 1
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        ended, piece = 0, b""
        async with asyncio.timeout(WAIT_S):
            while ended < 5:
                piece = piece[-30:] + await reader.read(1 << 16)
                ended += piece.count(b'"op":"unsubscribed"')
                if b'"op":"unsubscribed"' in piece:
                    piece = b""
        assert len(made) == 5
        writer.close()


async def raw_socket(server: Running, user: User) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket that answers neither pings nor closes, past its welcome."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    server.clients.callback(writer.transport.abort)  # also where the test fails: a loop does not close over what is open
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode()
    )
    async with asyncio.timeout(WAIT_S):
        await reader.readuntil(b'"caught_up"')
    return reader, writer


def send(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    payload = json.dumps(frame).encode()
    assert 126 <= len(payload) < 65_536 or len(payload) < 126
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    writer.write(b"\x81" + length + b"\0\0\0\0" + payload)


@anyio
async def test_other_servers_are_sent_one_message_at_a_time_and_the_close_last() -> None:
    sent: list[MutableMapping[str, Any]] = []
    taken = asyncio.Event()

    async def slow(message: MutableMapping[str, Any]) -> None:
        await taken.wait()
        sent.append(message)

    wire = AsgiWire(slow)
    wire.write_frame(text_frame(b"one"))
    assert not wire.can_write
    wire.write_frame(text_frame(b"two"))
    wire.end(4401, "over")
    wire.end(1000, "not this")
    taken.set()
    await wire.flushed()
    assert [message.get("text") or message.get("code") for message in sent] == ["one", "two", 4401]
    assert not wire.can_write


@anyio
async def test_another_servers_client_that_is_gone_is_noticed() -> None:
    async def gone(_: MutableMapping[str, Any]) -> None:
        raise OSError("gone")

    wire, resumed = AsgiWire(gone), list[bool]()
    wire.resumed = lambda: resumed.append(wire.can_write)
    wire.write_frame(text_frame(b"one"))
    await wire.flushed()
    await until(lambda: resumed == [False])


@anyio
async def test_a_thousand_subscriptions_of_one_socket_are_served_in_turn(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, frame_out_bytes=2_000)
    async with running(settings) as server:
        user = await server.sign_up()
        long, short = await user.new_chat(), await user.new_chat()
        await user.ask(long, "demo:fast")
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=f"chat/{long}", after="start")
        await wire.say(op="subscribe", id=2, stream=f"chat/{short}", after="start")
        await wire.op("caught_up", stream=f"chat/{short}")
        await user.add(short, "not kept waiting")
        await wire.event(f"chat/{short}", "message_added")
        await wire.event(f"chat/{long}", "message_end")
        assert wire.versions(f"chat/{short}") == [1, 2]
        last = wire.versions(f"chat/{long}")[-1]
        assert wire.versions(f"chat/{long}") == list(range(1, last + 1))
