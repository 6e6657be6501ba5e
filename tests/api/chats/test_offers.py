"""A share is an offer: its receiver hides it, leaves it or blocks its sender, and no sender fills a list."""

import asyncio
from typing import Any

import pytest

from domain.accounts.user.decide import OFFERS_OF_ONE_MAX
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def share(owner: User, chat_id: str, user: User, permission: str | None = "read") -> Any:
    return await owner.post(f"/api/v1/chats/{chat_id}/access", {"user_id": user.id, "permission": permission})


async def shared(owner: User, user: User, title: str = "A chat") -> str:
    chat_id = await owner.new_chat(title)
    await owner.add(chat_id, f"words of {title}")
    assert (await share(owner, chat_id, user)).status_code == 200
    return chat_id


async def listed(server: Running, user: User) -> list[str]:
    await server.settled()  # others have written what this person reads
    return [chat["title"] for chat in (await user.get("/api/v1/chats/")).json()]


async def found(server: Running, user: User, text: str) -> list[str]:
    await server.settled()
    return [chat["title"] for chat in (await user.get("/api/v1/chats/search", text=text)).json()]


async def done(answer: Any) -> None:
    assert (answer.status_code, answer.json()) == (200, True), answer.text


async def test_a_hidden_chat_is_in_no_list_and_no_search_and_can_still_be_read(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    await bob.new_chat("Bob's own")
    chat_id = await shared(ada, bob, "Plans")
    assert await listed(server, bob) == ["Plans", "Bob's own"]
    assert await found(server, bob, "words") == ["Plans"]
    for _ in range(2):
        await done(await bob.post(f"/api/v1/chats/{chat_id}/hide"))
    assert await listed(server, bob) == ["Bob's own"]
    assert await found(server, bob, "words") == await found(server, bob, "shared:true words") == []
    assert [chat["id"] for chat in (await bob.get("/api/v1/chats/hidden")).json()] == [chat_id]
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 200
    assert await listed(server, ada) == ["Plans"], "it is the receiver's list alone"
    events = (await ada.get(f"/api/v1/streams/chat/{chat_id}/events")).json()["events"]
    assert [event["user"]["id"] for event in events] == [ada.id] * len(events), "the sender is not told"
    for _ in range(2):
        await done(await bob.http.delete(f"/api/v1/chats/{chat_id}/hide"))
    assert await listed(server, bob) == ["Plans", "Bob's own"]
    assert (await bob.get("/api/v1/chats/hidden")).json() == []


async def test_who_leaves_has_no_access_any_more_and_their_streams_end(server: Running) -> None:
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    chat_id = await shared(ada, bob, "Plans")
    wire = await server.connect(bob)
    await wire.say(op="subscribe", stream=f"chat/{chat_id}", after="start")
    await wire.op("caught_up", stream=f"chat/{chat_id}")
    await done(await bob.post(f"/api/v1/chats/{chat_id}/leave"))
    assert (await wire.op("unsubscribed", stream=f"chat/{chat_id}"))["code"] == "access_ended"
    assert (await wire.event(f"user/{bob.id}", "chat_unlisted"))["data"]["data"] == {"chat_id": chat_id}
    assert await listed(server, bob) == []
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 401
    again = await bob.post(f"/api/v1/chats/{chat_id}/leave")
    assert (again.status_code, again.json()["code"]) == (401, "chat_not_found")
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["access"] == {}
    assert (await share(ada, chat_id, bob)).status_code == 200
    assert await listed(server, bob) == ["Plans"], "it may be offered again"


async def test_only_a_receiver_hides_and_leaves(server: Running) -> None:
    ada, bob, eve = await server.sign_up("Ada"), await server.sign_up("Bob"), await server.sign_up("Eve")
    chat_id = await shared(ada, bob)
    for action in ("hide", "leave"):
        stranger, owner = await eve.post(f"/api/v1/chats/{chat_id}/{action}"), await ada.post(f"/api/v1/chats/{chat_id}/{action}")
        assert (stranger.status_code, stranger.json()["code"]) == (401, "chat_not_found")
        assert (owner.status_code, owner.json()["code"]) == (400, "bad_request")


async def test_no_shares_are_taken_from_who_is_blocked_and_theirs_are_out_of_sight(server: Running) -> None:
    ada, bob, eve = await server.sign_up("Ada"), await server.sign_up("Bob"), await server.sign_up("Eve")
    await shared(ada, bob, "Ada's")
    await shared(eve, bob, "Eve's")
    for _ in range(2):
        await done(await bob.post(f"/api/v1/users/{eve.id}/block"))
    assert (await bob.get("/api/v1/users/blocked")).json() == [eve.id]
    assert await listed(server, bob) == await found(server, bob, "words") == ["Ada's"]
    chat_id = await eve.new_chat()
    refused = await share(eve, chat_id, bob)
    assert (refused.status_code, refused.json()["code"]) == (403, "share_refused")
    assert (await eve.get(f"/api/v1/chats/{chat_id}")).json()["access"] == {}
    probed = await share(eve, await ada.new_chat(), bob)
    assert (probed.status_code, probed.json()["code"]) == (401, "chat_not_found"), "whose chat it is comes first"
    assert (await share(ada, await ada.new_chat(), bob)).status_code == 200
    await done(await bob.http.delete(f"/api/v1/users/{eve.id}/block"))
    assert "Eve's" in await listed(server, bob)
    assert (await share(eve, chat_id, bob)).status_code == 200
    assert (await bob.post(f"/api/v1/users/{bob.id}/block")).status_code == 400
    assert (await bob.post("/api/v1/users/0190a000-0000-7000-8000-000000000000/block")).json()["code"] == "user_not_found"


async def test_a_sender_has_only_so_many_offers_that_the_receiver_has_not_looked_at(server: Running) -> None:
    ada, bob, eve = await server.sign_up("Ada"), await server.sign_up("Bob"), await server.sign_up("Eve")
    chats = [await eve.new_chat(f"chat {number}") for number in range(OFFERS_OF_ONE_MAX + 6)]
    answers = await asyncio.gather(*(share(eve, chat_id, bob) for chat_id in chats))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * OFFERS_OF_ONE_MAX + [429] * 6, [answer.text for answer in answers if answer.status_code not in (200, 429)]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 429} == {"too_many_offers"}
    assert len(await listed(server, bob)) == OFFERS_OF_ONE_MAX
    waiting = (await bob.get("/api/v1/chats/offers")).json()
    assert (len(waiting), {offer["offered_by"] for offer in waiting}) == (OFFERS_OF_ONE_MAX, {eve.id})
    assert (await share(ada, await ada.new_chat(), bob)).status_code == 200, "the bound is each sender's own"

    offered = [offer["id"] for offer in waiting]
    left = [chat_id for chat_id in chats if chat_id not in offered]
    await bob.post(f"/api/v1/chats/{offered[0]}/hide")
    await bob.post(f"/api/v1/chats/{offered[1]}/leave")
    assert (await share(eve, offered[2], bob, None)).status_code == 200
    assert (await share(eve, offered[3], bob, "write")).status_code == 200, "another permission is no other offer"
    assert [(await share(eve, chat_id, bob)).status_code for chat_id in left[:4]] == [200, 200, 200, 429]


async def test_the_snapshot_of_ones_own_stream_says_what_is_offered_hidden_and_blocked(server: Running) -> None:
    ada, bob, eve = await server.sign_up("Ada"), await server.sign_up("Bob"), await server.sign_up("Eve")
    offered, hidden = await shared(ada, bob), await shared(ada, bob)
    await bob.post(f"/api/v1/chats/{hidden}/hide")
    await bob.post(f"/api/v1/users/{eve.id}/block")
    wire = await server.connect(bob)
    await wire.say(op="subscribe", stream=f"user/{bob.id}", after="start", snapshot=True)
    state = (await wire.op("snapshot"))["state"]
    assert (state["offers"], state["hidden"], state["blocked"]) == ({offered: ada.id}, [hidden], [eve.id])
