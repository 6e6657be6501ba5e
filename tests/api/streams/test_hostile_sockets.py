"""What a client can do to a socket below and before the protocol: frames before ``hello``, floods of frames without text, bad text."""

import json

import pytest

from api.settings import Settings
from api.streams.frames import FRAMES_BURST
from api.streams.websocket_protocol import FRAMES_BEFORE_HELLO, PARSED_BYTES_MAX
from tests.api.raw import Raw, bounded, client_frame, close_code, opened

pytestmark = pytest.mark.anyio

TEXT, CONTINUED, PING, PONG = 1, 0, 9, 10
SUBSCRIBE = b'{"op":"heartbeat"}'
# A client's frame without content is six bytes, so this many may be parsed before the rate is looked at.
AT_ONCE = PARSED_BYTES_MAX // 6 + 1

FLOODS = {
    "pings": lambda count: client_frame(PING) * count,
    "pongs": lambda count: client_frame(PONG) * count,
    "empty fragments": lambda count: client_frame(TEXT, fin=False) + client_frame(CONTINUED, fin=False) * count,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_before_hello_ends_the_socket(settings: Settings, flood: str) -> None:
    async with bounded(settings) as (_, connect):
        raw = await opened(connect)
        await raw.send(FLOODS[flood](FRAMES_BEFORE_HELLO + 1))
        assert await close_code(raw) == 4429


@pytest.mark.parametrize("flood", FLOODS)
async def test_frames_without_text_count_against_the_rate_of_a_signed_in_client(settings: Settings, flood: str) -> None:
    async with bounded(settings) as (server, connect):
        user = await server.sign_up()
        raw = await opened(connect, b"authorization: Bearer " + user.token.encode() + b"\r\n")
        await welcome(raw)
        await raw.send(FLOODS[flood](2 * FRAMES_BURST))
        assert await close_code(raw) == 4429


async def test_after_too_many_frames_nothing_more_is_parsed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0
    from websockets.server import ServerProtocol

    original = ServerProtocol.events_received

    def events_received(self: ServerProtocol) -> object:
        nonlocal parsed
        events = original(self)
        parsed += len(events)
        return events

    monkeypatch.setattr(ServerProtocol, "events_received", events_received)
    async with bounded(settings) as (_, connect):
        raw = await opened(connect)
        await raw.send(client_frame(PING) * 40_000)
        assert await close_code(raw) == 4429
    assert parsed <= FRAMES_BEFORE_HELLO + AT_ONCE


async def test_pings_within_the_rate_are_answered(settings: Settings) -> None:
    async with bounded(settings) as (server, connect):
        user = await server.sign_up()
        raw = await opened(connect, b"authorization: Bearer " + user.token.encode() + b"\r\n")
        await welcome(raw)
        await raw.send(client_frame(PING, b"still there?"))
        assert await next_frame(raw) == (PONG, b"still there?")


@pytest.mark.parametrize("first", [SUBSCRIBE, b"{", b"[]"], ids=["another op", "no JSON", "no object"])
async def test_the_first_frame_is_hello_or_the_last(settings: Settings, first: bytes) -> None:
    async with bounded(settings) as (_, connect):
        raw = await opened(connect)
        await raw.send(client_frame(TEXT, first))
        opcode, said = await next_frame(raw)
        assert (opcode, json.loads(said)["op"]) == (TEXT, "error")
        assert await close_code(raw) == 4408


@pytest.mark.parametrize("signed_in", [False, True])
async def test_text_that_is_no_utf_8_ends_the_socket_without_a_traceback(
    settings: Settings, signed_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with bounded(settings) as (server, connect):
        user = await server.sign_up()
        raw = await opened(connect, b"authorization: Bearer " + user.token.encode() + b"\r\n" if signed_in else b"")
        await raw.send(client_frame(TEXT, b"\xff\xfe"))
        assert await close_code(raw) == 1007
    assert [record for record in caplog.records if record.exc_info] == []


async def test_of_sockets_that_never_say_hello_the_oldest_gives_way(settings: Settings) -> None:
    async with bounded(settings, sockets_before_hello_max=2) as (server, connect):
        user = await server.sign_up()
        silent = [await opened(connect) for _ in range(3)]
        assert await close_code(silent[0]) == 4408
        last = await opened(connect)
        assert await close_code(silent[1]) == 4408
        await last.send(client_frame(TEXT, b'{"op":"hello","token":"nonsense"}'))
        assert await close_code(last) == 4401
        await server.connect(user)  # who shows a token at the handshake waits for no room


async def welcome(raw: Raw) -> None:
    assert json.loads((await next_frame(raw))[1])["op"] == "welcome"


async def next_frame(raw: Raw) -> tuple[int, bytes]:
    first, length = await raw.reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await raw.reader.readexactly(2))
    return first & 15, await raw.reader.readexactly(length)
