"""Incoming webhooks: who makes them, what a token opens, and what ends it. Time is a number that the test moves."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.accounts.credentials import MemoryCredentials
from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from commands.channels.channels import Channels
from commands.channels.webhooks import CONTENT_CHARACTERS_MAX, GUESSES_MAX, POSTS_MAX, ChannelWebhooks
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import ArchiveChannel, CreateChannel, DeleteChannel
from domain.channel.rights import Asker
from domain.errors import BadRequest, Forbidden, NotAuthenticated, TooManyAttempts, WebhookNotFound
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream, user_stream

pytestmark = pytest.mark.anyio

ANN, BEN = UUID(int=1), UUID(int=2)
ann, ben = Asker(ANN, "user"), Asker(BEN, "user")
CHANNEL = UUID(int=0xC0)


class Place:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.now_s = 0.0
        self.channels = Channels(self.log)
        self.used: list[UUID] = []
        self.hooks = ChannelWebhooks(self.log, self.channels, MemoryCredentials(), note_used=self.used.append, clock=lambda: self.now_s)

    async def made(self) -> "Place":
        for one in (ANN, BEN):
            fact = UserCreated("x", f"{one.int}@example.org", "user")
            await self.log.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, fact)], 0)]))
        await self.do(CreateChannel(channel_id=CHANNEL, by=ann, type="group", name="friends", member_ids=[BEN]))
        return self

    async def do(self, command: Any) -> None:
        await self.channels.handle(command, actor=Actor(ANN, "Ann", "user"))

    async def hook(self, name: str = "CI", picture: str | None = None, by: Asker = ann) -> tuple[UUID, str]:
        return await self.hooks.create(CHANNEL, by, Actor(by.id, "x", "user"), name, picture)


@pytest.fixture
async def place() -> Place:
    return await Place().made()


async def test_a_webhook_posts_under_its_name_and_keeps_the_name_of_then(place: Place) -> None:
    webhook_id, token = await place.hook("CI", "https://example.org/ci.png")
    message_id = await place.hooks.post(webhook_id, token, "built")
    await place.hooks.change(CHANNEL, ann, Actor(ANN, "x", "user"), webhook_id, "CD", None)
    message = (await MemoryChannelQueries(place.log).messages(CHANNEL, [message_id]))[message_id]
    assert message.user is not None
    assert (message.user.id, message.user.name, message.user.role) == (str(webhook_id), "CI", "webhook")
    assert (message.text, message.user_id, message.webhook_id) == ("built", None, webhook_id)
    [known] = await place.hooks.listed(CHANNEL, ann)
    assert (known.webhook.name, known.webhook.profile_image_url) == ("CD", None)
    assert known.created_at is not None
    assert place.used == [webhook_id]


async def test_no_token_is_in_the_log(place: Place) -> None:
    _, token = await place.hook()
    assert all(token.encode() not in one.data for one in await place.log.read(channel_stream(CHANNEL), limit=100))


async def test_only_who_manages_the_channel_has_to_do_with_its_webhooks(place: Place) -> None:
    webhook_id, _ = await place.hook()
    actor = Actor(BEN, "x", "user")
    for refused in (
        place.hook(by=ben),
        place.hooks.listed(CHANNEL, ben),
        place.hooks.change(CHANNEL, ben, actor, webhook_id, "x", None),
        place.hooks.revoke(CHANNEL, ben, actor, webhook_id),
    ):
        with pytest.raises(Forbidden):
            await refused
    with pytest.raises(WebhookNotFound):
        await place.hooks.revoke(CHANNEL, ann, actor, uuid4())


async def test_a_token_ends_with_its_webhook_and_with_the_channel(place: Place) -> None:
    webhook_id, token = await place.hook()
    other_id, other_token = await place.hook()
    await place.hooks.revoke(CHANNEL, ann, Actor(ANN, "x", "user"), webhook_id)
    elsewhere = ChannelWebhooks(place.log, Channels(place.log), place.hooks._credentials)
    for hooks in (place.hooks, elsewhere):
        with pytest.raises(NotAuthenticated):
            await hooks.post(webhook_id, token, "hi")
    for wrong in ((other_id, token), (uuid4(), other_token), (other_id, ""), (other_id, "\ud83d")):
        with pytest.raises(NotAuthenticated):
            await place.hooks.post(*wrong, "hi")
    await place.do(ArchiveChannel(channel_id=CHANNEL, by=ann, archived=True))
    with pytest.raises(Forbidden):
        await place.hooks.post(other_id, other_token, "hi")
    await place.do(DeleteChannel(channel_id=CHANNEL, by=ann))
    with pytest.raises(NotAuthenticated):
        await place.hooks.post(other_id, other_token, "hi")


async def test_what_a_webhook_may_say_and_how_often_is_limited(place: Place) -> None:
    webhook_id, token = await place.hook()
    for content in ("", " \n", "x" * (CONTENT_CHARACTERS_MAX + 1)):
        with pytest.raises(BadRequest):
            await place.hooks.post(webhook_id, token, content)
    for _ in range(POSTS_MAX - 3):
        await place.hooks.post(webhook_id, token, "x" * 10)
    with pytest.raises(TooManyAttempts):
        await place.hooks.post(webhook_id, token, "one more")
    other_id, other_token = await place.hook()
    await place.hooks.post(other_id, other_token, "another's limit is its own")
    place.now_s += 60.0
    await place.hooks.post(webhook_id, token, "a minute later")


async def test_who_guesses_tokens_has_to_wait_and_nobody_else(place: Place) -> None:
    webhook_id, token = await place.hook()
    for _ in range(GUESSES_MAX):
        with pytest.raises(NotAuthenticated):
            await place.hooks.post(webhook_id, "guess", "hi", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await place.hooks.post(webhook_id, "guess", "hi", address="192.0.2.1")
    await place.hooks.post(webhook_id, token, "hi", address="192.0.2.2")


async def test_a_picture_is_an_address(place: Place) -> None:
    for picture in ("javascript:alert(1)", "http://example.org/x", "https://" + "x" * 3_000):
        with pytest.raises(BadRequest):
            await place.hook("CI", picture)
