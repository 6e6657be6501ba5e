"""Snapshots behind a link: what was shared, to those it was shared with, until it is ended."""

from typing import Any

import pytest

from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio
MISSING = "0190a000-0000-7000-8000-000000000000"


async def shared(user: User, chat_id: str) -> dict[str, Any]:
    answer = await user.post(f"/api/v1/chats/{chat_id}/share")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def seen(user: User, share_id: str) -> list[str]:
    answer = await user.get(f"/api/v1/chats/share/{share_id}")
    assert answer.status_code == 200, answer.text
    return [one["content"] for one in answer.json()["chat"]["messages"]]


async def grant(user: User, chat_id: str, *people: str) -> None:
    grants = [{"principal_type": "user", "principal_id": one, "permission": "read"} for one in people]
    answer = await user.post(f"/api/v1/chats/shared/{chat_id}/access/update", {"access_grants": grants})
    assert answer.status_code == 200, answer.text


async def test_a_snapshot_shows_the_chat_as_it_was_shared_until_it_is_shared_again(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Plans")
    first = (await ada.add(chat_id, "one"))["message_id"]
    link = await shared(ada, chat_id)
    assert (await shared(ada, chat_id)) == link, "nothing has happened since"
    second = (await ada.add(chat_id, "two", first))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{first}", {"content": "one, edited"})
    assert await seen(bob, link["share_id"]) == ["one"]
    again = await shared(ada, chat_id)
    assert again["share_id"] == link["share_id"]
    assert again["snapshot_version"] == again["version"] - 1
    assert await seen(bob, link["share_id"]) == ["one, edited", "two"]
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["share_id"] == link["share_id"]
    await ada.http.delete(f"/api/v1/chats/{chat_id}/messages/{second}")
    assert await seen(bob, link["share_id"]) == ["one, edited"], "what is deleted is gone from the link as well"


async def test_a_snapshot_tells_nothing_of_its_owners_own_affairs_and_opens_nothing_else(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Plans")
    await ada.post(f"/api/v1/chats/{chat_id}/tags", {"name": "secret"})
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    await ada.post(f"/api/v1/chats/{chat_id}/pin")
    link = await shared(ada, chat_id)
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": None})
    chat = (await bob.get(f"/api/v1/chats/share/{link['share_id']}")).json()
    assert (chat["title"], chat["id"], chat["version"]) == ("Plans", link["share_id"], link["snapshot_version"])
    assert (chat["chat"]["tags"], chat["meta"]["tags"], chat["access"], chat["pinned"]) == ([], [], {}, False)
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 401
    assert (await bob.get(f"/api/v1/streams/chat/{chat_id}/events")).status_code == 404


async def test_a_link_that_is_ended_or_for_others_is_as_if_there_were_none(server: Running) -> None:
    ada, bob, eve = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Eve")
    chat_id = await bob.new_chat()
    link = (await shared(bob, chat_id))["share_id"]
    nobodys = (await eve.get(f"/api/v1/chats/share/{MISSING}")).json()
    assert (nobodys["status"], nobodys["code"]) == (401, "chat_not_found")

    async def is_nothing(user: User, share_id: str) -> bool:
        answers = [await user.get(f"/api/v1/chats/share/{share_id}"), await user.post(f"/api/v1/chats/{share_id}/clone/shared")]
        return all(one.json() == {**nobodys, "detail": nobodys["detail"].replace(MISSING, share_id)} for one in answers)

    await grant(bob, chat_id, ada.id)
    assert await is_nothing(eve, link)
    assert await seen(ada, link) == []
    assert [one["principal_id"] for one in (await bob.get(f"/api/v1/chats/shared/{chat_id}/access")).json()] == [ada.id]
    await grant(bob, chat_id, "*")
    assert await seen(eve, link) == []
    assert (await bob.http.delete(f"/api/v1/chats/{chat_id}/share")).json() is True
    assert (await bob.http.delete(f"/api/v1/chats/{chat_id}/share")).json() is False
    assert await is_nothing(eve, link)
    assert await is_nothing(bob, link)
    other = (await shared(bob, chat_id))["share_id"]
    assert other != link, "an old link stays dead"
    assert await is_nothing(eve, link)
    await bob.http.delete(f"/api/v1/chats/{chat_id}")
    assert await is_nothing(eve, other)
    assert await is_nothing(eve, "no-uuid")
    assert await is_nothing(eve, chat_id)


async def test_only_the_owner_shares(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    for answer in (
        await bob.post(f"/api/v1/chats/{chat_id}/share"),
        await bob.http.delete(f"/api/v1/chats/{chat_id}/share"),
        await bob.get(f"/api/v1/chats/shared/{chat_id}/access"),
        await bob.post(f"/api/v1/chats/shared/{chat_id}/access/update", {"access_grants": []}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "chat_not_found")
    refused = await ada.post(f"/api/v1/chats/shared/{chat_id}/access/update", {"access_grants": []})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    await shared(ada, chat_id)
    for bad in (
        {"principal_id": "no-uuid"},
        {"principal_id": bob.id, "permission": "write"},
        {"principal_id": "x", "principal_type": "group"},
    ):
        assert (await ada.post(f"/api/v1/chats/shared/{chat_id}/access/update", {"access_grants": [bad]})).status_code == 400


async def test_ones_own_links_are_listed_and_ended_together(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chats = [await ada.new_chat(f"Chat {number}") for number in range(3)]
    links = [await shared(ada, chat_id) for chat_id in chats[:2]]
    await shared(bob, await bob.new_chat())
    found = (await ada.get("/api/v1/chats/shared", at_least=links[1]["position"])).json()
    assert {(one["chat_id"], one["id"], one["title"]) for one in found} == {
        (chat_id, link["share_id"], f"Chat {number}") for number, (chat_id, link) in enumerate(zip(chats, links, strict=False))
    }
    assert len((await ada.get("/api/v1/chats/shared", page=1)).json()) == 2
    assert (await ada.http.delete("/api/v1/chats/share/all")).json() is True
    assert (await ada.get("/api/v1/chats/shared")).json() == []
    assert (await bob.get(f"/api/v1/chats/share/{links[0]['share_id']}")).status_code == 401


async def test_a_share_that_is_asked_for_again_is_the_same_and_cannot_be_guessed(server: Running) -> None:
    ada = await server.sign_up()
    first, second = await ada.new_chat(), await ada.new_chat()
    path = f"/api/v1/chats/{first}/share"
    made = await ada.post(path, **{"idempotency-key": "k"})
    assert (await ada.post(path, **{"idempotency-key": "k"})).json() == made.json()
    assert (await shared(ada, second))["share_id"] != made.json()["share_id"]


async def test_large_content_of_a_snapshot_is_there_whole(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    large = "ü" * 200_000
    history = {"messages": {"a": {"parentId": None, "role": "user", "content": large}}}
    assert (await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"history": history}})).status_code == 200
    link = await shared(ada, chat_id)
    assert await seen(bob, link["share_id"]) == [large]
    copied = (await bob.post(f"/api/v1/chats/{link['share_id']}/clone/shared")).json()
    assert (await bob.get(f"/api/v1/chats/{copied['id']}")).json()["chat"]["messages"][0]["content"] == large
