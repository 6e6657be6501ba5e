"""Outgoing webhooks: what a real server on this machine gets, whatever it answers. Time is a number that the test moves."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from adapters.memory.outgoing_webhooks import MemoryOutgoing
from adapters.providers.http.address_guard import AddressGuard
from adapters.webhooks.http import HttpWebhookSender
from api.formats.event_json import encode_event
from commands.channels.channels import Channels
from commands.channels.outgoing import OutgoingWebhooks
from commands.channels.outgoing_worker import FIRST_RETRY_S, LONGEST_RETRY_S, OutgoingWorker, retry_s, signature
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import ChangeMessage, CreateChannel, PostMessage, React
from domain.channel.rights import Asker
from domain.errors import BadRequest, Forbidden
from domain.log.codec import decode_event
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream, user_stream
from tests.commands.world import PATIENCE_S, until

pytestmark = pytest.mark.anyio

ANN, BEN = UUID(int=1), UUID(int=2)
ann, ben = Asker(ANN, "user"), Asker(BEN, "user")
CHANNEL = UUID(int=0xC0)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Service:
    """Answers what it is told to, or 200; keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            lines = head.decode().split("\r\n")[1:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
            answer = self.answers.pop(0) if self.answers else "200 OK"
            if answer == "hang up":
                writer.close()
                return
            writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode())

    def versions(self) -> list[int]:
        return [json.loads(body)["data"]["version"] for _, body in self.got]


class World:
    def __init__(self, service: Service, networks: tuple[str, ...] = ()) -> None:
        self.service = service
        self.now = START
        self.log = MemoryLog()
        self.channels = Channels(self.log)
        self.outgoing = MemoryOutgoing(self.log, lambda: self.now)
        guard = AddressGuard(networks)
        self.sender = HttpWebhookSender(guard)
        self.hooks = OutgoingWebhooks(self.log, self.channels, self.outgoing, refuses_host=guard.refuses)

    def worker(self, **more: Any) -> OutgoingWorker:
        now = more.pop("now", lambda: self.now.timestamp())
        return OutgoingWorker(self.log, self.channels, self.outgoing, self.sender, encode_event, uuid4(), now=now, **more)

    async def made(self) -> "World":
        for one in (ANN, BEN):
            fact = UserCreated("x", f"{one.int}@example.org", "user")
            await self.log.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, fact)], 0)]))
        await self.do(CreateChannel(channel_id=CHANNEL, by=ann, type="group", name="friends", member_ids=[BEN]))
        return self

    async def do(self, command: Any) -> None:
        await self.channels.handle(command, actor=Actor(ANN, "Ann", "user"))

    async def hook(self, by: Asker = ann, types: list[str] | None = None) -> tuple[UUID, str]:
        return await self.hooks.create(CHANNEL, by, Actor(by.id, "x", "user"), self.service.url, types)

    async def say(self, content: str = "hi") -> UUID:
        message_id = uuid4()
        await self.do(PostMessage(channel_id=CHANNEL, by=ann, message_id=message_id, content=content))
        return message_id

    async def deliver(self, after_s: float = 0.0) -> None:
        self.now += timedelta(seconds=after_s)
        while await self.worker().send_due():
            pass


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=very-secret"
    yield made
    server.close()


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    made = await World(service).made()
    yield made
    await made.sender.aclose()


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the specification's own libraries.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_is_said_from_then_on_is_sent_in_order_and_signed(world: World, service: Service) -> None:
    await world.say("before")
    webhook_id, secret = await world.hook()
    message_id = await world.say("after")
    await world.do(React(channel_id=CHANNEL, by=ann, message_id=message_id, name="+1", present=True))  # not asked for
    await world.do(ChangeMessage(channel_id=CHANNEL, by=ann, message_id=message_id, fields={"content": "edited"}))
    await world.deliver()
    bodies = [json.loads(body) for _, body in service.got]
    assert [one["type"] for one in bodies] == ["channel.message", "channel.message.update"]
    assert bodies[0]["data"]["data"]["data"]["content"] == "after"
    assert bodies[0]["data"]["channel_id"] == str(CHANNEL)
    for headers, body in service.got:
        timestamp = int(headers["webhook-timestamp"])
        assert timestamp == int(START.timestamp())
        assert headers["webhook-signature"] == f"v1,{signature(secret, headers['webhook-id'], timestamp, body)}"
    assert len({headers["webhook-id"] for headers, _ in service.got}) == 2
    [known] = await world.hooks.listed(CHANNEL, ann)
    assert known.state is not None
    assert (known.id, known.behind, known.state.sent) == (webhook_id, 0, 2)


async def test_a_service_that_is_away_loses_nothing_and_is_said_to_be_behind(world: World, service: Service) -> None:
    await world.hook()
    for number in range(3):
        await world.say(str(number))
    service.answers = ["200 OK", "500 Oops", "hang up", "hang up", "429 Slow\r\nretry-after: 900"]  # of a kept connection twice
    await world.deliver()
    [known] = await world.hooks.listed(CHANNEL, ann)
    assert known.state is not None
    assert (known.behind, known.state.failures, known.state.failure) == (2, 1, "status 500")
    await world.deliver()  # not yet
    assert len(service.got) == 2
    await world.deliver(FIRST_RETRY_S * 1.3)
    await world.deliver(FIRST_RETRY_S * 4 * 1.3)
    [known] = await world.hooks.listed(CHANNEL, ann)
    assert known.state is not None
    assert (known.state.failures, known.state.failure) == (3, "status 429")
    await world.deliver(800)
    assert len(service.got) == 5  # it asked for 900 s
    await world.deliver(200)
    first = service.versions()[0]
    assert service.versions() == [first, *[first + 1] * 5, first + 2]
    ids = [headers["webhook-id"] for headers, _ in service.got]
    assert len(set(ids[1:6])) == 1  # the same one, so that the service can tell
    [known] = await world.hooks.listed(CHANNEL, ann)
    assert (known.behind, known.state.failures if known.state is not None else None) == (0, 0)


async def test_a_service_that_wants_no_more_is_sent_no_more(world: World, service: Service) -> None:
    await world.hook()
    await world.say()
    service.answers = ["410 Gone"]
    await world.deliver()
    await world.say()
    await world.deliver(LONGEST_RETRY_S)
    assert len(service.got) == 1
    assert await world.hooks.listed(CHANNEL, ann) == []
    ended = decode_event((await world.log.read(channel_stream(CHANNEL), limit=100))[-2]).data
    assert ended.reason == "gone"


async def test_a_revoked_one_is_sent_nothing_more(world: World, service: Service) -> None:
    webhook_id, _ = await world.hook()
    await world.say()
    await world.hooks.revoke(CHANNEL, ann, Actor(ANN, "x", "user"), webhook_id)
    await world.deliver()
    assert service.got == []


async def test_neither_the_address_nor_the_secret_is_in_the_log(world: World) -> None:
    _, secret = await world.hook()
    written = b"".join(one.data for one in await world.log.read(channel_stream(CHANNEL), limit=100))
    assert b"very-secret" not in written
    assert secret.encode() not in written
    assert b"http://127.0.0.1:" in written


async def test_who_does_not_manage_the_channel_makes_none(world: World) -> None:
    with pytest.raises(Forbidden):
        await world.hook(ben)
    with pytest.raises(Forbidden):
        await world.hooks.listed(CHANNEL, ben)
    for types in ([], ["nothing"], ["message_delta"]):
        with pytest.raises(BadRequest):
            await world.hook(types=types)
    assert await world.outgoing.channels() == set()


async def test_an_address_in_a_closed_network_is_refused_and_never_connected_to(service: Service) -> None:
    world = await World(service, ("127.0.0.0/8", "::1/128")).made()
    for url in (
        service.url,
        "http://[::ffff:127.0.0.1]/",
        "ftp://example.org",
        "http://a:b@example.org",
        "https://",
        "x" * 3_000,
        "http://[x",
    ):
        with pytest.raises(BadRequest):
            await world.hooks.create(CHANNEL, ann, Actor(ANN, "x", "user"), url, None)
    named = service.url.replace("127.0.0.1", "localhost")  # a name: looked at when it is connected to
    await world.hooks.create(CHANNEL, ann, Actor(ANN, "x", "user"), named, None)
    await world.say()
    await world.deliver()
    [known] = await world.hooks.listed(CHANNEL, ann)
    assert known.state is not None
    assert known.state.failure == "the address is in a network that is closed to webhooks"
    assert service.got == []
    await world.sender.aclose()


async def test_a_worker_sends_as_things_happen_until_it_is_closed(world: World, service: Service) -> None:
    worker = world.worker(poll_s=PATIENCE_S)  # only what rings makes it look
    world.log.on_committed = lambda events: [worker.observe(one) for one in events] and None
    worker.start()
    await world.hook()
    await world.say()
    await until(lambda: len(service.got) == 1)
    await world.say()
    await until(lambda: len(service.got) == 2)
    await worker.close()


def test_the_waits_grow_to_an_hour() -> None:
    waits = [retry_s(failures, None) for failures in range(12)]
    assert FIRST_RETRY_S * 0.8 <= waits[0] <= FIRST_RETRY_S * 1.2
    assert all(LONGEST_RETRY_S * 0.8 <= one <= LONGEST_RETRY_S * 1.2 for one in waits[6:])
    assert retry_s(1_000_000, 10.0**7) <= LONGEST_RETRY_S * 1.2
