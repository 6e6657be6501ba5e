"""What runs now, and stopping it: ``/api/usage``, the tasks of a chat."""

from uuid import UUID, uuid4

import msgspec
import pytest

from api.settings import Settings
from domain.generation import StartGeneration
from tests.api.conftest import Running, running

pytestmark = pytest.mark.anyio

SLOW = "demo:slow"


async def test_the_models_that_answer_and_the_accounts_that_are_active(server: Running) -> None:
    admin = await server.sign_up()
    user = await server.sign_up("Bob")
    await server.system.stores.activity.note_active([UUID(user.id)])
    chat_id = await user.new_chat()
    await user.ask(chat_id, SLOW)
    await user.ask(chat_id, "demo:999")
    assert (await admin.get("/api/usage")).json() == {"model_ids": ["demo:999", SLOW], "user_count": 1}
    assert (await user.get("/api/usage")).json()["model_ids"] == [SLOW], "of those that are listed for everyone"
    await user.post(f"/api/tasks/chat/{chat_id}/stop")
    assert (await admin.get("/api/usage")).json()["model_ids"] == []


async def test_the_usage_is_for_admins_alone_where_it_is_not_public(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, usage_public=False)) as server:
        admin, user = await server.sign_up(), await server.sign_up("Bob")
        assert (await admin.get("/api/usage")).status_code == 200
        refused = await user.get("/api/usage")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_all_answers_of_a_chat_are_stopped_and_their_text_stays(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, message_ids=[{"model_id": "demo:1000", "message_id": None}] * 3)
    assert sorted((await user.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]) == sorted(begun["task_ids"])
    stranger = await server.sign_up("Bob")
    assert (await stranger.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 401
    assert (await stranger.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    assert (await user.post(f"/api/tasks/chat/{chat_id}/stop")).json() == {"status": True, "message": "3 stopped"}
    assert (await user.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    messages = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    assert {messages[one]["state"] for one in begun["message_ids"]} == {"cancelled"}
    nothing = await user.post(f"/api/tasks/chat/{chat_id}/stop")
    assert (nothing.status_code, nothing.json()) == (200, {"status": True, "message": f"No tasks in chat {chat_id}"})


async def test_an_answer_whose_server_is_gone_is_stopped_too(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    by, message_id = UUID(user.id), uuid4()
    left = StartGeneration(
        stream_id=UUID(chat_id),
        by=by,
        message_id=message_id,
        parent_id=None,
        model="m",
        requested_model="m",
        task_id=uuid4(),
        node_id=uuid4(),
    )
    await server.system.chats.handle(left)
    assert len((await user.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]) == 1
    assert (await user.post(f"/api/tasks/chat/{chat_id}/stop")).json()["status"] is True
    messages = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    assert (messages[str(message_id)]["state"], messages[str(message_id)]["done"]) == ("cancelled", True)
