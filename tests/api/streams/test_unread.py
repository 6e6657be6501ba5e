"""Clients that ask for a whole long chat and do not read it: what they cost, and their end."""

import asyncio
import contextlib
import gc
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from api.process.stalled import EndsStalled
from api.settings import Settings
from tests.api.conftest import WAIT_S, Running, User, running

anyio = pytest.mark.anyio
MESSAGES = 48
# Kept in the event, and beside the log.
MESSAGE_CHARACTERS = (100_000, 250_000)
CHAT_BYTES = MESSAGES * sum(MESSAGE_CHARACTERS) // 2  # and twice as much as JSON: the current branch stands there a second time
CLIENTS = 20
HELD_BYTES_MAX = CLIENTS * 2_500_000  # a page, its buffer and what is made of them; the chat as JSON is six times as large
MIB = 1024 * 1024
LAST_CHUNK = b"0\r\n\r\n"
RECEIVED_BYTES_MAX = 64 * 1024  # what the kernel takes for a client that does not read
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def content(number: int) -> str:
    return f'{number} "é" ' + "y" * MESSAGE_CHARACTERS[number % 2]


@pytest.fixture
async def unread(settings: Settings, database: str) -> AsyncIterator[tuple[Running, User, str]]:
    """A server on Postgres, and a long chat."""
    async with running(msgspec.structs.replace(settings, tail_memory_bytes=MIB), database) as server:
        user = await server.sign_up()
        chat_id, parent_id = await user.new_chat(), None
        for number in range(MESSAGES):
            added = await user.add(chat_id, content(number), parent_id)
            parent_id = added["message_id"]
        await server.settled()
        yield server, user, chat_id


class Stalled:
    """The connections of this process that wait for their clients."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: set[EndsStalled] = set()
        look_later = EndsStalled._look_later

        def noted(protocol: EndsStalled) -> None:
            self.all.add(protocol)
            look_later(protocol)

        monkeypatch.setattr(EndsStalled, "_look_later", noted)

    @property
    def count(self) -> int:
        return sum(one._stall_timer is not None for one in self.all)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110  # what happens on the server tells nobody here
            await asyncio.sleep(0.01)


async def asked(server: Running, *lines: str) -> Client:
    """A connection that has sent this request and reads nothing."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES_MAX)
    connection.connect((host, int(port)))
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 16)
    # Also where the test fails. And asyncio cuts off a reader that nobody refers to.
    server.clients.callback(lambda client: client[1].transport.abort(), (reader, writer))
    writer.write("\r\n".join([*lines, f"Host: {host}", "", ""]).encode())
    return reader, writer


async def get(server: Running, user: User, path: str) -> Client:
    return await asked(server, f"GET {path} HTTP/1.1", f"Authorization: Bearer {user.token}")


async def get_chat(server: Running, user: User, chat_id: str) -> Client:
    return await get(server, user, f"/api/v1/chats/{chat_id}")


async def get_all(server: Running, user: User, _: str) -> Client:
    return await get(server, user, "/api/v1/chats/all")


async def get_transcript(server: Running, user: User, chat_id: str) -> Client:
    return await get(server, user, f"/api/v1/chats/{chat_id}/export?format=open-webui")


async def snapshot(server: Running, user: User, chat_id: str) -> Client:
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    reader, writer = await asked(server, "GET /ws HTTP/1.1", f"Authorization: Bearer {user.token}", *upgrade)
    async with asyncio.timeout(WAIT_S):
        await reader.readuntil(b'"caught_up"')
    frame = json.dumps({"op": "subscribe", "id": 1, "stream": f"chat/{chat_id}", "after": "start", "snapshot": True}).encode()
    writer.write(b"\x81\xfe" + len(frame).to_bytes(2) + b"\0\0\0\0" + frame)
    return reader, writer


@anyio
@pytest.mark.parametrize("asking", [get_chat, get_all, get_transcript, snapshot])
async def test_a_client_that_does_not_read_costs_a_page(
    unread: tuple[Running, User, str], asking: Callable[..., Awaitable[Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, user, chat_id = unread
    stalled = Stalled(monkeypatch)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(CLIENTS):
            await asking(server, user, chat_id)
        await until(lambda: stalled.count == CLIENTS)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = server.system.sockets._context.snapshots.kept.bytes
    assert held - before < HELD_BYTES_MAX + kept
    assert peak - before < 2 * HELD_BYTES_MAX + kept


@anyio
async def test_a_snapshot_of_many_frames_is_the_chat_for_every_subscriber(unread: tuple[Running, User, str]) -> None:
    server, user, chat_id = unread
    shown = (await user.get(f"/api/v1/chats/{chat_id}")).json()
    server.system.sockets._context.snapshots.kept._bytes_max = MIB  # less than a snapshot: who comes later reads for itself

    async def taken() -> object:
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start", snapshot=True)
        await wire.op("caught_up", stream=f"chat/{chat_id}")
        frames = [frame for frame in wire.frames if frame["op"] == "snapshot"]
        assert [(frame["page"], frame["pages"]) for frame in frames] == [(page + 1, len(frames)) for page in range(len(frames))]
        assert len(frames) > CHAT_BYTES // server.system.settings.frame_out_bytes
        return json.loads("".join(frame["state"] for frame in frames))

    for state in await asyncio.gather(*(taken() for _ in range(3))):
        assert state == shown
    assert server.system.sockets._context.snapshots.kept.bytes <= MIB


@anyio
async def test_a_response_that_makes_no_progress_ends_and_a_slow_one_does_not(settings: Settings, database: str) -> None:
    async with running(msgspec.structs.replace(settings, send_stall_s=0.5), database) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        for number in range(MESSAGES):
            await user.add(chat_id, content(number))
        slow, _slow = await get(server, user, f"/api/v1/chats/{chat_id}")
        dead, _dead = await get(server, user, f"/api/v1/chats/{chat_id}")
        received = 0
        while received < CHAT_BYTES:  # takes several times as long as nobody may take nothing
            piece = await slow.read(MIB // 4)
            assert piece, "the slow reader was cut off"
            received += len(piece)
            await asyncio.sleep(0.05)
        taken = b""
        with contextlib.suppress(ConnectionError):
            while piece := await dead.read(MIB):
                taken = taken[-len(LAST_CHUNK) :] + piece
        assert not taken.endswith(LAST_CHUNK)  # cut off: nobody takes half of a chat for all of it
