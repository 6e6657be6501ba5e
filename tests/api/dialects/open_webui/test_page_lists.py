"""A page is told of what its user does elsewhere with their chats and channels, on every process, and others are not."""

import json
from typing import Any

import pytest

from tests.api.conftest import Running, on_one_and_two
from tests.api.dialects.open_webui.test_page_socket import Page, page_of

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def told(page: Page, name: str, kind: str) -> Any:
    """The next envelope of this event and type."""
    while True:
        text = await page.next()
        if text.startswith(f'42["{name}",'):
            envelope = json.loads(text[2:])[1]
            page.heard.append(envelope)
            if envelope["data"]["type"] == kind:
                return envelope


async def test_a_page_is_told_that_the_list_of_its_users_chats_has_changed(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    async with page_of(server, ada) as one, page_of(server, ada) as two, page_of(server, bob) as other:
        for page in (one, two, other):
            await page.send("2")
            while await page.next() != "3":
                pass
        chat_id = await ada.new_chat("Plans")
        for path, body in (("", {"chat": {"title": "Better plans"}}), ("/pin", None), ("/archive", None)):
            for page in (one, two):
                envelope = await told(page, "events", "chat:list")
                assert (envelope["chat_id"], envelope["data"]["data"]) == (chat_id, {"chat_id": chat_id})
            await ada.http.post(f"/api/v1/chats/{chat_id}{path}", json=body)
        await told(one, "events", "chat:list")
        theirs = await bob.new_chat("Bob's")
        assert (await told(other, "events", "chat:list"))["chat_id"] == theirs
        assert {envelope["chat_id"] for envelope in other.heard} == {theirs}


async def test_many_changes_at_once_are_told_a_few_times(server: Running) -> None:
    ada = await server.sign_up()
    chats = [await ada.new_chat(str(number)) for number in range(20)]
    async with page_of(server, ada) as page:
        await ada.http.post("/api/v1/chats/archive/all")
        await told(page, "events", "chat:list")
        last = await ada.new_chat("The last one")
        while (await told(page, "events", "chat:list"))["chat_id"] != last:
            pass
        assert len(page.heard) < len(chats) // 2


async def test_a_channel_that_is_muted_in_one_tab_is_so_in_the_others(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    body = {"type": "group", "name": "Our room", "user_ids": [bob.id]}
    channel_id = (await ada.post("/api/v1/channels/create", body)).json()["id"]
    async with page_of(server, ada) as page, page_of(server, bob) as other:
        for muted in (True, False):
            await ada.post(f"/api/v1/channels/{channel_id}/members/mute", {"is_channel_muted": muted})
            envelope = await told(page, "events:channel", "channel:mute")
            assert (envelope["channel_id"], envelope["data"]["data"]) == (channel_id, {"is_channel_muted": muted})
        await bob.post(f"/api/v1/channels/{channel_id}/members/mute", {"is_channel_muted": True})
        await told(other, "events:channel", "channel:mute")
        assert [envelope["data"]["type"] for envelope in other.heard].count("channel:mute") == 1
