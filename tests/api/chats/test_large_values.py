"""Content of any size: kept whole on every way in, beside the log, and the same bytes once."""

from typing import Any

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

LONG = "It was a dark and stormy night. Ü " * 12_000  # 430 KB: more than an event holds
PHOTO = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 50_000}}
PARTS = [{"type": "text", "text": "What is this?"}, PHOTO]


async def messages_of(user: User, chat_id: str) -> list[dict[str, Any]]:
    return list((await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"].values())


@pytest.mark.parametrize("content", [LONG, PARTS], ids=["a long paste", "a photo"])
async def test_a_question_is_kept_whole_on_every_way_in(server: Running, content: Any) -> None:
    ada = await server.sign_up()
    asked = (await ada.ask(await ada.new_chat(), content=content))["chat_id"]
    added = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{added}/messages", {"role": "user", "content": content})).status_code == 200
    history = {"messages": {"q": {"role": "user", "content": content}}, "currentId": "q"}
    saved = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{saved}", {"chat": {"history": history}})).status_code == 200
    brought = (await ada.post("/api/v1/chats/new", {"chat": {"history": history}})).json()["id"]
    imported = (await ada.post("/api/v1/chats/import", {"chats": [{"id": "x", "chat": {"history": history}}]})).json()[0]["id"]
    for chat_id in (asked, added, saved, brought, imported):
        assert (await messages_of(ada, chat_id))[0]["content"] == content


async def test_an_edit_is_kept_whole(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "short"})).json()["message_id"]
    edited = await ada.post(f"/api/v1/chats/{chat_id}/messages/{message_id}", {"content": LONG})
    assert edited.status_code == 200, edited.text
    assert (await messages_of(ada, chat_id))[0]["content"] == LONG


async def test_what_is_emitted_is_kept_whole(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "short"))["message_id"]
    photo = PHOTO["image_url"]["url"]  # type: ignore[index]

    async def emit(name: str, data: Any) -> dict[str, Any]:
        emitted = await ada.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/event", {"type": name, "data": data})
        assert emitted.status_code == 200, emitted.text
        whole = (await messages_of(ada, chat_id))[0]
        page = (await ada.get(f"/api/v1/chats/{chat_id}/messages")).json()["messages"][0]
        assert {key: page[key] for key in ("content", "files", "embeds") if key in page} == {
            key: whole[key] for key in ("content", "files", "embeds") if key in whole
        }
        return whole

    assert (await emit("message", {"content": LONG}))["content"] == "short" + LONG
    assert (await emit("files", {"files": [{"type": "image", "url": photo}, {"type": "file", "file": {"data": LONG}}]}))["files"] == [
        {"type": "image", "url": photo},
        {"type": "file", "file": {"data": LONG}},
    ]
    assert (await emit("embeds", {"embeds": [LONG, "<p>small</p>"]}))["embeds"] == [LONG, "<p>small</p>"]
    assert (await emit("replace", {"content": LONG + "!"}))["content"] == LONG + "!"
    events = (await ada.get(f"/api/v1/streams/chat/{chat_id}/events")).json()["events"]
    added = "".join(one["data"]["data"]["content"] for one in events if one["data"]["type"] == "message")
    assert added == LONG, "a text that is added stands in the log itself"
    urls = [one["data"]["data"]["files"][0]["url"] for one in events if one["data"]["type"] == "files"]
    blob = await ada.get(f"/api/v1/streams/chat/{chat_id}/blobs/{urls[0]['blob']}")
    assert blob.text == photo


async def test_what_is_emitted_counts_with_all_its_bytes(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "short"))["message_id"]
    files = [{"type": "image", "url": PHOTO["image_url"]["url"]}]  # type: ignore[index]
    emitted = await ada.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/event", {"type": "files", "data": {"files": files}})
    assert emitted.status_code == 200, emitted.text
    await ada.get("/api/v1/chats/")  # it waits until the caller's own writes are counted
    used = (await ada.get(f"/api/v1/users/{ada.id}/quotas")).json()
    assert used["storage_bytes"]["used"] > len(files[0]["url"])


async def test_the_chats_own_keys_are_kept_whole(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"note": LONG, "other": 1}})).status_code == 200
    chat = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]
    assert (chat["note"] == LONG, chat["other"]) == (True, 1)


async def test_asked_again_after_it_was_stored_it_is_the_same_question(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": LONG})).status_code == 200
    await ada.ask(chat_id, content=LONG)
    assert [one["role"] for one in await messages_of(ada, chat_id)] == ["user", "assistant"]


async def test_one_that_may_not_write_stores_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()

    async def put(*_: Any) -> str:
        raise AssertionError("something was stored before access was checked")

    for system in server.systems:
        monkeypatch.setattr(system.stores.blobs, "put", put)
    refused = await bob.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": LONG})
    assert refused.json()["code"] == "chat_not_found"
