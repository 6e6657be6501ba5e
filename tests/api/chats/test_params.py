"""What a chat's questions go out with, changed one by one."""

from typing import Any

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def change(user: User, chat_id: str, params: Any, **headers: str) -> Any:
    answer = await user.http.patch(f"/api/v1/chats/{chat_id}/params", json={"params": params}, headers=headers)
    return answer.status_code, answer.json()


async def params(user: User, chat_id: str) -> Any:
    return (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"].get("params")


async def test_params_that_are_not_named_stay_and_null_takes_one_away(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    status, changed = await change(ada, chat_id, {"temperature": 0.2, "system": "Be short.", "seed": 1})
    assert (status, changed["id"], changed["version"]) == (200, chat_id, 2)
    await change(ada, chat_id, {"temperature": 0, "seed": None, "top_k": None})
    assert await params(ada, chat_id) == {"temperature": 0, "system": "Be short."}
    _, again = await change(ada, chat_id, {"temperature": 0})
    assert again["version"] == 3, "it is so already"


async def test_params_that_are_none_are_replaced(server: Running) -> None:
    ada = await server.sign_up()
    answer = await ada.post("/api/v1/chats/new", {"chat": {"params": "hot"}})
    chat_id = answer.json()["id"]
    assert (await change(ada, chat_id, {"seed": 1}))[0] == 200
    assert await params(ada, chat_id) == {"seed": 1}


async def test_who_only_reads_the_chat_changes_none(server: Running) -> None:
    ada, bob, eve = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Eve")
    chat_id = await ada.new_chat()
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    for user in (bob, eve):
        status, refused = await change(user, chat_id, {"seed": 1})
        assert (status, refused["code"]) == (401, "chat_not_found")
    assert (await change(ada, chat_id, ["seed"]))[0] == 400


async def test_a_repeat_changes_nothing_and_another_version_is_refused(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    _, first = await change(ada, chat_id, {"seed": 1}, **{"Idempotency-Key": "k"})
    await change(ada, chat_id, {"seed": 2})
    assert await change(ada, chat_id, {"seed": 1}, **{"Idempotency-Key": "k"}) == (200, first)
    assert (await change(ada, chat_id, {"seed": 3}, **{"Idempotency-Key": "k"}))[1]["code"] == "idempotency_key_reused"
    assert (await change(ada, chat_id, {"seed": 3}, **{"If-Match": '"1"'}))[1]["code"] == "version_conflict"
    assert await params(ada, chat_id) == {"seed": 2}
