"""What is said in a channel: ``/api/v1/channels/{id}/messages``, in the reference's paths, bodies and forms."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody

from api.channels.callers_channel import CallersChannel, ReadIn, provide_channel, provide_channel_to_post
from api.request.bodies import FIELDS_BYTES
from commands.channels.answers import ChannelAnswers
from commands.generation.runs import Runs
from domain.channel.commands import ChangeMessage, PinMessage, PostMessage, React, RemoveMessage
from domain.errors import BadRequest, NotAThread

PAGE: Final = 50
PAGE_MAX: Final = 200
SKIP_MAX: Final = 1_000_000
PINNED_PAGE: Final = 20
CONTENT_CHARACTERS_MAX: Final = 128 * 1024
Text = Annotated[str, msgspec.Meta(max_length=CONTENT_CHARACTERS_MAX)]
Name = Annotated[str, msgspec.Meta(max_length=10_000)]
Fields = dict[str, Any] | None


class PostIn(msgspec.Struct):
    content: Text = ""
    temp_id: Name | None = None
    id: Name | None = None  # the client's own; otherwise the server makes one
    parent_id: Name | None = None
    reply_to_id: Name | None = None
    data: Fields = None
    meta: Fields = None


class ContentIn(msgspec.Struct):
    """What is absent stays as it is; ``data`` and ``meta`` are merged key by key."""

    content: Text | None = None
    data: Fields = None
    meta: Fields = None


class ReactionIn(msgspec.Struct):
    name: Name


class PinnedIn(msgspec.Struct):
    is_pinned: bool


class ChannelMessagesController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/messages"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def page(
        self,
        channel: NamedDependency[CallersChannel],
        skip: FromQuery[int] = 0,
        limit: FromQuery[int] = PAGE,
        before: FromQuery[int | None] = None,
        at: FromQuery[str | None] = None,
    ) -> list[dict[str, Any]]:
        """The channel itself without its threads, the newest first. ``before``: below this version, so that no insert moves a page.

        ``at``: as it was at a version, a cursor or a time.
        """
        require_page(skip, limit)
        moment = await channel.reader.moment_of(channel.known, at)
        return settled(await channel.reader.page(channel.id, before=before, offset=skip, limit=limit, at=moment))

    @get("/pinned")
    async def pinned(
        self, channel: NamedDependency[CallersChannel], page: FromQuery[int] = 1, at: FromQuery[str | None] = None
    ) -> list[dict[str, Any]]:
        """What is pinned, 20 a page, pinned last first. ``at``: what was pinned then."""
        require_page((page - 1) * PINNED_PAGE, PINNED_PAGE)
        moment = await channel.reader.moment_of(channel.known, at)
        return settled(await channel.reader.pinned(channel.id, offset=(page - 1) * PINNED_PAGE, limit=PINNED_PAGE, at=moment))

    @post("/post", status_code=200, request_max_body_size=FIELDS_BYTES, dependencies={"channel": Provide(provide_channel_to_post)})
    async def add(
        self, data: JSONBody[PostIn], channel: NamedDependency[CallersChannel], channel_answers: NamedDependency[ChannelAnswers]
    ) -> dict[str, Any]:
        """Write a message. With an ``Idempotency-Key`` a retry is the same message.

        The models that it mentions, ``<@M:id|label>``, and the one that it replies to, answer. ``answers`` says which do, and why
        others do not.
        """
        if not data.content.strip() and not (data.data or {}).get("files"):
            raise BadRequest("expected content, or files in data", param="content")
        caller = channel.caller
        message_id, client_id = caller.new_id("channel message", data.id)
        command = PostMessage(
            channel_id=channel.id,
            by=channel.by,
            message_id=message_id,
            content=data.content,
            parent_id=caller.bound_or_none(data.parent_id),
            reply_to_id=caller.bound_or_none(data.reply_to_id),
            temp_id=data.temp_id,
            client_id=client_id,
            fields={name: value for name, value in (("data", data.data), ("meta", data.meta)) if value},
        )
        posted = await channel_answers.post(
            command,
            caller.actor,
            key=caller.key,
            expected_version=caller.expected_version,
            new_ids=caller.random_ids(message_id, data.id),
        )
        answers = {"answers": [msgspec.to_builtins(one) for one in posted.answers]} if posted.answers else {}
        made = await channel.reader.posted(command, caller.actor, posted.appended)
        return {**made, "position": posted.appended.position, **answers}

    @get("/{message_id:str}")
    async def message(
        self, message_id: FromPath[str], channel: NamedDependency[CallersChannel], at: FromQuery[str | None] = None
    ) -> dict[str, Any]:
        """One message of this channel. ``at``: as it was then."""
        moment = await channel.reader.moment_of(channel.known, at)
        return settled([await channel.reader.message(channel.id, channel.caller.bound(message_id), at=moment)])[0]

    @get("/{message_id:str}/data")
    async def message_data(self, message_id: FromPath[str], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """What else a message holds: its files."""
        data: dict[str, Any] = (await channel.message(channel.caller.bound(message_id)))["data"]
        return data

    @get("/{message_id:str}/thread")
    async def thread(
        self,
        message_id: FromPath[str],
        channel: NamedDependency[CallersChannel],
        skip: FromQuery[int] = 0,
        limit: FromQuery[int] = PAGE,
        before: FromQuery[int | None] = None,
        at: FromQuery[str | None] = None,
    ) -> list[dict[str, Any]]:
        """The replies to a message, the newest first, and at the end of the last page the message itself. ``at``: as it was then."""
        require_page(skip, limit)
        root_id = channel.caller.bound(message_id)
        moment = await channel.reader.moment_of(channel.known, at)
        replies = await channel.reader.page(channel.id, parent_id=root_id, before=before, offset=skip, limit=limit, at=moment)
        return settled(replies if len(replies) == limit else [*replies, await channel.reader.message(channel.id, root_id, at=moment)])

    @post("/{message_id:str}/read", status_code=200)
    async def read_thread(
        self, message_id: FromPath[str], channel: NamedDependency[CallersChannel], data: JSONBody[ReadIn | None] = None
    ) -> dict[str, Any]:
        """Mark the thread below a message as read up to ``version``, or all of it. It only moves forward, in all of one's tabs."""
        root = await channel.message(channel.caller.bound(message_id))
        if root["parent_id"] is not None:
            raise NotAThread(UUID(root["id"]))
        version = channel.read_version(data)
        appended = await channel.read_thread(UUID(root["id"]), version)
        return {"id": root["id"], "version": version, "position": appended.position}

    @post("/{message_id:str}/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(
        self, message_id: FromPath[str], data: JSONBody[ContentIn], channel: NamedDependency[CallersChannel]
    ) -> dict[str, Any]:
        """Edit a message (its author, or an admin). The log keeps what it said."""
        known_id = channel.caller.bound(message_id)
        fields = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not None}
        await channel.handle(ChangeMessage(channel_id=channel.id, by=channel.by, message_id=known_id, fields=fields))
        return settled([await channel.message(known_id)])[0]

    @delete("/{message_id:str}/delete", status_code=200)
    async def remove(self, message_id: FromPath[str], channel: NamedDependency[CallersChannel]) -> bool:
        """Delete a message (its author, or an admin). The log keeps what it said, and the replies in its thread stay."""
        await channel.handle(RemoveMessage(channel_id=channel.id, by=channel.by, message_id=channel.caller.bound(message_id)))
        return True

    @post("/{message_id:str}/stop", status_code=200)
    async def stop(self, message_id: FromPath[str], channel: NamedDependency[CallersChannel], runs: NamedDependency[Runs]) -> bool:
        """Stop the answer that a model is giving (who asked for it, or who manages the channel); what it has said is kept. False: it
        had ended already."""
        known_id = channel.caller.bound(message_id)
        return await runs.stop(await channel.stoppable(known_id), known_id, channel.caller.user_id)

    @post("/{message_id:str}/pin", status_code=200)
    async def pin(self, message_id: FromPath[str], data: JSONBody[PinnedIn], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """Pin a message, or not any more (who may write)."""
        known_id = channel.caller.bound(message_id)
        await channel.handle(PinMessage(channel_id=channel.id, by=channel.by, message_id=known_id, pinned=data.is_pinned))
        return settled([await channel.message(known_id)])[0]

    @post("/{message_id:str}/reactions/add", status_code=200)
    async def add_reaction(self, message_id: FromPath[str], data: JSONBody[ReactionIn], channel: NamedDependency[CallersChannel]) -> bool:
        """React to a message; once by each name."""
        return await react(channel, message_id, data.name, present=True)

    @post("/{message_id:str}/reactions/remove", status_code=200)
    async def remove_reaction(
        self, message_id: FromPath[str], data: JSONBody[ReactionIn], channel: NamedDependency[CallersChannel]
    ) -> bool:
        """Take one's own reaction away."""
        return await react(channel, message_id, data.name, present=False)


async def react(channel: CallersChannel, message_id: str, name: str, *, present: bool) -> bool:
    known_id = channel.caller.bound(message_id)
    await channel.handle(React(channel_id=channel.id, by=channel.by, message_id=known_id, name=name, present=present))
    return True


def settled(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the sender's page called them until they had an id: with it a page takes a message for one that is still being sent."""
    return [{**one, "temp_id": None} for one in messages]


def require_page(skip: int, limit: int) -> None:
    if not (0 <= skip <= SKIP_MAX and 1 <= limit <= PAGE_MAX):
        raise BadRequest(f"expected skip from 0 to {SKIP_MAX} and limit from 1 to {PAGE_MAX}, received {skip} and {limit}")
