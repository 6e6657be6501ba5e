"""``Client``: everything a program does with a Stenograph server, and ``follow`` before all."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, overload
from uuid import uuid4

import httpx
import msgspec

from stenograph_client.backoff import Backoff
from stenograph_client.calls import Call, CallWatch, OnCall
from stenograph_client.channel import Channel
from stenograph_client.connection import BUFFER_ITEMS, PATIENCE_S, Connection, Handshake, State
from stenograph_client.events import CaughtUp, Event, Item, WireEvent
from stenograph_client.http import Credentials, Http, TokenSource
from stenograph_client.session import EpochChange
from stenograph_client.sse import follow_sse

Transport = Literal["websocket", "sse"]

PAGE_EVENTS: Final = 1000
RETRY_S: Final = 10.0
NO_CURSORS: Final[Mapping[str, str]] = {}


class Account(msgspec.Struct, frozen=True):
    id: str
    name: str
    email: str
    role: str
    token: str = ""
    expires_at: float | None = None  # seconds since 1970


class Begun(msgspec.Struct, frozen=True):
    """A turn that runs on the server. ``Client.answer`` gives its events."""

    chat_id: str
    message_id: str
    task_id: str
    version: int  # the chat's before anything of this turn
    message_ids: Sequence[str] = ()
    task_ids: Sequence[str] = ()

    @property
    def stream(self) -> str:
        return f"chat/{self.chat_id}"


class Page(msgspec.Struct, frozen=True):
    epoch: str
    head: int
    events: Sequence[Event]
    next: str  # the cursor after this page


class _WirePage(msgspec.Struct, frozen=True):
    epoch: str
    head: int
    events: Sequence[WireEvent]
    next: str | int | None = None


class Client:
    """``async with Client("http://localhost:8080", token=…) as client``.

    Signs in with a ``token``, an ``api_key``, ``email`` and ``password`` (a fresh token is fetched when one ends), or whatever
    ``token_source`` returns. ``retry_s`` bounds for how long a request without an answer is repeated. ``on_state`` is told when the
    connection of the follows is lost and back.

    >>> async with Client("http://localhost:8080", email="ada@example.org", password="correct horse battery") as client:
    ...     print((await client.me()).name)
    Ada
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8080",
        *,
        token: str | None = None,
        api_key: str | None = None,
        email: str | None = None,
        password: str | None = None,
        token_source: TokenSource | None = None,
        transport: Transport = "websocket",
        handshake: Handshake = "header",
        retry_s: float = RETRY_S,
        buffer_items: int = BUFFER_ITEMS,
        patience_s: float = PATIENCE_S,
        backoff: Callable[[], Backoff] = Backoff,
        on_state: Callable[[State], None] | None = None,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if (email is None) != (password is None):
            raise ValueError("expected email and password together")
        if token_source is None and email is not None and password is not None:
            token_source = self._token_by_password
        self._email, self._password = email, password
        self.credentials = Credentials(token or api_key, token_source)
        self.http = Http(base_url, self.credentials, retry_s=retry_s, transport=http_transport)
        self.on_state: Callable[[State], None] = on_state or (lambda _: None)
        self._transport = transport
        self.new_backoff = backoff
        self._connection = Connection(
            self.http,
            handshake=handshake,
            backoff=backoff(),
            buffer_items=buffer_items,
            patience_s=patience_s,
            on_state=lambda state: self.on_state(state),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the socket and every connection."""
        await self._connection.aclose()
        await self.http.aclose()

    async def _token_by_password(self) -> str:
        assert self._email is not None and self._password is not None
        return (await self._enter("signin", {"email": self._email, "password": self._password})).token

    # ---------------------------------------------------------------------------------------------------------- follow

    @overload
    def follow(self, stream: str, after: str = "start", *, transport: Transport | None = None) -> AsyncGenerator[Event, None]: ...

    @overload
    def follow(
        self,
        stream: str,
        after: str = "start",
        *,
        snapshot: bool = False,
        epoch_change: EpochChange = "raise",
        caught_up: bool = False,
        signals: bool = False,
        transport: Transport | None = None,
    ) -> AsyncGenerator[Item, None]: ...

    async def follow(
        self,
        stream: str,
        after: str = "start",
        *,
        snapshot: bool = False,
        epoch_change: EpochChange = "raise",
        caught_up: bool = False,
        signals: bool = False,
        transport: Transport | None = None,
    ) -> AsyncGenerator[Item, None]:
        """Each event of ``stream`` exactly once, in order, for ever, whatever happens to the connection.

        ``after`` is ``start``, ``now`` or a cursor that was saved (``event.cursor``). With ``snapshot`` the stream's state comes first,
        as a ``Snapshot``, then what follows it. When the server's history is not the cursor's any more, ``epoch_change`` decides:
        ``raise`` an ``EpochChanged``, or yield the new history's ``snapshot``. With ``caught_up`` a ``CaughtUp`` marks where replay ends.
        With ``signals``, over WebSocket, a ``Signal`` says that somebody types.
        A consumer that is slower than the server slows it down; nothing is dropped. Leave the loop, or close the generator, to end it.

        Raises ``EpochChanged``, ``AccessEnded``, ``SubscriptionRefused``, ``GapNotRepaired``, ``AlreadyFollowed``,
        ``ConnectionStopped``, ``NotSignedIn``, and ``ValueError`` for a malformed cursor. Never for a lost connection.

        A program that stopped after an event goes on behind it:

        >>> chat = await client.new_chat("Notes")
        >>> for text in ["first", "second", "third"]:
        ...     added = await client.add_message(chat["id"], "user", text)
        >>> stream = f"chat/{chat['id']}"
        >>> async with aclosing(client.follow(stream, after="start")) as events:
        ...     async for event in events:
        ...         if event.type == "message_added" and event.data["content"] == "second":
        ...             break
        >>> async with aclosing(client.follow(stream, after=event.cursor)) as events:
        ...     print((await anext(events)).data["content"])
        third
        """
        items = (
            self._sse(stream, after, snapshot, epoch_change)
            if self._is_sse(transport)
            else self._ws(stream, after, snapshot, epoch_change, signals)
        )
        try:
            async for item in items:
                if caught_up or not isinstance(item, CaughtUp):
                    yield item
        finally:
            await items.aclose()

    async def follow_channels(
        self,
        cursors: Mapping[str, str] = NO_CURSORS,
        *,
        snapshot: bool = False,
        epoch_change: EpochChange = "raise",
        caught_up: bool = False,
        signals: bool = False,
    ) -> AsyncGenerator[Item, None]:
        """What happens in every channel that this account may read, over one WebSocket, for ever: also in those that it joins later.

        Each item says by ``stream`` which channel it is of; within a channel each event comes exactly once and in order. ``cursors`` holds
        for each channel's stream the cursor of the last event that was applied: a channel goes on from there. A channel that is not in it
        begins now, or with ``snapshot`` with its state. A ``ChannelLeft`` ends a channel that may not be read any more.
        The other options, and what is raised, are those of ``follow``; ``AccessEnded`` is not raised.

        >>> channel = await client.create_channel("Friends")
        >>> posted = await channel.post("Hello")
        >>> async with aclosing(client.follow_channels({channel.stream: "start"})) as items:
        ...     async for item in items:
        ...         if item.stream == channel.stream and item.type == "message":
        ...             break
        >>> item.data["content"]
        'Hello'
        """
        channels = await self._connection.follow_channels(cursors, snapshot=snapshot, epoch_change=epoch_change, signals=signals)
        try:
            while True:
                item = await self._connection.next(channels)
                if caught_up or not isinstance(item, CaughtUp):
                    yield item
        finally:
            await self._connection.leave(channels)

    def _is_sse(self, transport: Transport | None) -> bool:
        return (transport or self._transport) == "sse"

    def _sse(self, stream: str, after: str, snapshot: bool, epoch_change: EpochChange) -> AsyncGenerator[Item, None]:
        return follow_sse(
            self.http,
            stream,
            after,
            snapshot=snapshot,
            epoch_change=epoch_change,
            backoff=self.new_backoff(),
            on_state=lambda state: self.on_state(state),
        )

    async def _ws(self, stream: str, after: str, snapshot: bool, epoch_change: EpochChange, signals: bool) -> AsyncGenerator[Item, None]:
        track = await self._connection.follow(stream, after, snapshot=snapshot, epoch_change=epoch_change, signals=signals)
        try:
            while True:
                yield await self._connection.next(track)
        finally:
            await self._connection.leave(track)

    async def events(self, stream: str, after: str = "start", *, types: Sequence[str] = ()) -> AsyncIterator[Event]:
        """The events that are there now, page by page over HTTP. Raises ``ApiError``, ``CursorGone``, ``ServerUnreachable``.

        >>> chat = await client.new_chat("Notes")
        >>> [event.type async for event in client.events(f"chat/{chat['id']}")]
        ['chat_created']
        """
        while True:
            page = await self.page(stream, after, types=types)
            for event in page.events:
                yield event
            if page.next == after or int(page.next.rpartition(":")[2]) >= page.head:
                return
            after = page.next

    async def page(self, stream: str, after: str = "start", *, limit: int = PAGE_EVENTS, types: Sequence[str] = ()) -> Page:
        """One page of a stream. Raises as ``events`` does."""
        params: dict[str, str | int] = {"after": after, "limit": limit}
        if types:
            params["types"] = ",".join(types)
        raw = msgspec.convert(await self.http.get(f"/api/v1/streams/{stream}/events", **params), _WirePage)
        events = [event.seen_in(raw.epoch) for event in raw.events]
        last = events[-1].cursor if events else after
        following = str(raw.next) if raw.next is not None else last
        return Page(
            raw.epoch, raw.head, events, following if ":" in following or following in ("start", "now") else f"{raw.epoch}:{following}"
        )

    # --------------------------------------------------------------------------------------------------------- accounts

    async def sign_up(self, name: str, email: str, password: str) -> Account:
        """Make an account and use it from now on; the first one of a server is its admin."""
        account = await self._enter("signup", {"name": name, "email": email, "password": password})
        self.credentials.token = account.token
        return account

    async def sign_in(self, email: str, password: str) -> Account:
        """Use this account from now on. Raises ``NotSignedIn`` or ``ApiError`` for a wrong password."""
        account = await self._enter("signin", {"email": email, "password": password})
        self.credentials.token = account.token
        return account

    async def me(self) -> Account:
        """Who this client is signed in as."""
        return msgspec.convert(await self.http.get("/api/v1/auths/"), Account)

    async def add_user(self, name: str, email: str, password: str, role: str = "user") -> Account:
        """Make an account for somebody else (admin)."""
        body = {"name": name, "email": email, "password": password, "role": role}
        return msgspec.convert(await self.http.post("/api/v1/auths/add", body), Account)

    async def _enter(self, door: str, body: Mapping[str, str]) -> Account:
        return msgspec.convert(await self.http.post(f"/api/v1/auths/{door}", body, signed=False), Account)

    # ------------------------------------------------------------------------------------------------------------ chats

    async def models(self) -> list[dict[str, Any]]:
        """The models that can be asked now; each has an ``id``."""
        answer = await self.http.get("/api/models")
        found = answer.get("data", []) if isinstance(answer, dict) else answer
        return list(found)

    async def chats(self, page: int | None = None, *, folder_id: str | None = None) -> list[dict[str, Any]]:
        """The chats of this account, or of one folder and those below it, newest first; ``page`` counts from 1."""
        query: dict[str, Any] = {} if page is None else {"page": page}
        if folder_id is not None:
            return list(await self.http.get(f"/api/v1/chats/folder/{folder_id}", **query))
        return list(await self.http.get("/api/v1/chats/", include_pinned=True, include_folders=True, **query))

    async def folders(self) -> list[dict[str, Any]]:
        """The folders of this account; ``parent_id`` says how they stand in each other."""
        return list(await self.http.get("/api/v1/folders/"))

    async def search(self, text: str, page: int = 1) -> list[dict[str, Any]]:
        """The chats in which it is found, the one that changed last first, with a ``snippet`` and the ``message_id`` of the newest hit.

        Raises ``ApiError``: 400 for a token with a value that it does not have.
        """
        return list(await self.http.get("/api/v1/chats/search", text=text, page=page))

    async def new_chat(self, title: str | None = None, **keys: Any) -> dict[str, Any]:
        """A chat, with its ``id`` and ``version``. Other keys (models, params …) are kept.

        >>> chat = await client.new_chat("Notes", tags=["later"])
        >>> chat["title"], chat["version"]
        ('Notes', 2)
        """
        return dict(await self.http.post("/api/v1/chats/new", {"chat": {**({} if title is None else {"title": title}), **keys}}))

    async def chat(self, chat_id: str) -> dict[str, Any]:
        """The chat as it is now, with its ``version``. Raises ``ApiError``: 401 or 404 if it is not there, or not yours."""
        return dict(await self.http.get(f"/api/v1/chats/{chat_id}"))

    async def delete_chat(self, chat_id: str) -> None:
        """Delete a chat; what runs in it is stopped first."""
        await self.http.request("DELETE", f"/api/v1/chats/{chat_id}")

    async def add_message(
        self,
        chat_id: str,
        role: str,
        content: Any,
        *,
        message_id: str | None = None,
        parent_id: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A message that asks no model. Returns its ``message_id`` and the chat's ``version``.

        >>> chat = await client.new_chat("Notes")
        >>> added = await client.add_message(chat["id"], "user", "Buy bread")
        >>> (await client.chat(chat["id"]))["version"] == added["version"]
        True
        """
        body = {"role": role, "content": content, "id": message_id, "parent_id": parent_id, "fields": dict(fields or {})}
        return dict(await self.http.post(f"/api/v1/chats/{chat_id}/messages", body))

    async def complete(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]] = (),
        *,
        chat_id: str | None = None,
        session_id: str | None = None,
        idempotency_key: str | None = None,
        **keys: Any,
    ) -> Begun:
        """Begin an answer, which then runs by itself: it goes on when this client leaves, and ``stop`` stops it.

        ``messages`` may be empty when the chat holds them. Other keys are those of the request (``parent_id``, ``user_message``, ``id``,
        ``params`` …). Raises ``ApiError``, such as for an unknown model.
        """
        body: dict[str, Any] = {"model": model, "messages": list(messages), "session_id": session_id or uuid4().hex, "stream": True, **keys}
        if chat_id is not None:
            body["chat_id"] = chat_id
        return msgspec.convert(await self.http.post("/api/chat/completions", body, idempotency_key=idempotency_key), Begun)

    async def continue_answer(
        self, chat_id: str, message_id: str, *, model: str | None = None, idempotency_key: str | None = None, **keys: Any
    ) -> Begun:
        """Go on with an answer that was cut off: interrupted, stopped, failed, or at its limit. ``model``: another one than before.

        The new answer stands beside the old one, begins with its text, and names it in ``continues``. Other keys are those of the request
        (``params``, ``id``). Raises ``ApiError``: 409 while the old answer is being written, 400 where it has no text.

        >>> begun = await client.complete("demo:1000", [{"role": "user", "content": "Hello"}])
        >>> async for event in client.answer(begun):
        ...     if event.type == "message_delta":
        ...         break
        >>> await client.stop(begun.task_id)
        True
        >>> more = await client.continue_answer(begun.chat_id, begun.message_id, model="demo:3")
        >>> [event.type async for event in client.answer(more)][-1]
        'message_end'
        """
        body = {**keys, **({} if model is None else {"model": model})}
        path = f"/api/v1/chats/{chat_id}/messages/{message_id}/continue"
        return msgspec.convert(await self.http.post(path, body, idempotency_key=idempotency_key), Begun)

    async def answer(self, begun: Begun, *, on_call: OnCall | None = None, session_id: str | None = None) -> AsyncGenerator[Event, None]:
        """The events of one turn, until all of its answers have ended. Raises as ``follow`` does, and what ``on_call`` raises.

        ``on_call(call)`` is asked what the person answers when the server asks them something; ``UNANSWERED`` leaves it to their other
        clients. It is cancelled when one of those is quicker. ``session_id`` is what ``complete`` was given: its calls come here first.

        >>> begun = await client.complete("demo:3", [{"role": "user", "content": "Hello"}])
        >>> [event.type async for event in client.answer(begun)][-1]
        'message_end'
        """
        waiting = set(begun.message_ids or [begun.message_id])
        after = f"{await self.epoch(begun.stream)}:{begun.version}" if begun.version else "start"
        events = self.follow(begun.stream, after)
        calls = CallWatch(self, on_call, session_id=session_id, backoff=self.new_backoff) if on_call is not None else None
        watched = calls.watch(events) if calls is not None else events
        try:
            async for event in watched:
                yield event
                if event.message_id in waiting and event.type in ENDS:
                    waiting.discard(event.message_id)
                    if not waiting:
                        return
        finally:
            await watched.aclose()
            if calls is not None:
                await calls.aclose()
            await events.aclose()

    # ------------------------------------------------------------------------------------------------------------ calls

    async def calls(self, chat_id: str) -> list[Call]:
        """The server's questions to this person in a chat that wait for an answer, the oldest first.

        >>> chat = await client.new_chat("Notes")
        >>> await client.calls(chat["id"])
        []
        """
        return msgspec.convert(await self.http.get(f"/api/v1/chats/{chat_id}/calls"), list[Call])

    async def call(self, chat_id: str, call_id: str) -> Call:
        """One of them, also when it is over, with its whole question. Raises ``NotFound`` where another person was asked."""
        return msgspec.convert(await self.http.get(f"/api/v1/chats/{chat_id}/calls/{call_id}"), Call)

    async def answer_call(self, chat_id: str, call_id: str, data: Any) -> None:
        """Answer a call. Raises ``Conflict`` where it is over, with the code ``call_answered`` or ``call_expired``, and ``NotFound``."""
        await self.http.post(f"/api/v1/chats/{chat_id}/calls/{call_id}/answer", {"data": data})

    # --------------------------------------------------------------------------------------------------------- channels

    def channel(self, channel_id: str) -> Channel:
        """What is done in one channel. Nothing is asked of the server yet."""
        return Channel(self, channel_id)

    async def channels(self) -> list[dict[str, Any]]:
        """The channels of this account with what is unread of each, the one with the newest message first."""
        return list(await self.http.get("/api/v1/channels/"))

    async def create_channel(
        self, name: str, *, kind: Literal["standard", "group"] = "group", user_ids: Sequence[str] = (), **keys: Any
    ) -> Channel:
        """A group of these people and this account, or a standard channel (admin). Other keys are those of the request.

        >>> channel = await client.create_channel("Friends")
        >>> [one["name"] for one in await client.channels() if one["id"] == channel.id]
        ['Friends']
        """
        people = {"user_ids": list(user_ids)} if kind == "group" else {}
        made = await self.http.post("/api/v1/channels/create", {"name": name, "type": kind, **people, **keys})
        return Channel(self, made["id"])

    async def dm(self, user_id: str) -> Channel:
        """The dm with this person, made where there is none."""
        return Channel(self, (await self.http.get(f"/api/v1/channels/users/{user_id}"))["id"])

    async def say(self, frame: Mapping[str, Any], *, about: str) -> None:
        """Send a frame of the protocol over the socket, about a stream that is followed now; where it is not, nothing is sent."""
        await self._connection.say(frame, about)

    async def epoch(self, stream: str) -> str:
        """The history that the server has now."""
        return (await self.page(stream, "now", limit=1)).epoch

    async def stop(self, task_id: str) -> bool:
        """Stop an answer; what it has said is kept. Raises ``NotFound`` if it does not run (any more).

        >>> begun = await client.complete("demo:1000", [{"role": "user", "content": "Hello"}])
        >>> await client.stop(begun.task_id)
        True
        >>> [event.type async for event in client.answer(begun)][-1]
        'cancelled'
        """
        answer = await self.http.post(f"/api/tasks/stop/{task_id}")
        return bool(answer.get("status")) if isinstance(answer, dict) else bool(answer)


ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})
