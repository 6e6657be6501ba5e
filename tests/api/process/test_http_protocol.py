"""What a client can make one process hold before its request is complete: heads, silence, bodies, connections, sockets before hello."""

import asyncio
import contextlib

import pytest

from api.process.http_protocol import BODY_BYTES_LEAST, BODY_DISCARDED_BYTES_MAX
from api.request.bodies import CONTENT_BYTES
from api.settings import Settings
from tests.api.conftest import WAIT_S, running
from tests.api.raw import GET, KIB, Connect, bounded, handshake

pytestmark = pytest.mark.anyio
SOON_S = 0.2  # a time-out of the server's that a test waits for


@pytest.mark.parametrize(
    ("begin", "piece", "status"),
    [
        (b"GET /health?q=", b"a" * KIB, 414),
        (GET + b"x-never-ends: ", b"a" * KIB, 431),
        (GET + b"x-", b"a" * KIB, 431),
        (GET, b"a: b\r\n" * 20, 431),
        (GET + b"upgrade: websocket\r\nconnection: upgrade\r\nx: ", b"a" * KIB, 431),
        (b"", b"\r\n" * 500, 431),
    ],
    ids=["URL", "header", "name", "headers", "handshake", "empty lines"],
)
async def test_a_head_that_never_ends_is_refused_at_its_bound(settings: Settings, begin: bytes, piece: bytes, status: int) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(begin)
        sent = await raw.send_until_refused(piece, 64 * settings.head_bytes_max)
        answered, headers, problem = await raw.answer()
        assert (answered, problem["status"], headers["connection"]) == (status, status, "close")
        assert sent < 8 * settings.head_bytes_max  # what the system between the two holds comes on top of the bound


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health?" + b"q" * 17 * KIB + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (GET + b"x: " + b"y" * 65 * KIB + b"\r\n\r\n", 431),
        (GET + b"".join(b"x-%d: y\r\n" % number for number in range(100)) + b"\r\n", 431),
        (GET + b"".join(b"x-%d: y\r\n" % number for number in range(98)) + b"\r\n", 200),
        (GET + b"x: " + b"y" * 60 * KIB + b"\r\n\r\n", 200),
        (b"GET /health?" + b"q" * 15 * KIB + b" HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    ],
    ids=["URL", "bytes", "count", "most headers", "most bytes", "longest URL"],
)
async def test_a_whole_head_is_held_to_the_same_bounds(settings: Settings, head: bytes, status: int) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(head)
        assert (await raw.answer())[0] == status


async def test_a_trailer_that_never_ends_is_refused_too(settings: Settings) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(b"POST /api/v1/auths/signin HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ")
        sent = await raw.send_until_refused(b"a" * KIB, 64 * settings.head_bytes_max)
        assert (await raw.answer())[0] == 431
        assert sent < 8 * settings.head_bytes_max


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", None),
        (b"GET /hea", 408),
        (GET, 408),
        (GET + b"half: a hea", 408),
        (GET + b"upgrade: websocket\r\nconnection: upgrade\r\n", 408),
        (b"\r\n", 408),
    ],
    ids=["nothing", "half a line", "half a head", "half a header", "half a handshake", "an empty line"],
)
async def test_a_client_that_falls_silent_is_let_go(settings: Settings, said: bytes, status: int | None) -> None:
    async with bounded(settings, head_timeout_s=SOON_S) as (_, connect):
        raw = await connect()
        await raw.send(said)
        if status is not None:
            assert (await raw.answer())[0] == status
        assert await raw.ended() == b""


async def test_half_a_line_on_a_kept_connection_is_let_go_too(settings: Settings) -> None:
    async with bounded(settings, head_timeout_s=SOON_S) as (_, connect):
        raw = await connect()
        await raw.send(GET + b"\r\n")
        assert (await raw.answer())[0] == 200
        await raw.send(b"GET /hea")
        assert (await raw.answer())[0] == 408
        assert await raw.ended() == b""


async def test_a_kept_connection_that_is_not_used_is_closed(settings: Settings) -> None:
    async with bounded(settings, keep_alive_s=1) as (_, connect):
        raw = await connect()
        await raw.send(GET + b"\r\n")
        assert (await raw.answer())[0] == 200
        assert await raw.ended() == b""


@pytest.mark.parametrize("rest", [b"", b'{"email":'], ids=["nothing", "half"])
async def test_half_a_body_is_let_go(settings: Settings, rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with bounded(settings, body_timeout_s=SOON_S) as (_, connect):
        raw = await connect()
        head = b"POST /api/v1/auths/signin HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
        await raw.send(head + rest)
        status, _, problem = await raw.answer()
        assert (status, problem["code"]) == (408, "request_timeout")
        assert await raw.ended() == b""
    assert "request_failed" not in caplog.text


async def test_a_slow_body_that_goes_on_is_read_to_its_end(settings: Settings) -> None:
    async with bounded(settings, body_timeout_s=SOON_S) as (server, connect):
        user = await server.sign_up()
        piece = b" " * (BODY_BYTES_LEAST // 2)
        body = b'{"chat": {}' + 8 * piece + b"}"
        raw = await connect()
        head = f"POST /api/v1/chats/new HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user.token}\r\ncontent-length: {len(body)}\r\n\r\n"
        await raw.send(head.encode())
        for at in range(0, len(body), len(piece)):
            await asyncio.sleep(SOON_S / 4)
            await raw.send(body[at : at + len(piece)])
        assert (await raw.answer())[0] == 200


async def test_a_body_is_not_read_on_after_its_refusal(settings: Settings) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(b"POST /api/v1/chats/new HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n")
        assert (await raw.answer())[0] == 401
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * BODY_DISCARDED_BYTES_MAX // (64 * KIB)):
                await raw.send(b"x" * 64 * KIB)
        assert await raw.ended() == b""


async def test_a_client_that_sends_all_before_it_reads_learns_that_it_is_too_much(settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        for path, length in (("/v1/chat/completions", CONTENT_BYTES + KIB * KIB), ("/api/v1/folders", 3 * KIB * KIB)):
            refused = await user.http.post(path, content=b" " * length, headers={"content-type": "application/json"})
            assert refused.status_code == 413


async def test_a_refused_client_that_goes_on_sending_is_not_read_any_further(settings: Settings) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(GET + b"x: " + b"a" * 2 * settings.head_bytes_max)
        sent, all_of_it = 0, 64 * KIB * KIB
        with contextlib.suppress(ConnectionError):
            while sent < all_of_it:
                async with asyncio.timeout(WAIT_S):
                    await raw.send(b"a" * 64 * KIB)
                sent += 64 * KIB
        assert sent < all_of_it // 2  # what the buffers of the system hold


async def test_a_small_rest_of_a_refused_body_does_not_cost_the_connection(settings: Settings) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(b"POST /api/v1/chats/new HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n")
        assert (await raw.answer())[0] == 401
        await raw.send(b"x" * 5000 + GET + b"\r\n")
        assert (await raw.answer())[0] == 200


async def test_one_address_has_a_bounded_number_of_connections(settings: Settings) -> None:
    async with bounded(settings, connections_per_address_max=3) as (_, connect):
        held = [await connect("127.0.0.2") for _ in range(3)]
        for raw in held:
            await raw.send(GET + b"\r\n")
            assert (await raw.answer())[0] == 200
        refused = await connect("127.0.0.2")
        status, headers, _ = await refused.answer()
        assert (status, headers["retry-after"]) == (429, "1")
        assert await refused.ended() == b""
        await (other := await connect("127.0.0.3")).send(GET + b"\r\n")
        assert (await other.answer())[0] == 200
        for raw in (held[0], refused):
            raw.writer.close()
            await raw.writer.wait_closed()
        await served_again(connect, "127.0.0.2")


async def test_a_socket_counts_as_one_connection_until_it_ends(settings: Settings) -> None:
    async with bounded(settings, connections_per_address_max=1) as (_, connect):
        raw = await connect("127.0.0.2")
        await raw.send(handshake())
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert (await (await connect("127.0.0.2")).answer())[0] == 429
        raw.writer.close()
        await served_again(connect, "127.0.0.2")


async def test_loopback_is_not_counted(settings: Settings) -> None:
    async with bounded(settings, connections_per_address_max=1) as (_, connect):
        for _ in range(3):
            await (raw := await connect()).send(GET + b"\r\n")
            assert (await raw.answer())[0] == 200


async def test_a_handshake_with_a_line_longer_than_the_library_reads_is_answered(settings: Settings) -> None:
    async with bounded(settings) as (_, connect):
        raw = await connect()
        await raw.send(handshake(b"cookie: " + b"c" * 9 * KIB + b"\r\n"))
        assert (await raw.answer())[0] == 431
        assert await raw.ended() == b""


async def served_again(connect: Connect, address: str) -> None:
    """Until the server has seen that a connection of the address is gone."""
    async with asyncio.timeout(WAIT_S):
        while True:
            raw = await connect(address)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # refused, and cut off before it has read so
                await raw.send(GET + b"\r\n")
                if (await raw.answer())[0] == 200:
                    return
            raw.writer.close()
