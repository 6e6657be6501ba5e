"""Groups over HTTP, and what being in one gives."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def made(admin: User, **body: Any) -> dict[str, Any]:
    answer = await admin.post("/api/v1/groups/create", {"name": "Writers", "description": "They write", **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_group_has_the_references_form(server: Running) -> None:
    admin = await server.sign_up("Admin")
    group = await made(admin, permissions={"chat": {"delete": False}})
    shown = {name: value for name, value in group.items() if name != "position"}
    assert shown == {
        "id": group["id"],
        "user_id": admin.id,
        "name": "Writers",
        "description": "They write",
        "permissions": {"chat": {"delete": False}},
        "data": {},
        "meta": {},
        "member_count": 0,
        "created_at": group["created_at"],
        "updated_at": group["created_at"],
        "version": 1,
    }
    assert (await admin.get(f"/api/v1/groups/id/{group['id']}")).json() == shown
    assert (await admin.get("/api/v1/groups/")).json() == [shown]


async def test_members_come_and_go_and_unknown_accounts_are_left_out(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    path = f"/api/v1/groups/id/{(await made(admin))['id']}"
    added = (await admin.post(f"{path}/users/add", {"user_ids": [bob.id, ada.id, str(uuid4())]})).json()
    assert (added["member_count"], added["version"]) == (2, 2)
    assert (await admin.post(f"{path}/users/add", {"user_ids": [ada.id]})).json()["version"] == 2
    members = (await admin.post(f"{path}/users")).json()
    assert [(one["id"], one["name"], one["role"]) for one in members] == [(ada.id, "Ada", "user"), (bob.id, "Bob", "user")]
    assert (await admin.get(f"{path}/export")).json()["user_ids"] == sorted([ada.id, bob.id])
    assert [len((await one.get("/api/v1/groups")).json()) for one in (admin, ada)] == [1, 1]
    removed = (await admin.post(f"{path}/users/remove", {"user_ids": [ada.id]})).json()
    assert removed["member_count"] == 1
    assert [len((await one.get("/api/v1/groups")).json()) for one in (admin, ada, bob)] == [1, 0, 1]
    assert (await admin.post(f"{path}/users/add", {"user_ids": None})).json()["member_count"] == 1


async def test_a_change_keeps_what_it_does_not_name(server: Running) -> None:
    admin = await server.sign_up("Admin")
    group = await made(admin, permissions={"chat": {"delete": False}}, data={"config": {"share": False}})
    path = f"/api/v1/groups/id/{group['id']}"
    changed = (await admin.post(f"{path}/update", {"name": "Poets", "description": "They write"})).json()
    assert (changed["name"], changed["permissions"], changed["data"]) == ("Poets", group["permissions"], group["data"])
    changed = (await admin.post(f"{path}/update", {"name": "Poets", "permissions": {}})).json()
    assert (changed["permissions"], changed["version"]) == ({}, 3)


async def test_groups_that_may_be_chosen_for_sharing(server: Running) -> None:
    admin, ada = await server.sign_up("Admin"), await server.sign_up("Ada")
    for name, data in (("open", {}), ("closed", {"config": {"share": False}})):
        group = await made(admin, name=name, data=data)
        await admin.post(f"/api/v1/groups/id/{group['id']}/users/add", {"user_ids": [ada.id]})
    names = [[one["name"] for one in (await ada.get("/api/v1/groups/", share=share)).json()] for share in ("true", "false")]
    assert names == [["open"], ["closed"]]


async def test_only_admins_change_groups_and_everybody_may_know_what_one_is(server: Running) -> None:
    admin, ada = await server.sign_up("Admin"), await server.sign_up("Ada")
    group = await made(admin)
    path = f"/api/v1/groups/id/{group['id']}"
    await admin.post(f"{path}/users/add", {"user_ids": [ada.id]})
    for change in ("update", "users/add", "users/remove", "users"):
        assert (await ada.post(f"{path}/{change}", {"name": "Mine", "user_ids": [ada.id]})).status_code == 403
    for read in ("", "/export"):
        assert (await ada.get(f"{path}{read}")).status_code == 403
    assert (await ada.post("/api/v1/groups/create", {"name": "Mine"})).status_code == 403
    assert (await ada.http.delete(f"{path}/delete")).status_code == 403
    info = {"id": group["id"], "name": "Writers", "description": "They write", "member_count": 1}
    assert (await ada.get(f"{path}/info")).json() == info


async def test_a_deleted_group_is_gone_with_what_it_gave(server: Running) -> None:
    admin, ada = await server.sign_up("Admin"), await server.sign_up("Ada")
    group = await made(admin)
    path = f"/api/v1/groups/id/{group['id']}"
    await admin.post(f"{path}/users/add", {"user_ids": [ada.id]})
    grants = [{"principal_type": "group", "principal_id": group["id"], "permission": "read"}]
    await admin.post("/api/v1/models/create", {"id": "ours", "name": "Ours", "base_model_id": "demo:2", "access_grants": grants})
    assert "ours" in (await ada.get("/api/models")).text
    assert (await admin.http.delete(f"{path}/delete")).json() is True
    assert "ours" not in (await ada.get("/api/models")).text
    for answer in (await admin.get(path), await admin.post(f"{path}/update", {"name": "x"}), await admin.http.delete(f"{path}/delete")):
        assert (answer.status_code, answer.json()["code"]) == (404, "group_not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("create", {}),
        ("create", {"name": " "}),
        ("create", {"name": "x", "permissions": []}),
        ("create", {"name": "x", "permissions": {"a": "x" * 70_000}}),
        ("create", {"name": "x", "description": "x" * 5_000}),
        ("id/{id}/users/add", {"user_ids": ["me"]}),
        ("id/{id}/users/add", {"user_ids": [str(uuid4())] * 5_001}),
    ],
)
async def test_what_cannot_be_meant_is_refused(server: Running, path: str, body: Any) -> None:
    admin = await server.sign_up("Admin")
    group = await made(admin)
    answer = await admin.post(f"/api/v1/groups/{path.format(id=group['id'])}", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert len((await admin.get("/api/v1/groups")).json()) == 1


async def test_a_repeated_request_makes_one_group(server: Running) -> None:
    admin = await server.sign_up("Admin")
    answers = [await admin.post("/api/v1/groups/create", {"name": "Once"}, **{"idempotency-key": "once"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await admin.get("/api/v1/groups")).json()) == 1
