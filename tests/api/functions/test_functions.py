"""``/api/v1/functions``: what admins put in runs on every process, and what is wrong with it is said."""

import asyncio
from typing import Any

import pytest

from api.process.server import System
from domain.log.stream import function_stream
from domain.routing.function import MASK
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

FILTER = '''"""
title: A filter
author: Ada
version: 1.0
"""
from pydantic import BaseModel


class Filter:
    class Valves(BaseModel):
        priority: int = 0
        api_key: str = ""

    class UserValves(BaseModel):
        loud: bool = False

    def __init__(self):
        self.valves = self.Valves()
        self.toggle = True

    def inlet(self, body: dict) -> dict:
        return body
'''


async def put(admin: User, function_id: str = "a_filter", content: str = FILTER, **more: Any) -> dict[str, Any]:
    answer = await admin.post("/api/v1/functions/create", {"id": function_id, "name": "A filter", "content": content, "meta": {}, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def loaded(server: Running, function_id: str, sha256: str) -> None:
    """Every process runs this source."""

    def runs(system: System) -> bool:
        found = system.functions.runtime.get(function_id)
        return found is not None and found.sha256 == sha256

    async with asyncio.timeout(60):
        while not all(map(runs, server.systems)):  # noqa: ASYNC110 - nothing there offers an event
            await asyncio.sleep(0.02)


async def test_a_function_is_put_in_switched_on_changed_and_taken_out(server: Running) -> None:
    admin = await server.sign_up()
    made = await put(admin)
    assert made["type"] == "filter"
    assert made["meta"] == {"manifest": {"title": "A filter", "author": "Ada", "version": "1.0"}, "toggle": True}
    assert (made["is_active"], made["is_global"], made["user_id"], made["origin"]) == (False, False, admin.id, "api")
    on = (await admin.post("/api/v1/functions/id/a_filter/toggle")).json()
    assert on["is_active"]
    assert on["content"] == FILTER
    assert (await admin.post("/api/v1/functions/id/a_filter/toggle/global")).json()["is_global"]
    await loaded(server, "a_filter", made["sha256"])
    changed = await admin.post(
        "/api/v1/functions/id/a_filter/update", {"id": "a_filter", "name": "Other", "content": FILTER + "# more\n", "meta": {"x": 1}}
    )
    assert changed.status_code == 200
    assert changed.json()["name"] == "Other"
    await loaded(server, "a_filter", changed.json()["sha256"])
    await server.settled()
    assert [one["id"] for one in (await admin.get("/api/v1/functions/")).json()] == ["a_filter"]
    assert (await admin.get("/api/v1/functions/list")).json()[0]["user"]["email"] == admin.email
    assert (await admin.http.delete("/api/v1/functions/id/a_filter/delete")).json() is True
    await server.settled()
    assert (await admin.get("/api/v1/functions/id/a_filter")).status_code == 401


async def test_the_log_says_which_source_ran_and_who_put_it_in(server: Running) -> None:
    admin = await server.sign_up()
    made = await put(admin)
    system = server.systems[0]
    stream_id, _ = await system.functions.library.find("a_filter")
    (created,) = await system.log.read(function_stream(stream_id), limit=10)
    assert created.type == "function_created"
    assert made["sha256"].encode() in created.data
    assert admin.id.encode() in (created.actor or b"")
    kept = await system.stores.blobs.get(function_stream(stream_id), made["sha256"])
    assert kept == FILTER.encode()


async def test_each_save_is_a_version_and_an_older_one_can_be_put_back(server: Running) -> None:
    admin = await server.sign_up()
    user = await server.sign_up("Bob")
    first = await put(admin)
    path = "/api/v1/functions/id/a_filter"
    changed = {"id": "a_filter", "name": "A better filter", "content": FILTER + "# better\n", "meta": {}}
    for _ in range(2):  # an equal one is no version
        assert (await admin.post(f"{path}/update", changed)).status_code == 200
    await admin.post(f"{path}/toggle")
    newest, oldest = (await admin.get(f"{path}/history")).json()
    assert (oldest["version"], oldest["sha256"], oldest["is_production"]) == (1, first["sha256"], False)
    assert (newest["version"], newest["name"], newest["is_production"], newest["user_id"]) == (2, "A better filter", True, admin.id)
    assert (await admin.get(f"{path}/history/1")).json()["content"] == FILTER

    restored = (await admin.post(f"{path}/update/version", {"version": 1})).json()
    assert (restored["content"], restored["name"], restored["is_active"]) == (FILTER, "A filter", True)
    assert [one["sha256"] for one in (await admin.get(f"{path}/history")).json()] == [first["sha256"], newest["sha256"], first["sha256"]]
    await loaded(server, "a_filter", first["sha256"])
    again = (await admin.post(f"{path}/update/version", {"version": 1})).json()
    assert again["version"] == restored["version"]

    missing = await admin.post(f"{path}/update/version", {"version": 3})  # the switch: no version of the function
    assert (missing.status_code, missing.json()["code"]) == (404, "function_version_not_found")
    for refused in (
        await user.get(f"{path}/history"),
        await user.get(f"{path}/history/1"),
        await user.post(f"{path}/update/version", {"version": 1}),
    ):
        assert refused.status_code == 403, refused.text
    await admin.http.delete(f"{path}/delete")
    assert (await admin.get(f"{path}/history")).status_code == 401
    await put(admin)
    assert [one["is_production"] for one in (await admin.get(f"{path}/history")).json()] == [True]  # what was before does not count


async def test_only_admins_put_functions_in_and_read_their_source(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    await put(admin)
    await server.settled()
    assert [set(one) >= {"id", "type"} and "content" not in one for one in (await user.get("/api/v1/functions/")).json()] == [True]
    body = {"id": "mine", "name": "Mine", "content": FILTER, "meta": {}}
    for method, path, given in (
        ("POST", "create", body),
        ("GET", "list", None),
        ("GET", "export", None),
        ("GET", "errors", None),
        ("GET", "id/a_filter", None),
        ("POST", "id/a_filter/update", body),
        ("POST", "id/a_filter/toggle", None),
        ("POST", "id/a_filter/toggle/global", None),
        ("GET", "id/a_filter/valves", None),
        ("GET", "id/a_filter/valves/spec", None),
        ("POST", "id/a_filter/valves/update", {}),
        ("DELETE", "id/a_filter/delete", None),
    ):
        answer = await user.http.request(method, f"/api/v1/functions/{path}", json=given)
        assert (answer.status_code, answer.json().get("code")) == (403, "forbidden"), path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("class Filter:\n    def inlet(self body): pass\n", {"reason": "syntax", "line": 2}),
        ("import no_such_package\n", {"reason": "import", "line": 1}),
        ("x = 1\n", {"reason": "no_class", "line": None}),
        ("class Filter:\n    def __init__(self):\n        1 / 0\n", {"reason": "exception", "line": 3}),
    ],
    ids=["syntax", "import", "no class", "exception"],
)
async def test_a_source_that_cannot_run_is_refused_with_its_line(server: Running, content: str, expected: dict[str, Any]) -> None:
    admin = await server.sign_up()
    answer = await admin.post("/api/v1/functions/create", {"id": "f", "name": "F", "content": content, "meta": {}})
    assert answer.status_code == 400
    assert answer.json() | {"code": "function_not_loaded", "function_id": "f"} | expected == answer.json()
    assert (await admin.get("/api/v1/functions/")).json() == []


async def test_what_is_taken_unknown_or_no_id_is_refused(server: Running) -> None:
    admin = await server.sign_up()
    await put(admin)
    again = await admin.post("/api/v1/functions/create", {"id": "A_Filter", "name": "A", "content": FILTER, "meta": {}})
    assert (again.status_code, again.json()["code"]) == (400, "function_exists")
    bad = await admin.post("/api/v1/functions/create", {"id": "a-b", "name": "A", "content": FILTER, "meta": {}})
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_request")
    for path in ("", "/valves", "/valves/spec", "/valves/user", "/valves/user/spec"):
        answer = await admin.get(f"/api/v1/functions/id/unknown{path}")
        assert (answer.status_code, answer.json()["code"]) == (401, "function_not_found"), path


async def test_valves_are_set_and_read_and_secrets_never_come_out(server: Running) -> None:
    admin = await server.sign_up()
    await put(admin)
    assert (await admin.get("/api/v1/functions/id/a_filter/valves")).json() == {}
    schema = (await admin.get("/api/v1/functions/id/a_filter/valves/spec")).json()
    assert set(schema["properties"]) == {"priority", "api_key"}
    set_ = await admin.post("/api/v1/functions/id/a_filter/valves/update", {"priority": 4, "api_key": "sk-secret"})
    assert set_.json() == {"priority": 4, "api_key": MASK}
    await server.settled()
    assert (await admin.get("/api/v1/functions/id/a_filter/valves")).json() == {"priority": 4, "api_key": MASK}
    exported = await admin.get("/api/v1/functions/export", include_valves=True)
    assert exported.json()[0]["valves"] == {"priority": 4, "api_key": MASK}
    assert "sk-secret" not in exported.text
    refused = await admin.post("/api/v1/functions/id/a_filter/valves/update", {"priority": "high"})
    assert (refused.status_code, refused.json()["code"]) == (400, "valves_refused")
    assert refused.json()["problems"][0]["name"] == "priority"


async def test_a_user_sets_valves_of_their_own_where_the_function_is_on(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    await put(admin)
    assert (await user.get("/api/v1/functions/id/a_filter/valves/user/spec")).json() is None
    refused = await user.post("/api/v1/functions/id/a_filter/valves/user/update", {"loud": True})
    assert (refused.status_code, refused.json()["code"]) == (400, "function_inactive")
    assert "not active" in refused.json()["detail"]
    await admin.post("/api/v1/functions/id/a_filter/toggle")
    await server.settled()
    assert "loud" in (await user.get("/api/v1/functions/id/a_filter/valves/user/spec")).json()["properties"]
    assert (await user.post("/api/v1/functions/id/a_filter/valves/user/update", {"loud": True})).json() == {"loud": True}
    assert (await user.get("/api/v1/functions/id/a_filter/valves/user")).json() == {"loud": True}
    assert (await admin.get("/api/v1/functions/id/a_filter/valves/user")).json() == {}


async def test_a_stream_of_a_function_is_for_those_who_read_everything(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    await put(admin)
    stream_id, _ = await server.systems[0].functions.library.find("a_filter")
    assert (await user.get(f"/api/v1/streams/function/{stream_id}/events")).status_code == 404
