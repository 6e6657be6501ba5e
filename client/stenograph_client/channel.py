"""One channel: what a person does in it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from stenograph_client.calls import Call, CallWatch, OnCall, until_answered
from stenograph_client.channel_view import Message
from stenograph_client.events import CaughtUp, Item, Snapshot

if TYPE_CHECKING:
    from stenograph_client.client import Client


class Channel:
    """Made by ``Client.channel``. Every method raises ``ApiError``: 403 where the account may not, 404 where there is no such message."""

    def __init__(self, client: "Client", channel_id: str) -> None:
        self._client = client
        self.id = channel_id
        self._path = f"/api/v1/channels/{channel_id}"

    @property
    def stream(self) -> str:
        return f"channel/{self.id}"

    async def get(self) -> dict[str, Any]:
        """The channel as it is now, with what is unread of it and whether the account may write."""
        return dict(await self._client.http.get(f"{self._path}/"))

    async def members(self, page: int = 1) -> list[dict[str, Any]]:
        """Who is in it, 30 a page, and whether they are connected now (``is_active``)."""
        return list((await self._client.http.get(f"{self._path}/members", page=page))["users"])

    # -------------------------------------------------------------------------------------------------------- messages

    async def post(
        self,
        content: str,
        *,
        parent_id: str | None = None,
        reply_to_id: str | None = None,
        temp_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Message:
        """Write a message: with ``parent_id`` in the thread below that one, with ``reply_to_id`` quoting that one.

        A retry, by this method or with the same ``idempotency_key``, is the same message.

        >>> channel = await client.create_channel("Friends")
        >>> first = await channel.post("Lunch?")
        >>> reply = await channel.post("At noon.", parent_id=first["id"])
        >>> [message["content"] for message in await channel.thread(first["id"])]
        ['At noon.', 'Lunch?']
        """
        body = {"content": content, "parent_id": parent_id, "reply_to_id": reply_to_id, "temp_id": temp_id, "data": data}
        given = {name: value for name, value in body.items() if value is not None}
        return dict(await self._client.http.post(f"{self._path}/messages/post", given, idempotency_key=idempotency_key))

    async def edit(self, message_id: str, content: str) -> Message:
        return dict(await self._client.http.post(f"{self._path}/messages/{message_id}/update", {"content": content}))

    async def delete(self, message_id: str) -> None:
        """The replies in its thread stay."""
        await self._client.http.request("DELETE", f"{self._path}/messages/{message_id}/delete")

    async def react(self, message_id: str, name: str, *, present: bool = True) -> None:
        """React to a message; with ``present`` false take the reaction away."""
        await self._client.http.post(f"{self._path}/messages/{message_id}/reactions/{'add' if present else 'remove'}", {"name": name})

    async def pin(self, message_id: str, *, pinned: bool = True) -> None:
        await self._client.http.post(f"{self._path}/messages/{message_id}/pin", {"is_pinned": pinned})

    async def messages(self, *, before: int | None = None, limit: int = 50) -> list[Message]:
        """The channel itself without its threads, the newest first. ``before``: a ``created_version``."""
        query: dict[str, int] = {"limit": limit} if before is None else {"limit": limit, "before": before}
        return list(await self._client.http.get(f"{self._path}/messages/", **query))

    async def thread(self, message_id: str, *, limit: int = 200) -> list[Message]:
        """The replies to a message, the newest first, and at the end the message itself."""
        return list(await self._client.http.get(f"{self._path}/messages/{message_id}/thread", limit=limit))

    async def pinned(self) -> list[Message]:
        return list(await self._client.http.get(f"{self._path}/messages/pinned"))

    # ------------------------------------------------------------------------------------------------------------ live

    def follow(
        self,
        after: str = "start",
        *,
        snapshot: bool = False,
        caught_up: bool = False,
        signals: bool = False,
        on_call: OnCall | None = None,
    ) -> AsyncGenerator[Item, None]:
        """As ``Client.follow``. ``ChannelView`` makes the channel of what comes; with ``signals`` others' typing comes too.

        ``on_call`` is asked what this person answers to the questions of functions, as by ``Client.answer``: also to those that were open
        before ``after``. What it raises is raised here.
        """
        if on_call is None:
            return self._client.follow(self.stream, after, snapshot=snapshot, caught_up=caught_up, signals=signals)
        return self._answering(on_call, after, snapshot=snapshot, caught_up=caught_up, signals=signals)

    async def _answering(
        self, on_call: OnCall, after: str, *, snapshot: bool, caught_up: bool, signals: bool
    ) -> AsyncGenerator[Item, None]:
        me = await until_answered(self._client.me, self._client.new_backoff())
        calls = CallWatch(ChannelAnswers(self), on_call, user_id=me.id, backoff=self._client.new_backoff)
        items = self._client.follow(self.stream, after, snapshot=snapshot, caught_up=True, signals=signals)
        watched = calls.watch(items)
        is_listed = after == "start" and not snapshot  # all events come, those of open calls among them
        try:
            async for item in watched:
                # The events of what was asked before a snapshot, or before the cursor, do not come.
                if isinstance(item, Snapshot) or (isinstance(item, CaughtUp) and not is_listed):
                    is_listed = True
                    calls.begin_listed(self.id, self.calls)
                if caught_up or not isinstance(item, CaughtUp):
                    yield item
        finally:
            await watched.aclose()
            await calls.aclose()
            await items.aclose()

    # ----------------------------------------------------------------------------------------------------------- calls

    async def calls(self) -> list[Call]:
        """The questions of functions to this person in the channel that wait for an answer, the oldest first."""
        return msgspec.convert(await self._client.http.get(f"{self._path}/calls"), list[Call])

    async def call(self, call_id: str) -> Call:
        """One of them, also when it is over. Raises ``NotFound`` where another person was asked."""
        return msgspec.convert(await self._client.http.get(f"{self._path}/calls/{call_id}"), Call)

    async def answer_call(self, call_id: str, data: Any) -> None:
        """Answer a call; only the function hears what. Raises ``Conflict`` where it is over, and ``NotFound``."""
        await self._client.http.post(f"{self._path}/calls/{call_id}/answer", {"data": data})

    async def typing(self, typing: bool = True, *, thread_id: str | None = None) -> None:
        """Say that the person types, or not any more. It goes over the socket of a follow of this channel; without one nothing is said."""
        await self._client.say({"op": "typing", "stream": self.stream, "typing": typing, "message_id": thread_id}, about=self.stream)

    async def seen(self, version: int, *, thread_id: str | None = None) -> None:
        """As ``read``, or ``read_thread`` with the thread's first message, over the socket of a follow of this channel: for every message
        that is shown. Without a follow nothing is said.
        """
        about = {} if thread_id is None else {"message_id": thread_id}
        await self._client.say({"op": "read", "stream": self.stream, "version": version, **about}, about=self.stream)

    async def read(self, version: int | None = None) -> None:
        """Mark the channel as read up to this version; None: all that there is."""
        await self._client.http.post(f"{self._path}/read", {"version": version})

    async def read_thread(self, message_id: str, version: int | None = None) -> None:
        await self._client.http.post(f"{self._path}/messages/{message_id}/read", {"version": version})

    # ---------------------------------------------------------------------------------------------------------- people

    async def add_members(self, user_ids: Sequence[str]) -> None:
        await self._client.http.post(f"{self._path}/update/members/add", {"user_ids": list(user_ids)})

    async def remove_members(self, user_ids: Sequence[str]) -> None:
        await self._client.http.post(f"{self._path}/update/members/remove", {"user_ids": list(user_ids)})

    async def leave(self) -> None:
        await self._client.http.post(f"{self._path}/leave")


class ChannelAnswers:
    """``Answers`` of one channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(self, _channel_id: str, call_id: str, /) -> Call:
        return await self._channel.call(call_id)

    async def answer_call(self, _channel_id: str, call_id: str, data: Any, /) -> None:
        await self._channel.answer_call(call_id, data)
