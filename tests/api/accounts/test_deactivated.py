"""What ends with an account: its running answers and its share links, on every process, besides its sign-ins and keys."""

import asyncio

import pytest

from tests.api.conftest import Running, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]
WAIT_S = 60.0


async def test_the_running_answers_of_a_deactivated_account_stop(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await bob.new_chat()
    asked = await bob.ask(chat_id, "demo:5000")
    assert (await admin.http.delete(f"/api/v1/users/{bob.id}")).status_code == 200
    message = {"done": False}
    async with asyncio.timeout(WAIT_S):
        while not message.get("done"):
            message = (await admin.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"][asked["message_id"]]
    assert message["state"] == "cancelled"
    assert (await admin.get("/api/tasks/")).json() == {"tasks": []}


async def test_the_share_links_of_a_deactivated_account_end(server: Running) -> None:
    admin, bob, eve = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Eve")
    chat_id = await bob.new_chat()
    await bob.add(chat_id, "one")
    share_id = (await bob.post(f"/api/v1/chats/{chat_id}/share")).json()["share_id"]
    assert (await eve.get(f"/api/v1/chats/share/{share_id}")).status_code == 200
    assert (await admin.http.delete(f"/api/v1/users/{bob.id}")).status_code == 200
    async with asyncio.timeout(WAIT_S):
        while (await eve.get(f"/api/v1/chats/share/{share_id}")).status_code == 200:
            pass  # the other process hears of it in a moment
    for _ in range(2):
        missing = await eve.get(f"/api/v1/chats/share/{share_id}")
        assert (missing.status_code, missing.json()["code"]) == (401, "chat_not_found")
        assert (await eve.post(f"/api/v1/chats/{share_id}/clone/shared", {})).status_code == 401
    assert (await admin.get(f"/api/v1/chats/share/{share_id}")).status_code == 200, "who reads everything reads it as before"
