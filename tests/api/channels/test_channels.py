"""Channels over HTTP: who makes, sees, changes and leaves them, in the reference's paths and forms."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]
BASE = "/api/v1/channels"


async def made(by: User, *members: User, **body: Any) -> str:
    answer = await by.post(f"{BASE}/create", {"name": "Friends", "type": "group", "user_ids": [one.id for one in members], **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def said(by: User, channel_id: str, content: str, **more: Any) -> dict[str, Any]:
    answer = await by.post(f"{BASE}/{channel_id}/messages/post", {"content": content, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def names(user: User) -> list[str]:
    return [one["name"] for one in (await user.get(f"{BASE}/")).json()]


async def test_a_channel_has_the_references_form(server: Running) -> None:
    admin = await server.sign_up("Admin")
    channel_id = await made(admin, type="", name="general", user_ids=None, description="All of us")
    channel = (await admin.get(f"{BASE}/{channel_id}")).json()
    assert channel["created_at"] == channel["updated_at"] > 10**18  # nanoseconds
    assert {name: channel[name] for name in channel if name not in ("created_at", "updated_at")} == {
        "id": channel_id,
        "user_id": admin.id,
        "type": None,
        "name": "general",
        "description": "All of us",
        "is_private": False,
        "data": {},
        "meta": {},
        "access_grants": [],
        "archived": False,
        "last_message_at": None,
        "unread_count": 0,
        "unread_replies": 0,
        "unread_mentions": 0,
        "write_access": True,
        "is_manager": True,
        "is_channel_muted": False,
        "is_channel_pinned": False,
        "user_ids": None,
        "user_count": 1,
        "users": None,
        "last_read_version": 0,
        "version": 1,
    }


async def test_a_standard_channel_is_made_by_admins_and_seen_by_grants_and_groups(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    assert (await ada.post(f"{BASE}/create", {"name": "x"})).status_code == 403
    everybody = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    await made(admin, type="", name="news", user_ids=None, access_grants=everybody)
    group_id = (await admin.post("/api/v1/groups/create", {"name": "Writers", "description": ""})).json()["id"]
    granted = [{"principal_type": "group", "principal_id": group_id, "permission": "write"}]
    desk = await made(admin, type="", name="desk", user_ids=None, access_grants=granted)
    assert [set(await names(one)) for one in (admin, ada, bob)] == [{"news", "desk"}, {"news"}, {"news"}]
    await admin.post(f"/api/v1/groups/id/{group_id}/users/add", {"user_ids": [ada.id]})
    assert set(await names(ada)) == {"news", "desk"}
    await said(ada, desk, "hello")
    members = (await ada.get(f"{BASE}/{desk}/members")).json()
    assert ([one["name"] for one in members["users"]], members["total"]) == (["Ada", "Admin"], 2)
    await admin.post(f"/api/v1/groups/id/{group_id}/users/remove", {"user_ids": [ada.id]})
    assert (await ada.get(f"{BASE}/{desk}")).status_code == 403
    assert (await ada.post(f"{BASE}/{desk}/messages/post", {"content": "still?"})).status_code == 403
    assert await names(ada) == ["news"]


async def test_a_group_is_its_members(server: Running) -> None:
    ada, bob, cat = [await server.sign_up(name) for name in ("Ada", "Bob", "Cat")]
    channel_id = await made(bob, cat)
    assert [await names(one) for one in (ada, bob, cat)] == [[], ["Friends"], ["Friends"]]
    for path in ("", "/members", "/messages/", "/messages/pinned"):
        assert (await ada.get(f"{BASE}/{channel_id}{path}")).status_code == 403
    assert (await cat.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [ada.id]})).status_code == 403
    assert (await bob.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [ada.id, ada.id]})).status_code == 200
    assert await names(ada) == ["Friends"]
    assert (await bob.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [str(uuid4())]})).json()["code"] == "user_not_found"
    assert (await bob.post(f"{BASE}/{channel_id}/update/members/remove", {"user_ids": [ada.id]})).json() is True
    assert (await ada.get(f"{BASE}/{channel_id}")).status_code == 403
    assert (await bob.post(f"{BASE}/{channel_id}/leave")).json() is True
    assert (await cat.get(f"{BASE}/{channel_id}")).json()["is_manager"] is True
    assert (await cat.http.delete(f"{BASE}/{channel_id}/delete")).json() is True
    assert (await cat.get(f"{BASE}/{channel_id}")).json()["code"] == "channel_not_found"


async def test_a_dm_is_one_whoever_begins_it(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = (await ada.get(f"{BASE}/users/{bob.id}")).json()["id"]
    assert (await bob.get(f"{BASE}/users/{ada.id}")).json()["id"] == channel_id
    assert await made(bob, ada, type="dm") == channel_id
    [listed] = (await bob.get(f"{BASE}/")).json()
    assert [one["name"] for one in listed["users"]] == ["Ada", "Bob"]
    assert (await bob.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [ada.id]})).status_code == 403
    assert (await bob.post(f"{BASE}/{channel_id}/leave")).status_code == 403
    assert (await ada.get(f"{BASE}/users/{uuid4()}")).json()["code"] == "user_not_found"


async def test_a_hidden_channel_comes_back_when_somebody_writes(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = (await ada.get(f"{BASE}/users/{bob.id}")).json()["id"]
    assert (await ada.post(f"{BASE}/{channel_id}/members/active", {"is_active": False})).json() is True
    assert await names(ada) == []
    await said(bob, channel_id, "are you there?")
    [listed] = (await ada.get(f"{BASE}/")).json()
    assert (listed["id"], listed["unread_count"]) == (channel_id, 1)
    await ada.post(f"{BASE}/{channel_id}/read")
    assert await names(ada) == []
    await ada.get(f"{BASE}/users/{bob.id}")
    assert len(await names(ada)) == 1
    await ada.post(f"{BASE}/{channel_id}/members/mute", {"is_channel_muted": True})
    await ada.post(f"{BASE}/{channel_id}/members/pin", {"is_channel_pinned": True})
    [listed] = (await ada.get(f"{BASE}/")).json()
    assert (listed["is_channel_muted"], listed["is_channel_pinned"]) == (True, True)
    [listed] = (await bob.get(f"{BASE}/")).json()
    assert (listed["is_channel_muted"], listed["is_channel_pinned"]) == (False, False)


async def test_what_was_read_is_never_unread_and_ones_own_messages_are_not(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    first = await said(ada, channel_id, "one")
    await said(ada, channel_id, "two")
    await said(ada, channel_id, "a reply", parent_id=first["id"])

    async def unread(user: User) -> int:
        return int((await user.get(f"{BASE}/{channel_id}")).json()["unread_count"])

    assert [await unread(one) for one in (ada, bob)] == [0, 2]
    read = (await bob.post(f"{BASE}/{channel_id}/read", {"version": first["version"]})).json()
    assert read["version"] == first["version"]
    assert await unread(bob) == 1
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{(await said(ada, channel_id, 'three'))['id']}/delete")
    assert await unread(bob) == 1
    await bob.post(f"{BASE}/{channel_id}/read")
    assert await unread(bob) == 0


async def test_an_archived_channel_is_read_only(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    assert (await bob.post(f"{BASE}/{channel_id}/archive", {"archived": True})).status_code == 403
    assert (await ada.post(f"{BASE}/{channel_id}/archive", {"archived": True})).json()["archived"] is True
    assert (await bob.post(f"{BASE}/{channel_id}/messages/post", {"content": "x"})).status_code == 403
    assert (await bob.get(f"{BASE}/{channel_id}")).json()["write_access"] is False
    await ada.post(f"{BASE}/{channel_id}/archive", {"archived": False})
    await said(bob, channel_id, "again")


async def test_a_change_keeps_what_it_does_not_name_and_can_be_made_conditional(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob, data={"a": 1})
    changed = (await ada.post(f"{BASE}/{channel_id}/update", {"name": "Pals"})).json()
    assert (changed["name"], changed["data"]) == ("Pals", {"a": 1})
    stale = await ada.post(f"{BASE}/{channel_id}/update", {"name": "x"}, **{"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (409, "version_conflict")
    assert (await ada.post(f"{BASE}/{channel_id}/members/role", {"user_id": ada.id, "role": "member"})).status_code == 403
    await ada.post(f"{BASE}/{channel_id}/members/role", {"user_id": bob.id, "role": "manager"})
    assert (await bob.get(f"{BASE}/{channel_id}")).json()["is_manager"] is True


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 129}, 400),
        ({"type": "square"}, 400),
        ({"access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]}, 400),
        ({"user_ids": ["nobody"]}, 400),
        ({"user_ids": [str(uuid4())]}, 400),
        ({"group_ids": [str(uuid4())]}, 404),
    ],
)
async def test_what_is_no_channel_is_refused(server: Running, body: dict[str, Any], status: int) -> None:
    ada = await server.sign_up("Ada")
    answer = await ada.post(f"{BASE}/create", {"name": "Friends", "type": "group", **body})
    assert answer.status_code == status, answer.text
    assert await names(ada) == []
