"""Many whole chats in one answer."""

import pytest

from tests.api.conftest import Running

pytestmark = pytest.mark.anyio


async def test_one_gets_all_of_ones_own_chats_and_only_admins_get_everybodys(server: Running) -> None:
    admin, ada = await server.sign_up(), await server.sign_up("Ada")
    first, second = await ada.new_chat("First"), await ada.new_chat("Second")
    await ada.add(first, "Hello")
    await ada.post(f"/api/v1/chats/{second}/archive")
    admins = await admin.new_chat("Admin's")
    await admin.post(f"/api/v1/chats/{admins}/access", {"user_id": ada.id, "permission": "read"})
    mine = (await ada.get("/api/v1/chats/all")).json()
    assert {one["id"]: [message["content"] for message in one["chat"]["messages"]] for one in mine} == {first: ["Hello"], second: []}
    assert mine[0] in [(await ada.get(f"/api/v1/chats/{chat_id}")).json() for chat_id in (first, second)]
    assert [one["id"] for one in (await ada.get("/api/v1/chats/all/archived")).json()] == [second]
    assert (await admin.get("/api/v1/chats/all/archived")).json() == []
    assert {one["id"] for one in (await admin.get("/api/v1/chats/all/db")).json()} == {first, second, admins}
    assert {one["id"] for one in (await admin.get(f"/api/v1/chats/list/user/{ada.id}")).json()} >= {first, second}
    for path in ("/api/v1/chats/all/db", f"/api/v1/chats/list/user/{admin.id}"):
        assert (await ada.get(path)).status_code == 403
