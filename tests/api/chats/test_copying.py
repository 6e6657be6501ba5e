"""Clones and forks: a chat of one's own out of another, with all that stood in it."""

import asyncio
from typing import Any

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def read(user: User, chat_id: str) -> dict[str, Any]:
    answer = await user.get(f"/api/v1/chats/{chat_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def said(chat: dict[str, Any]) -> dict[str, Any]:
    """The messages, without what a copy has anew."""
    anew = ("user_id", "task_id", "edited_at")
    return {
        one: {key: value for key, value in message.items() if key not in anew}
        for one, message in chat["chat"]["history"]["messages"].items()
    }


async def answered(user: User, chat_id: str, model: str = "demo:5", **more: Any) -> str:
    asked = await user.ask(chat_id, model, **more)
    chat = await read(user, chat_id)
    while not chat["chat"]["history"]["messages"][asked["message_id"]]["done"]:
        chat = await read(user, chat_id)
    return str(asked["message_id"])


async def test_a_clone_holds_all_that_stands_in_the_chat_and_lives_on_its_own(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat("Plans")
    answer_id = await answered(user, chat_id)
    root = await user.add(chat_id, "another root")
    await user.add(chat_id, "below", root["message_id"])
    await user.post(f"/api/v1/chats/{chat_id}/messages/{answer_id}/rating", {"rating": 1, "comment": "good"})
    await user.post(f"/api/v1/chats/{chat_id}/messages/{answer_id}/event", {"type": "status", "data": {"description": "Searching"}})
    await user.post(f"/api/v1/chats/{chat_id}/tags", {"name": "Work"})
    await user.post(f"/api/v1/chats/{chat_id}/pin")
    await user.post(f"/api/v1/chats/{chat_id}", {"chat": {"params": {"seed": 1}}})
    source = await read(user, chat_id)
    made = (await user.post(f"/api/v1/chats/{chat_id}/clone", {})).json()
    clone = await read(user, made["id"])
    assert made["title"] == clone["title"] == "Clone of Plans"
    assert made["version"] == clone["version"]
    assert said(clone) == said(source)
    assert clone["chat"]["history"]["currentId"] == source["chat"]["history"]["currentId"]
    assert (clone["chat"]["originalChatId"], clone["chat"]["branchPointMessageId"]) == (chat_id, source["chat"]["history"]["currentId"])
    assert (clone["chat"]["params"], clone["chat"]["tags"], clone["pinned"]) == ({"seed": 1}, ["Work"], True)
    await user.post(f"/api/v1/chats/{made['id']}/messages/{answer_id}", {"content": "changed in the clone"})
    assert said(await read(user, chat_id)) == said(source)
    assert (await user.post(f"/api/v1/chats/{chat_id}/clone", {"title": "Mine"})).json()["title"] == "Mine"
    listed = (await user.get("/api/v1/chats/", include_pinned=True)).json()
    assert {one["title"] for one in listed} == {"Plans", "Clone of Plans", "Mine"}


async def test_who_may_read_a_chat_may_clone_it_and_gets_nothing_of_its_owners_order(server: Running) -> None:
    ada, bob, eve = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Eve")
    chat_id = await ada.new_chat("Plans")
    await ada.add(chat_id, "one")
    await ada.post(f"/api/v1/chats/{chat_id}/tags", {"name": "Work"})
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    clone = await read(bob, (await bob.post(f"/api/v1/chats/{chat_id}/clone", {})).json()["id"])
    assert (clone["user_id"], clone["chat"]["tags"], clone["access"]) == (bob.id, [], {})
    for route in ("clone", "fork"):
        refused = await eve.post(f"/api/v1/chats/{chat_id}/{route}", {})
        assert (refused.status_code, refused.json()["code"]) == (401, "chat_not_found")


async def test_a_fork_is_one_branch_up_to_a_message(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat("Plans")
    root = (await user.add(chat_id, "root"))["message_id"]
    left = (await user.add(chat_id, "left", root))["message_id"]
    right = (await user.add(chat_id, "right", root))["message_id"]
    for asked, expected in (({"message_id": left}, ["root", "left"]), ({}, ["root", "right"]), ({"message_id": root}, ["root"])):
        fork = await read(user, (await user.post(f"/api/v1/chats/{chat_id}/fork", asked)).json()["id"])
        assert [one["content"] for one in fork["chat"]["messages"]] == expected
        assert len(fork["chat"]["history"]["messages"]) == len(expected)
        assert fork["title"] == "Plans (fork)"
        assert fork["chat"]["branchPointMessageId"] == asked.get("message_id", right)
    missing = await user.post(f"/api/v1/chats/{chat_id}/fork", {"message_id": "nowhere"})
    assert (missing.status_code, missing.json()["code"]) == (404, "message_not_found")
    empty = await user.post(f"/api/v1/chats/{await user.new_chat()}/fork", {})
    assert empty.status_code == 400


async def test_a_running_answer_goes_along_with_what_it_has_said_so_far(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    asked = await user.ask(chat_id, "demo:2000")
    answer_id = asked["message_id"]
    while not (await read(user, chat_id))["chat"]["history"]["messages"][answer_id]["content"]:
        pass
    fork = await read(user, (await user.post(f"/api/v1/chats/{chat_id}/fork", {"message_id": answer_id})).json()["id"])
    clone = await read(user, (await user.post(f"/api/v1/chats/{chat_id}/clone", {})).json()["id"])
    await user.post(f"/api/tasks/stop/{asked['task_id']}")
    whole = await read(user, chat_id)
    for copied in (fork, clone):
        message = copied["chat"]["history"]["messages"][answer_id]
        assert (message["done"], message["state"]) == (True, "interrupted")
        assert message["content"]
        assert whole["chat"]["history"]["messages"][answer_id]["content"].startswith(message["content"])
        assert "task_id" not in message


async def test_what_an_answer_was_made_of_goes_along(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    asked = await user.ask(chat_id, "demo:reasoning")
    answer_id = asked["message_id"]
    while not (await read(user, chat_id))["chat"]["history"]["messages"][answer_id]["content"]:
        pass
    await user.post(f"/api/tasks/stop/{asked['task_id']}")
    source = await read(user, chat_id)
    blocks = source["chat"]["history"]["messages"][answer_id]["blocks"]
    assert len(blocks) > 1
    clone = await read(user, (await user.post(f"/api/v1/chats/{chat_id}/clone", {})).json()["id"])
    assert clone["chat"]["history"]["messages"][answer_id]["blocks"] == blocks


async def test_a_copy_that_is_asked_for_again_is_the_same_one(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat("Plans")
    await user.add(chat_id, "one")
    for number, route in enumerate(("clone", "fork"), 1):
        path, key = f"/api/v1/chats/{chat_id}/{route}", {"idempotency-key": route}
        first = (await user.post(path, {}, **key)).json()
        await user.post(f"/api/v1/chats/{first['id']}", {"chat": {"title": "renamed"}})
        await user.add(chat_id, "more")
        assert (await user.post(path, {}, **key)).json() == first
        assert len((await user.get("/api/v1/chats/")).json()) == 1 + number


async def test_a_key_that_comes_back_with_another_body_is_refused(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    root = (await user.add(chat_id, "root"))["message_id"]
    leaf = (await user.add(chat_id, "leaf", root))["message_id"]
    share_id = (await user.post(f"/api/v1/chats/{chat_id}/share")).json()["share_id"]
    asked: list[tuple[str, str, Any, Any]] = [
        ("clone", chat_id, {"title": "A"}, {"title": "B"}),
        ("fork", chat_id, {"message_id": leaf}, {"message_id": root}),
        ("clone/shared", share_id, None, {}),
    ]
    for route, source_id, first, other in asked:
        path, key = f"/api/v1/chats/{source_id}/{route}", {"idempotency-key": route}
        assert (await user.post(path, first, **key)).status_code == 200
        for again, body in ((path, other), (f"/api/v1/chats/{chat_id}/pin", None)):
            refused = await user.post(again, body, **key)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused"), route
    assert len((await user.get("/api/v1/chats/")).json()) == 4


async def test_a_key_that_is_in_use_by_two_requests_at_once_makes_one_copy(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    await user.add(chat_id, "one")
    path, key = f"/api/v1/chats/{chat_id}/clone", {"idempotency-key": "k"}
    answers = await asyncio.gather(*(user.post(path, {"title": title}, **key) for title in ("A", "A", "B", "A", "B")))
    made = [one.json()["title"] for one in answers if one.status_code == 200]
    refused = [one.json()["code"] for one in answers if one.status_code == 422]
    assert (len(set(made)), set(refused), len(made) + len(refused)) == (1, {"idempotency_key_reused"}, 5)
    assert len((await user.get("/api/v1/chats/")).json()) == 2


async def test_a_chat_that_is_too_large_to_be_copied_is_refused_and_a_branch_of_it_is_not(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    small = (await user.add(chat_id, "small"))["message_id"]
    await user.add(chat_id, "large " * 60_000)  # kept by reference, and counted with its content
    monkeypatch.setattr("commands.transfer.copying.COPY_BYTES_MAX", 100_000)
    link = (await user.post(f"/api/v1/chats/{chat_id}/share")).json()["share_id"]
    for path in (f"{chat_id}/clone", f"{link}/clone/shared", f"{chat_id}/fork"):
        refused = await user.post(f"/api/v1/chats/{path}", {})
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large"), refused.text
        assert "at most 100000 bytes" in refused.json()["detail"]
    assert len((await user.get("/api/v1/chats/")).json()) == 1
    forked = await user.post(f"/api/v1/chats/{chat_id}/fork", {"message_id": small})
    assert forked.status_code == 200, forked.text
    missing = await user.post(f"/api/v1/chats/{chat_id}/fork", {"message_id": chat_id})
    assert missing.status_code == 404
