"""The list of one's chats, and what sorts it: pins, the archive, folders, tags."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def titles(user: User, path: str = "/", **query: Any) -> list[str]:
    answer = await user.get(f"/api/v1/chats{path}", **query)
    assert answer.status_code == 200, answer.text
    return [chat["title"] for chat in answer.json()]


async def did(user: User, path: str, body: Any = None) -> Any:
    answer = await user.post(f"/api/v1/chats{path}", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def new_folder(user: User, name: str = "Work", **more: Any) -> str:
    answer = await user.post("/api/v1/folders/", {"name": name, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_a_pin_takes_a_chat_out_of_the_list_and_into_that_of_pins(server: Running) -> None:
    ada = await server.sign_up()
    plans, notes = await ada.new_chat("Plans"), await ada.new_chat("Notes")
    pinned = await did(ada, f"/{plans}/pin")
    assert (pinned["id"], pinned["version"]) == (plans, 2)
    assert (await titles(ada), await titles(ada, "/pinned")) == (["Notes"], ["Plans"])
    assert await titles(ada, include_pinned=True) == ["Plans", "Notes"], "the one that changed last first"
    assert [(await ada.get(f"/api/v1/chats/{chat}/pinned")).json() for chat in (plans, notes)] == [True, False]
    await did(ada, f"/{plans}/pin")
    assert (await titles(ada), await titles(ada, "/pinned")) == (["Plans", "Notes"], [])


async def test_asked_twice_with_one_key_a_toggle_turns_once(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    answers = [(await ada.post(f"/api/v1/chats/{chat_id}/pin", **{"Idempotency-Key": "k"})).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert (await ada.get(f"/api/v1/chats/{chat_id}/pinned")).json() is True


async def test_the_archive_keeps_chats_out_of_every_other_list(server: Running) -> None:
    ada = await server.sign_up()
    plans, folder = await ada.new_chat("Plans"), await new_folder(ada)
    await ada.new_chat("Notes")
    await did(ada, f"/{plans}/folder", {"folder_id": folder})
    await did(ada, f"/{plans}/tags", {"name": "work"})
    await did(ada, f"/{plans}/archive")
    assert (await titles(ada), await titles(ada, "/archived")) == (["Notes"], ["Plans"])
    assert (await ada.get("/api/v1/chats/archived/count")).json() == 1
    assert await titles(ada, f"/folder/{folder}") == [], "it left its folder"
    assert [chat["title"] for chat in await did(ada, "/tags", {"name": "work"})] == []
    await did(ada, f"/{plans}/archive")
    assert (await titles(ada), await titles(ada, "/archived")) == (["Plans", "Notes"], [])


async def test_all_go_into_the_archive_and_out_of_it_and_others_stay(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    for title in ("One", "Two"):
        await ada.new_chat(title)
    theirs = await bob.new_chat("Bob's")
    await did(bob, f"/{theirs}/access", {"user_id": ada.id, "permission": "write"})
    assert await did(ada, "/archive/all") is True
    assert (await titles(ada), await titles(ada, "/archived")) == (["Bob's"], ["Two", "One"]), "in the order in which they were listed"
    assert await did(ada, "/unarchive/all") is True
    assert len(await titles(ada)) == 3
    assert (await ada.http.delete("/api/v1/chats/")).json() is True
    assert (await titles(ada), await titles(bob)) == (["Bob's"], ["Bob's"])


async def test_a_folder_holds_what_was_put_into_it(server: Running) -> None:
    ada = await server.sign_up()
    plans, folder = await ada.new_chat("Plans"), await new_folder(ada)
    await ada.new_chat("Notes")
    await did(ada, f"/{plans}/folder", {"folder_id": folder})
    assert (await titles(ada), await titles(ada, include_folders=True)) == (["Notes"], ["Plans", "Notes"])
    for path in (f"/folder/{folder}", f"/folder/{folder}/list"):
        assert await titles(ada, path, page=1) == ["Plans"]
    await did(ada, f"/{plans}/folder", {"folder_id": None})
    assert (await titles(ada), await titles(ada, f"/folder/{folder}")) == (["Plans", "Notes"], [])


async def test_two_names_of_one_tag_are_one_tag(server: Running) -> None:
    ada = await server.sign_up()
    plans, notes = await ada.new_chat("Plans"), await ada.new_chat("Notes")
    assert await did(ada, f"/{plans}/tags", {"name": "To Do"}) == [{"id": "to_do", "name": "To Do", "user_id": ada.id, "meta": None}]
    assert len(await did(ada, f"/{plans}/tags", {"name": "to do"})) == 1
    await did(ada, f"/{notes}/tags", {"name": "TO DO"})
    await did(ada, f"/{notes}/tags", {"name": "later"})
    assert [(tag["id"], tag["name"]) for tag in (await ada.get("/api/v1/chats/all/tags")).json()] == [
        ("later", "later"),
        ("to_do", "TO DO"),
    ]
    assert [chat["title"] for chat in await did(ada, "/tags", {"name": "to do"})] == ["Notes", "Plans"]
    assert [chat["title"] for chat in await did(ada, "/tags", {"name": "to do", "skip": 1, "limit": 1})] == ["Plans"]
    left = await ada.http.request("DELETE", f"/api/v1/chats/{notes}/tags", json={"name": "to Do"})
    assert [tag["id"] for tag in left.json()] == ["later"]
    assert (await ada.http.delete(f"/api/v1/chats/{notes}/tags/all")).json() is True
    assert (await ada.get(f"/api/v1/chats/{notes}/tags")).json() == []


async def test_a_page_that_repeats_the_tags_of_a_chat_gets_the_chat_and_changes_nothing(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    plans = await ada.new_chat("Plans")
    tags = await did(ada, f"/{plans}/tags", {"name": "work"})
    version = (await ada.get(f"/api/v1/chats/{plans}")).json()["version"]
    for repeated in (tags, []):
        chat = await did(ada, f"/{plans}", {"chat": {"tags": repeated}})
        assert (chat["version"], chat["chat"]["tags"]) == (version, ["work"])
    assert (await bob.http.post(f"/api/v1/chats/{plans}", json={"chat": {"tags": []}})).status_code == 401


@pytest.mark.parametrize("name", ["", " ", "none", "None", "x" * 101])
async def test_a_tag_that_cannot_be_one_is_refused(server: Running, name: str) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    refused = await ada.post(f"/api/v1/chats/{chat_id}/tags", {"name": name})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


async def test_what_sorts_a_chat_is_its_owners(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Plans")
    await did(ada, f"/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    for path, body in (("pin", None), ("archive", None), ("folder", {"folder_id": None}), ("tags", {"name": "x"})):
        for user in (bob, await server.sign_up(f"Nobody-{path}")):
            refused = await user.post(f"/api/v1/chats/{chat_id}/{path}", body)
            assert (refused.status_code, refused.json()["code"]) == (401, "chat_not_found"), path
    await did(ada, f"/{chat_id}/pin")
    await did(ada, f"/{chat_id}/archive")
    await did(ada, f"/{chat_id}/tags", {"name": "secret"})
    assert await titles(bob) == ["Plans"], "in their list it is as before"
    assert (await titles(bob, "/pinned"), await titles(bob, "/archived")) == ([], [])
    assert (await bob.get("/api/v1/chats/all/tags")).json() == []


async def test_a_page_that_is_none_is_refused(server: Running) -> None:
    ada = await server.sign_up()
    for query in ({"page": 0}, {"page": "x"}, {"include_pinned": "x"}, {"at_least": "x"}):
        assert (await ada.get("/api/v1/chats/", **query)).status_code == 400, query
    assert (await ada.get(f"/api/v1/chats/folder/{uuid4()}")).json() == []
