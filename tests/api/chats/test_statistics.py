"""What one's chats add up to."""

import json

import pytest

from tests.api.conftest import Running

pytestmark = pytest.mark.anyio


async def test_usage_and_export_tell_of_ones_own_chats_and_no_word_of_them(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Plans")
    first = (await ada.add(chat_id, "secret"))["message_id"]
    await ada.add(chat_id, "more secrets", first)
    await ada.new_chat("Empty")
    await bob.new_chat("Bob's")
    usage = (await ada.get("/api/v1/chats/stats/usage")).json()
    assert usage["total"] == 2
    [one] = usage["items"]
    assert (one["id"], one["message_count"], one["history_user_message_count"]) == (chat_id, 2, 2)
    assert one["average_user_message_content_length"] == 9
    assert (await ada.get("/api/v1/chats/stats/usage", items_per_page=1, page=3)).json() == {"items": [], "total": 2}
    exported = await ada.get("/api/v1/chats/stats/export")
    assert [len(item["chat"]["history"]["messages"]) for item in exported.json()["items"]] == [2, 0]
    assert "secret" not in exported.text
    streamed = await ada.get("/api/v1/chats/stats/export", stream=True)
    assert [json.loads(line) for line in streamed.text.splitlines()] == exported.json()["items"]
    single = await ada.get(f"/api/v1/chats/stats/export/{chat_id}")
    assert single.json() == exported.json()["items"][0]
    assert (await bob.get(f"/api/v1/chats/stats/export/{chat_id}")).status_code == 401
    assert (await ada.get("/api/v1/chats/stats/export", updated_at=4_000_000_000)).json()["total"] == 0
    assert (await ada.get("/api/v1/chats/stats/usage", items_per_page=0)).status_code == 400
