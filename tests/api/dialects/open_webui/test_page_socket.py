"""``/ws/socket.io``: a page's socket sees what its user may see, from where it joined, and nothing bad that it sends harms others."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.api.conftest import WAIT_S, Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


class Page:
    """A socket as the page opens it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Any] = []
        self.session_id = ""

    async def next(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return str(await self.socket.recv())

    async def send(self, text: str) -> None:
        await self.socket.send(text)

    async def about(self, chat_id: str, kind: str, ack: int | None = None) -> None:
        number = "" if ack is None else str(ack)
        await self.send(f"42{number}" + json.dumps(["events:chat", {"chat_id": chat_id, "data": {"type": kind}}]))

    async def until(self, kind: str) -> Any:
        """The next envelope of this type; all that came before it are in ``heard``."""
        while True:
            text = await self.next()
            if text.startswith('42["events",'):
                envelope = json.loads(text[2:])[1]
                self.heard.append(envelope)
                if envelope["data"]["type"] == kind:
                    return envelope
            elif text == "2":
                await self.send("3")

    async def done(self) -> Any:
        while True:
            envelope = await self.until("chat:completion")
            if envelope["data"]["data"].get("done"):
                return envelope

    async def closed(self) -> int:
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.socket.recv()
        assert self.socket.close_code is not None
        return self.socket.close_code


@contextlib.asynccontextmanager
async def page_of(
    server: Running, user: User | None, query: str = "EIO=4&transport=websocket", offset: str | None = None, **options: Any
) -> AsyncIterator[Page]:
    address = server.url.replace("http", "ws") + f"/ws/socket.io/?{query}"
    async with connect(address, **options) as socket:
        page = Page(socket)
        if query.startswith("EIO=4&transport=websocket"):
            opening = await page.next()
            assert opening.startswith('0{"sid":')
            page.session_id = json.loads(opening[1:])["sid"]
            kept = {"pid": "p", "offset": offset} if offset is not None else {}
            await page.send("40" + json.dumps({"token": user.token, **kept} if user is not None else {}))
            assert (await page.next()).startswith('40{"sid":')
        yield page


async def joined(page: Page, chat_id: str) -> None:
    await page.about(chat_id, "join", ack=1)
    while await page.next() != "431[true]":
        pass


async def test_an_answer_is_followed_from_where_the_page_joined(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:60")
    async with page_of(server, ada) as page:
        await joined(page, chat_id)
        end = await page.done()
        title = await page.until("chat:title")  # of a new chat, once the page has read its lists
    assert title["data"]["data"] == (await ada.get(f"/api/v1/chats/{chat_id}")).json()["title"]
    message = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"][begun["message_ids"][0]]
    assert (end["message_id"], end["data"]["data"]["content"]) == (message["id"], message["content"])
    texts = [one["data"]["data"]["content"] for one in page.heard if one["data"]["type"] == "chat:completion"]
    assert all(message["content"].startswith(text) for text in texts)


async def test_a_second_tab_sees_each_new_turn(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    async with page_of(server, ada) as one, page_of(server, ada) as two:
        await joined(one, chat_id)
        await joined(two, chat_id)
        await ada.ask(chat_id, "demo:3", "What now?")
        for page in (one, two):
            envelope = await page.until("chat:messages")
            assert envelope["shared"] is True
            assert "What now?" in [node.get("content") for node in envelope["data"]["data"]["messages"].values()]
            await page.done()


async def test_a_chat_that_a_page_leaves_is_read_up_to_there(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await bob.new_chat()
    await bob.post(f"/api/v1/chats/{chat_id}/access", {"user_id": ada.id, "permission": "read"})
    await server.settled()

    async def read_at() -> Any:
        return next(chat["last_read_at"] for chat in (await ada.get("/api/v1/chats/")).json() if chat["id"] == chat_id)

    async with page_of(server, ada) as page:
        await joined(page, chat_id)
        assert await read_at() is None
        await page.about(chat_id, "leave")
        read = (await page.until("chat:list"))["data"]["data"]
        assert (read["chat_id"], type(read["last_read_at"])) == (chat_id, int)
        async with asyncio.timeout(WAIT_S):
            while await read_at() is None:
                pass


async def test_only_the_chat_that_a_page_shows_is_left_and_read(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    shared, private = await bob.new_chat(), await bob.new_chat()
    await bob.post(f"/api/v1/chats/{shared}/access", {"user_id": ada.id, "permission": "read"})
    own = await ada.new_chat()
    await server.settled()  # no page is told later that this list has changed
    async with page_of(server, bob) as page, page_of(server, bob) as second, page_of(server, ada) as other:
        await joined(page, shared)
        await joined(second, private)
        await joined(other, own)
        for chat_id in (shared, private):
            for kind in ("leave", "last_read_at"):
                await other.about(chat_id, kind)
        await ada.ask(own, "demo:3")
        await other.done()  # it has not left its own chat
        # Of its list it may have been told meanwhile that its own chat has moved up: of nothing that was read.
        assert not [one for one in other.heard if one["data"]["type"] == "chat:list" and "last_read_at" in one["data"]["data"]]
        await other.about(own, "last_read_at")
        assert (await other.until("chat:list"))["chat_id"] == own
        async with asyncio.timeout(WAIT_S):
            while (read := {one["id"]: one["last_read_at"] for one in (await ada.get("/api/v1/chats/")).json()})[own] is None:
                pass
        assert read[shared] is None


async def test_nobody_hears_of_somebody_elses_chat(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    own = await bob.new_chat()
    async with page_of(server, bob) as page, page_of(server, None) as nobody:
        for one in (page, nobody):
            await one.about(chat_id, "join", ack=1)
            await one.about(chat_id, "typing")
            await one.about(chat_id, "last_read_at")
        await ada.ask(chat_id, "demo:3")
        await joined(page, own)  # the join of the other one was not acknowledged before
        await bob.ask(own, "demo:3")
        await page.done()
        assert {one["chat_id"] for one in page.heard} == {own}
        await nobody.send("2")
        assert await nobody.next() == "3"


async def test_an_anonymous_socket_is_signed_in_by_a_later_token(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    async with page_of(server, None) as page:
        await page.send("42" + json.dumps(["user-join", {"auth": {"token": "forged"}}]))
        await page.send("42" + json.dumps(["user-join", {"auth": {"token": ada.token}}]))
        await joined(page, chat_id)
        await page.send("42" + json.dumps(["user-join", {"auth": {"token": ada.token}}]))  # as each reconnect does, after its join
        await ada.ask(chat_id, "demo:3")
        await page.done()


async def test_access_ends_at_once(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    await server.settled()
    async with page_of(server, bob) as page, page_of(server, ada) as own:
        await joined(page, chat_id)
        await joined(own, chat_id)
        await ada.add(chat_id, "For both")
        await page.until("chat:messages")
        await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": None})
        await ada.add(chat_id, "For one")
        await own.until("chat:messages")
        await own.until("chat:messages")
        other = await bob.new_chat()
        await joined(page, other)
        assert "For one" not in json.dumps(page.heard)


async def test_a_sign_out_closes_the_socket(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id = await ada.new_chat()
        await joined(page, chat_id)
        assert (await ada.post("/api/v1/auths/signout")).status_code == 200
        assert await page.closed() == 4401


@pytest.mark.parametrize("sent", ["6", "450-[]", "42[1]", '42/admin,["x"]', "42" + "[" * 1000, b"\x04\x00"], ids=str)
async def test_a_packet_that_is_none_ends_the_socket_alone(server: Running, sent: Any) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as bad, page_of(server, ada) as good:
        await bad.socket.send(sent)
        assert await bad.closed() == 1008
        await good.send("2probe")
        assert await good.next() == "3probe"


async def test_what_nobody_asked_for_changes_nothing(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        for text in ('4399["x"]', '42["unknown",{}]', '42["events:chat"]', '42["events:chat",{"chat_id":7}]', '42["user-join",null]'):
            await page.send(text)
        await page.send('40/admin,{"token":"x"}')
        assert await page.next() == '44/admin,{"message":"Invalid namespace"}'
        chat_id = await ada.new_chat()
        await joined(page, chat_id)


async def test_only_the_transport_of_the_page_is_spoken(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, None, "EIO=3&transport=websocket") as page:
        assert await page.closed() == 1002
    polled = await ada.get("/ws/socket.io/", EIO="4", transport="polling")
    assert polled.status_code == 400


async def test_a_page_of_another_origin_is_refused(server: Running) -> None:
    ada = await server.sign_up()
    address = server.url.replace("http", "ws") + "/ws/socket.io/?EIO=4&transport=websocket"
    async with connect(address, origin="https://elsewhere.example") as socket:  # type: ignore[arg-type]
        assert await Page(socket).closed() == 1008
    assert ada.token
