"""``/ws/socket.io``: a page hears of its user's channels, goes on after a cut, and hears nothing more once it is not in one any more."""

import json
from typing import Any
from uuid import uuid4

import pytest

from api.dialects.open_webui.channel_offset import parse_offset
from tests.api.conftest import Running, User, on_one_and_two
from tests.api.dialects.open_webui.test_page_socket import Page, page_of

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def group(owner: User, *others: User) -> str:
    body = {"type": "group", "name": "room", "user_ids": [one.id for one in others]}
    answer = await owner.post("/api/v1/channels/create", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def say(who: User, channel_id: str, content: str, **more: Any) -> str:
    answer = await who.post(f"/api/v1/channels/{channel_id}/messages/post", {"content": content, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def change(who: User, channel_id: str, message_id: str, what: str, body: Any = None) -> None:
    path = f"/api/v1/channels/{channel_id}/messages/{message_id}/{what}"
    answer = await (who.http.delete(path) if what == "delete" else who.post(path, body))
    assert answer.status_code == 200, answer.text


async def about(page: Page, channel_id: str, kind: str, message_id: str | None = None, data: Any = None) -> None:
    said = {"channel_id": channel_id, "message_id": message_id, "data": {"type": kind, "data": data}}
    await page.send("42" + json.dumps(["events:channel", said]))


class ChannelPage:
    """What a page hears of channels, and the offset that its client keeps."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.heard: list[Any] = []
        self.offset: str | None = None

    async def next(self) -> Any:
        while True:
            text = await self.page.next()
            if text == "2":
                await self.page.send("3")
            if not text.startswith("42"):
                continue
            name, data, *more = json.loads(text[2:])
            self.offset = more[-1] if more else self.offset
            if name == "offset":
                return {"data": {"type": "offset"}}
            if name == "events:channel":
                self.heard.append(data)
                return data

    async def until(self, kind: str, content: str | None = None) -> Any:
        while True:
            envelope = await self.next()
            if envelope["data"]["type"] == kind and (content is None or envelope["data"]["data"]["content"] == content):
                return envelope

    async def follow(self, channel_id: str) -> None:
        """Returns once what happens in the channel reaches the page."""
        await about(self.page, channel_id, "last_read_at")
        while self.offset is None or not self.offset.startswith(channel_id):
            await self.next()

    def texts(self) -> list[tuple[str, str]]:
        return [(one["data"]["type"], one["data"]["data"].get("content", "")) for one in self.heard]


async def test_what_is_said_and_done_in_a_channel_is_heard_by_all_in_it(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    channel_id = await group(ada, bob)
    async with page_of(server, ada) as one, page_of(server, bob) as two:
        pages = [ChannelPage(one), ChannelPage(two)]
        for page in pages:
            await page.follow(channel_id)
        root = await say(ada, channel_id, "hello", temp_id="t1")
        reply = await say(bob, channel_id, "hi", parent_id=root)
        await change(ada, channel_id, root, "update", {"content": "hello all"})
        await change(bob, channel_id, root, "reactions/add", {"name": "tada"})
        await change(bob, channel_id, root, "reactions/remove", {"name": "tada"})
        await change(bob, channel_id, reply, "delete")
        last = await say(ada, channel_id, "bye", reply_to_id=root)
        for page in pages:
            end = await page.until("message", "bye")
            assert (end["data"]["data"]["id"], end["data"]["data"]["reply_to_message"]["content"]) == (last, "hello all")
            kinds = {one["data"]["type"] for one in page.heard}
            assert kinds >= {"message", "message:update", "message:delete", "message:reply"}
            by_id = {one["data"]["data"]["id"]: one["data"]["data"] for one in page.heard if "content" in one["data"]["data"]}
            assert (by_id[root]["content"], by_id[root]["reply_count"], by_id[root]["reactions"]) == ("hello all", 0, [])
            first = page.heard[0]
            assert (first["data"]["data"]["temp_id"], first["user"]["name"], first["channel"]["name"]) == ("t1", "Ada", "room")


async def test_a_page_that_was_cut_off_is_sent_what_it_lacks_the_oldest_first(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    channel_id = await group(ada, bob)
    async with page_of(server, bob) as before:
        page = ChannelPage(before)
        await page.follow(channel_id)
        root = await say(ada, channel_id, "heard")
        await page.until("message", "heard")
    await say(ada, channel_id, "missed 1")
    await change(ada, channel_id, root, "update", {"content": "changed"})
    gone = await say(ada, channel_id, "missed and gone")
    await change(ada, channel_id, gone, "delete")
    await say(ada, channel_id, "missed 2")
    async with page_of(server, bob, offset=page.offset) as after:
        again = ChannelPage(after)
        await again.until("message", "missed 2")
        await say(ada, channel_id, "new")
        await again.until("message", "new")
    said = [text for text in again.texts() if text[0] != "message:delete"]
    assert said == [("message", "missed 1"), ("message:update", "changed"), ("message", "missed 2"), ("message", "new")]
    assert page.offset is not None and again.offset is not None
    begun, ended = parse_offset(page.offset), parse_offset(again.offset)
    assert begun is not None and ended is not None and ended.cursor.number > begun.cursor.number


async def test_nobody_hears_of_a_channel_that_they_are_not_in(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    channel_id, own = await group(ada), await group(bob)
    forged = f"{channel_id}/{server.epoch}:0"
    async with page_of(server, bob, offset=forged) as one, page_of(server, None) as nobody:
        page = ChannelPage(one)
        for socket in (one, nobody):
            await about(socket, channel_id, "last_read_at")
            await about(socket, channel_id, "typing", data={"typing": True})
            await about(socket, str(uuid4()), "last_read_at")
            await about(socket, "no uuid", "last_read_at")
            await socket.send('42["events:channel",{"channel_id":7,"data":[]}]')
        await say(ada, channel_id, "secret")
        await page.follow(own)
        await say(bob, own, "mine")
        await page.until("message", "mine")
        assert {one["channel_id"] for one in page.heard} == {own}
        await nobody.send("2")
        assert await nobody.next() == "3"


async def test_removal_ends_it_at_once_and_coming_back_begins_it_anew(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    channel_id = await group(ada, bob)
    async with page_of(server, bob) as one, page_of(server, ada) as own:
        page, adas = ChannelPage(one), ChannelPage(own)
        await page.follow(channel_id)
        await adas.follow(channel_id)
        await say(ada, channel_id, "for both")
        await page.until("message", "for both")
        await ada.post(f"/api/v1/channels/{channel_id}/update/members/remove", {"user_ids": [bob.id]})
        await say(ada, channel_id, "for one")
        await adas.until("message", "for one")
        await page.until("channel:created")  # it reads its list anew
        await ada.post(f"/api/v1/channels/{channel_id}/update/members/add", {"user_ids": [bob.id]})
        await page.until("channel:created")
        await say(ada, channel_id, "for both again")
        await page.until("message", "for both again")
        assert "for one" not in json.dumps(page.heard)


async def test_who_types_is_heard_by_the_others_alone(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    channel_id = await group(ada, bob)
    async with page_of(server, ada) as one, page_of(server, bob) as two:
        typing, reading = ChannelPage(one), ChannelPage(two)
        await typing.follow(channel_id)
        await reading.follow(channel_id)
        for _ in range(200):  # one for each key
            await about(one, channel_id, "typing", data={"typing": True})
        envelope = await reading.until("typing")
        assert (envelope["message_id"], envelope["data"]["data"], envelope["user"]["name"]) == (None, {"typing": True}, "Ada")
        await about(one, channel_id, "typing", data={"typing": False})
        await say(bob, channel_id, "go on")
        await typing.until("message", "go on")
        await reading.until("message", "go on")
        assert [one["data"]["type"] for one in typing.heard] == ["message"]
        assert sum(one["data"]["type"] == "typing" for one in reading.heard) <= 2


async def test_a_model_that_is_mentioned_answers_in_the_channel(server: Running) -> None:
    ada = await server.sign_up()
    channel_id = await group(ada)
    async with page_of(server, ada) as one:
        page = ChannelPage(one)
        await page.follow(channel_id)
        await say(ada, channel_id, "<@M:demo:40|Demo> what now?")
        while "model_id" not in (answer := (await page.until("message"))["data"]["data"])["meta"]:
            pass
        shown = answer  # of events that come together each shows the message as it is after the last one
        while not shown["meta"].get("done"):
            shown = (await page.until("message:update"))["data"]["data"]
            assert shown["id"] == answer["id"]
    stored = (await ada.get(f"/api/v1/channels/{channel_id}/messages/{answer['id']}")).json()
    assert (shown["content"], shown["meta"]["model_id"]) == (stored["content"], "demo:40")
    texts = [one["data"]["data"]["content"] for one in page.heard if one["data"]["type"] == "message:update"]
    assert all(stored["content"].startswith(text) for text in texts)
