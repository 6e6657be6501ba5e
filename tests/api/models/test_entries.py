"""What people make and say of models over HTTP, and what is shown to whom."""

import json
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from domain.routing.model import ENTRY_BYTES_MAX
from tests.api.conftest import Running, Serving, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

PUBLIC = {"principal_type": "user", "principal_id": "*", "permission": "read"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


async def did(user: User, path: str, body: Any = None, **headers: str) -> Any:
    answer = await user.post(f"/api/v1/models/{path}", body, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(user: User, path: str, body: Any = None) -> tuple[int, str]:
    answer = await user.post(f"/api/v1/models/{path}", body)
    return answer.status_code, answer.json()["code"]


async def shown(user: User, path: str = "/api/models") -> dict[str, dict[str, Any]]:
    return {model["id"]: model for model in (await user.get(path)).json()["data"]}


async def may_ask(user: User, model: str) -> bool:
    answer = await user.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3})
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200


def to(user: User, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "user", "principal_id": user.id, "permission": permission}


def preset(**more: Any) -> dict[str, Any]:
    return {"id": "my-demo", "name": "My demo", "base_model_id": "demo:3", "params": {"system": "Rhyme."}, "meta": {}, **more}


async def people(server: Running) -> tuple[User, User, User]:
    """An admin and two users."""
    return await server.sign_up("Admin"), await server.sign_up("Ada"), await server.sign_up("Bob")


async def new_group(admin: User, *members: User, **permissions: Any) -> str:
    made = await admin.post("/api/v1/groups/create", {"name": "Group", "description": "", "permissions": permissions})
    assert made.status_code == 200, made.text
    added = await admin.post(f"/api/v1/groups/id/{made.json()['id']}/users/add", {"user_ids": [one.id for one in members]})
    assert added.json()["member_count"] == len(members)
    return str(made.json()["id"])


async def test_a_newcomer_asks_every_model_that_is_configured(server: Running) -> None:
    _, ada, _ = await people(server)
    assert "demo" in await shown(ada)
    assert await may_ask(ada, "demo:3")


async def test_a_custom_model_has_the_references_form(server: Running) -> None:
    admin, ada, bob = await people(server)
    meta = {"description": "Rhymes", "tags": [{"name": "Verse"}], "capabilities": {"vision": False}, "profile_image_url": PIXEL}
    made = await did(admin, "create", preset(meta=meta, access_grants=[to(ada)]))
    assert made["position"] > 0
    del made["position"]
    assert made == {
        "id": "my-demo",
        "user_id": admin.id,
        "base_model_id": "demo:3",
        "name": "My demo",
        "params": {"system": "Rhyme."},
        "meta": meta,
        "access_grants": [to(ada)],
        "is_active": True,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "version": 2,
    }
    model = (await shown(ada))["my-demo"]
    assert (model["preset"], model["object"], model["name"], model["tags"]) == (True, "model", "My demo", [{"name": "Verse"}])
    assert (model["created"], model["actions"], model["filters"]) == (made["created_at"], [], [])
    info = model["info"]
    assert (info["params"], info["access_grants"], info["base_model_id"]) == ({}, [], "demo:3"), "for those who may change it"
    assert "profile_image_url" not in info["meta"]
    assert info["meta"]["capabilities"] == {"vision": False}
    assert (await shown(admin))["my-demo"]["info"]["params"] == {"system": "Rhyme."}
    entry = (await ada.get("/api/v1/models/model", id="my-demo")).json()
    assert (entry["write_access"], entry["params"], entry["meta"]) == (False, {}, meta)
    picture = await ada.get("/api/v1/models/model/profile/image", id="my-demo")
    assert picture.headers["content-type"] == "image/png"
    assert (await bob.get("/api/v1/models/model/profile/image", id="my-demo")).headers["content-type"].startswith("image/svg")
    assert "my-demo" not in await shown(bob)
    for path in ("/v1/models", "/openai/models", "/api/v1/models"):
        assert [("my-demo" in await shown(one, path)) for one in (ada, bob)] == [True, False]
    assert [(await one.get("/v1/models/my-demo")).status_code for one in (ada, bob)] == [200, 404]


async def test_a_custom_model_answers_with_its_base_and_its_settings(server: Running) -> None:
    admin, ada, _ = await people(server)
    await did(admin, "create", preset(base_model_id="demo:2", access_grants=[PUBLIC]))
    body = {"model": "my-demo", "messages": [{"role": "user", "content": "Hello"}]}
    answer = await ada.post("/api/chat/completions", body)
    assert answer.status_code == 200, answer.text
    [start] = await starts(ada, answer.json()["chat_id"])
    assert (start["model"], start["requested_model"], start["selected_model_id"]) == ("my-demo", "my-demo", None)
    assert start["base_model_id"] == "demo:2"
    assert answer.json()["model"] == "my-demo"


async def starts(user: User, chat_id: str) -> list[dict[str, Any]]:
    events = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_start")).json()["events"]
    return [event["data"]["data"] for event in events]


@pytest.mark.parametrize("fields", [{}, {"params": None, "meta": None}, {"params": {"temperature": None}, "meta": {"capabilities": None}}])
async def test_null_and_missing_params_and_capabilities_are_no_error(server: Running, fields: dict[str, Any]) -> None:
    admin = await server.sign_up()
    body = {name: value for name, value in preset().items() if name not in ("params", "meta")} | fields
    made = await did(admin, "create", body)
    assert (made["params"], made["meta"]) == ({}, {})
    assert await may_ask(admin, "my-demo")
    kept = await did(admin, "model/update", {"id": "my-demo", "name": "My demo"})
    assert (kept["base_model_id"], kept["version"]) == ("demo:3", made["version"])


async def test_an_update_says_what_there_is_and_a_repeat_changes_nothing(server: Running) -> None:
    admin = await server.sign_up()
    await did(admin, "create", preset(params={"system": "Rhyme.", "temperature": 0}))
    body = preset(name="Renamed", params={"temperature": 1}, is_active=False, access_grants=[PUBLIC])
    changed = await did(admin, "model/update", body)
    assert (changed["name"], changed["params"], changed["is_active"]) == ("Renamed", {"temperature": 1}, False)
    assert changed["access_grants"] == [PUBLIC]
    assert (await did(admin, "model/update", body))["version"] == changed["version"]
    assert not await may_ask(admin, "my-demo")
    assert "my-demo" not in await shown(admin)
    assert (await did(admin, "model/toggle?id=my-demo"))["is_active"] is True
    assert await may_ask(admin, "my-demo")


async def test_who_may_do_what_with_a_model(server: Running) -> None:
    admin, ada, bob = await people(server)
    await new_group(admin, ada, workspace={"models": True})
    assert await refused(bob, "create", preset()) == (403, "forbidden")
    assert await refused(ada, "create", preset(base_model_id=None)) == (403, "forbidden")
    assert await refused(ada, "create", preset(id="demo")) == (403, "forbidden")
    made = await did(ada, "create", preset(access_grants=[PUBLIC, to(bob)]))
    assert made["access_grants"] == [to(bob)], "everybody is for those with the permission"
    assert await refused(admin, "create", preset()) == (401, "model_exists")
    changes = [
        ("model/update", preset(name="Stolen")),
        ("model/access/update", {"id": "my-demo", "access_grants": []}),
        ("model/toggle?id=my-demo", None),
        ("model/delete", {"id": "my-demo"}),
    ]
    for path, body in changes:  # a reader, and what is not there
        assert await refused(bob, path, body) == (401, "model_entry_not_found")
        unknown = json.loads(json.dumps(body).replace("my-demo", "nothing"))
        assert await refused(bob, path.replace("my-demo", "nothing"), unknown) == (401, "model_entry_not_found")
    assert (await bob.get("/api/v1/models/model", id="nothing")).status_code == 401
    await did(ada, "model/access/update", {"id": "my-demo", "access_grants": [to(bob, "write")]})
    assert (await did(bob, "model/update", preset(name="Ours")))["name"] == "Ours"
    assert await did(ada, "model/delete", {"id": "my-demo"}) is True
    assert (await ada.get("/api/v1/models/model", id="my-demo")).status_code == 401
    assert [one for one in (ada, bob) if await may_ask(one, "my-demo")] == []
    for path in ("base", "base/tags"):
        assert ((await ada.get(f"/api/v1/models/{path}")).status_code, (await admin.get(f"/api/v1/models/{path}")).status_code) == (
            403,
            200,
        )
    assert (await ada.http.delete("/api/v1/models/delete/all")).status_code == 403


async def test_an_admin_restricts_a_providers_model_and_opens_it_again(server: Running) -> None:
    admin, ada, bob = await people(server)
    group_id = await new_group(admin, ada)
    grant = {"principal_type": "group", "principal_id": group_id, "permission": "read"}
    assert await refused(ada, "model/access/update", {"id": "demo", "access_grants": []}) == (401, "model_entry_not_found")
    said = await did(admin, "model/access/update", {"id": "demo", "name": "Demo", "access_grants": [grant]})
    assert (said["base_model_id"], said["name"], said["access_grants"]) == (None, "Demo", [grant])
    assert [("demo" in await shown(one), await may_ask(one, "demo:3")) for one in (admin, ada, bob)] == [(True, True)] * 2 + [
        (False, False)
    ]
    removed = await admin.post(f"/api/v1/groups/id/{group_id}/users/remove", {"user_ids": [ada.id]})
    assert removed.json()["member_count"] == 0
    assert not await may_ask(ada, "demo")
    assert [one["id"] for one in (await admin.get("/api/v1/models/base")).json()] == ["demo"]
    assert await did(admin, "model/delete", {"id": "demo"}) is True
    assert await may_ask(bob, "demo:3")


async def test_the_list_is_filtered_sorted_and_paged(server: Running) -> None:
    admin, ada, _ = await people(server)
    for number in range(31):
        meta = {"tags": [{"name": "Odd" if number % 2 else "even"}]}
        await did(admin, "create", preset(id=f"m{number:02}", name=f"Model {40 - number}", meta=meta, access_grants=[PUBLIC][: number % 2]))
    await did(admin, "create", preset(id="demo", name="Said", base_model_id=None))

    async def listed(user: User, **params: Any) -> tuple[list[str], int]:
        answer = (await user.get("/api/v1/models/list", **params)).json()
        return [one["id"] for one in answer["items"]], answer["total"]

    assert await listed(admin) == ([f"m{number:02}" for number in range(30)], 31)
    assert await listed(admin, page=2) == (["m30"], 31)
    assert await listed(admin, order_by="name", query="model 1") == ([f"m{number}" for number in range(30, 20, -1)], 10)
    assert (await listed(admin, direction="desc"))[0][0] == "m30"
    assert await listed(ada, tag="odd") == ([f"m{number:02}" for number in range(1, 31, 2)], 15)
    assert (await listed(ada, tag="even"), await listed(ada, view_option="created")) == (([], 0), ([], 0))
    assert (await listed(admin, view_option="created"))[1] == 31
    [first, *_] = (await ada.get("/api/v1/models/list")).json()["items"]
    assert (first["user"], first["write_access"], first["params"]) == ({"id": admin.id, "name": "Admin"}, False, {})
    assert (await ada.get("/api/v1/models/tags")).json() == ["Odd"]
    assert (await admin.get("/api/v1/models/tags")).json() == ["Odd", "even"]
    assert (await admin.http.delete("/api/v1/models/delete/all")).json() is True
    assert await listed(admin) == ([], 0)


async def test_what_was_exported_is_imported_and_what_cannot_be_kept_imports_nothing(server: Running) -> None:
    admin, ada, bob = await people(server)
    await did(admin, "create", preset(access_grants=[to(ada)]))
    await did(admin, "create", preset(id="arena", base_model_id=None, meta={"model_ids": ["demo"]}))
    await did(admin, "create", preset(id="demo", base_model_id=None))
    exported = (await admin.get("/api/v1/models/export")).json()
    assert [one["id"] for one in exported] == ["my-demo", "arena", "demo"]
    await admin.http.delete("/api/v1/models/delete/all")
    assert await refused(bob, "import", {"models": exported}) == (403, "forbidden")
    bad = [{"id": "first", "name": "First"}, {"id": "two words", "name": "Second"}]
    assert await refused(admin, "import", {"models": bad}) == (400, "bad_request")
    assert (await admin.get("/api/v1/models/export")).json() == []
    for _ in range(2):  # safe to repeat
        assert await did(admin, "import", {"models": exported}) is True
    again = (await admin.get("/api/v1/models/export")).json()
    volatile = ("created_at", "updated_at", "version")
    assert [{k: v for k, v in one.items() if k not in volatile} for one in again] == [
        {k: v for k, v in one.items() if k not in volatile} for one in exported
    ]
    assert (again[0]["version"], again[0]["created_at"]) == (exported[0]["version"] + 3, exported[0]["created_at"])
    assert await did(admin, "import", {"models": [{"id": "my-demo", "meta": {"description": "New"}}]}) is True
    partly = (await admin.get("/api/v1/models/model", id="my-demo")).json()
    kept = {"name": "My demo", "base_model_id": "demo:3", "params": {"system": "Rhyme."}, "access_grants": [to(ada)]}
    assert {name: partly[name] for name in kept} == kept
    assert partly["meta"] == {"description": "New"}
    await new_group(admin, ada, workspace={"models": True})
    assert await did(ada, "import", {"models": [preset(name="Stolen"), preset(id="mine"), preset(id="demo:3"), {"id": "bare"}]}) is True
    assert [(one["id"], one["name"]) for one in (await ada.get("/api/v1/models/export")).json()] == [("mine", "My demo")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("create", {"name": "x"}),
        ("create", preset(id="")),
        ("create", preset(id="x" * 257)),
        ("create", preset(id="a\u0000b")),
        ("create", preset(name="\u202e")),
        ("create", preset(params="text")),
        ("create", preset(meta=[])),
        ("create", preset(meta={"model_ids": [None]})),
        ("create", preset(access_grants=[None])),
        ("create", preset(access_grants=[{**PUBLIC, "permission": "own"}])),
        ("create", preset(access_grants=[{**PUBLIC, "principal_type": "anyone"}])),
        ("create", preset(access_grants=[{**PUBLIC, "principal_id": "me"}])),
        ("create", preset(params={"system": "x" * ENTRY_BYTES_MAX})),
        ("model/access/update", {"id": "my-demo"}),
        ("model/delete", {}),
        ("model/toggle", None),
        ("import", {"models": [{}]}),
        ("import", {"models": [preset(), preset()]}),
        ("import", {"models": [preset(id=f"m{number}") for number in range(1001)]}),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_written(server: Running, path: str, body: Any) -> None:
    admin = await server.sign_up()
    before = await server.systems[0].log.head()
    answer = await admin.post(f"/api/v1/models/{path}", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert await server.systems[0].log.head() == before


async def test_a_repeated_request_gets_the_first_answer(server: Running) -> None:
    admin = await server.sign_up()
    made = await did(admin, "create", preset(), **{"idempotency-key": "make"})
    assert await did(admin, "create", preset(), **{"idempotency-key": "make"}) == made
    off = await did(admin, "model/toggle?id=my-demo", **{"idempotency-key": "off"})
    assert await did(admin, "model/toggle?id=my-demo", **{"idempotency-key": "off"}) == off
    assert off["is_active"] is False


async def test_who_gave_whom_access_stands_in_the_log_for_auditors(server: Running) -> None:
    admin, ada, bob = await people(server)
    await admin.post(f"/api/v1/users/{bob.id}/update", {"role": "auditor"})
    await did(admin, "create", preset(access_grants=[to(ada)]))
    await did(admin, "model/access/update", {"id": "my-demo", "access_grants": []})
    group_id = await new_group(admin, ada)
    log = (await bob.get("/api/v1/log", after=server.cursor(0))).json()["events"]
    [stream] = {event["stream"] for event in log if event["stream"].startswith("model/")}
    for reader, status in ((admin, 200), (bob, 200), (ada, 404)):
        for name in (stream, f"group/{group_id}"):
            assert (await reader.get(f"/api/v1/streams/{name}/events")).status_code == status
    events = (await bob.get(f"/api/v1/streams/{stream}/events")).json()["events"]
    assert [(event["data"]["type"], event["user"]["name"]) for event in events] == [
        ("model_created", "Admin"),
        ("access_granted", "Admin"),
        ("access_revoked", "Admin"),
    ]
    assert events[1]["data"]["data"] == to(ada)
    wire = await server.connect(bob)
    await wire.say(op="subscribe", id="1", stream=stream, after=server.cursor(1), snapshot=True)
    snapshot = await wire.op("snapshot")
    assert (snapshot["version"], snapshot["state"]["id"], snapshot["state"]["deleted"]) == (3, "my-demo", False)
    await wire.say(op="subscribe", id="2", stream=f"group/{group_id}", after=server.cursor(1), snapshot=True)
    snapshot = await wire.op("snapshot", stream=f"group/{group_id}")
    assert snapshot["state"]["user_ids"] == [ada.id]
    other = await server.connect(ada)
    await other.say(op="subscribe", id="1", stream=stream, after="start")
    assert (await other.op("error"))["code"] == "stream_not_found"


async def test_an_api_key_does_what_its_scopes_say(server: Running) -> None:
    admin = await server.sign_up()

    async def keyed(*scopes: str) -> User:
        made = (await admin.post("/api/v1/auths/keys", {"name": "-".join(scopes), "scopes": scopes})).json()
        http = await server.clients.enter_async_context(server.client(headers={"authorization": f"Bearer {made['api_key']}"}))
        return User(http, admin.id, made["api_key"], admin.email)

    reader, chatter, ruler = await keyed("read"), await keyed("chat"), await keyed("admin", "chat")
    assert (await reader.get("/api/v1/models/list")).status_code == 200
    assert await refused(reader, "create", preset()) == (403, "scope_missing")
    assert await refused(chatter, "create", preset()) == (403, "forbidden"), "it acts as a user"
    assert (await did(ruler, "create", preset()))["id"] == "my-demo"
    assert "my-demo" in await shown(chatter), "it is the account's own"


@pytest.mark.parametrize(("rule", "expected"), [("open", (True, True)), ("granted", (False, False)), ("bypass", (True, True))])
async def test_the_operator_decides_on_models_of_which_nobody_said_anything(
    settings: Settings, rule: Any, expected: tuple[bool, bool], serving: Serving
) -> None:
    async with serving(msgspec.structs.replace(settings, model_access=rule)) as server:
        admin, ada, _ = await people(server)
        assert ("demo" in await shown(ada), await may_ask(ada, "demo:3")) == expected
        assert ("demo" in await shown(admin), await may_ask(admin, "demo:3")) == (True, True)
