"""Keys and sign-ins over HTTP, also as Open WebUI's clients use them."""

from typing import Any

import pytest

from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio
KEYS, SESSIONS, ONE_KEY = "/api/v1/auths/keys", "/api/v1/auths/sessions", "/api/v1/auths/api_key"


async def made(user: User, name: str, **more: Any) -> dict[str, Any]:
    answer = await user.post(KEYS, {"name": name, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def status_with(server: Running, credential: str) -> int:
    async with server.client() as client:
        return (await client.get("/api/models", headers={"authorization": f"Bearer {credential}"})).status_code


async def test_a_second_key_leaves_the_first(server: Running) -> None:
    ada = await server.sign_up()
    first, second = await made(ada, "laptop", scopes=["chat"], expires_at=4_000_000_000), await made(ada, "phone")
    listed = (await ada.get(KEYS)).json()
    assert [(one["id"], one["name"], one["scopes"], one["expires_at"]) for one in listed] == [
        (first["id"], "laptop", ["chat", "read"], 4_000_000_000),
        (second["id"], "phone", None, None),
    ]
    assert not any(key["api_key"] in str(listed) for key in (first, second))
    assert (await status_with(server, first["api_key"]), await status_with(server, second["api_key"])) == (200, 200)
    assert (await ada.http.delete(f"{KEYS}/{first['id']}")).status_code == 200
    assert (await status_with(server, first["api_key"]), await status_with(server, second["api_key"])) == (401, 200)
    again = await ada.http.delete(f"{KEYS}/{first['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "key_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 201},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "expires_at": 1},
        {"name": "x", "expires_at": 2**60},
        {"name": "laptop"},
    ],
)
async def test_a_key_that_cannot_be_is_refused(server: Running, body: dict[str, Any]) -> None:
    ada = await server.sign_up()
    await made(ada, "laptop")
    answer = await ada.post(KEYS, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert len((await ada.get(KEYS)).json()) == 1


async def test_the_one_key_of_open_webuis_clients_is_replaced_and_named_keys_stay(server: Running) -> None:
    ada = await server.sign_up()
    named = await made(ada, "laptop")
    assert (await ada.get(ONE_KEY)).json() == {"api_key": None}
    first = (await ada.post(ONE_KEY)).json()["api_key"]
    second = (await ada.post(ONE_KEY)).json()["api_key"]
    assert (await ada.get(ONE_KEY)).json() == {"api_key": "sk-…"}
    assert [await status_with(server, key) for key in (first, second, named["api_key"])] == [401, 200, 200]
    assert (await ada.http.delete(ONE_KEY)).json() is True
    assert (await ada.get(ONE_KEY)).json() == {"api_key": None}
    assert [await status_with(server, key) for key in (second, named["api_key"])] == [401, 200]


@pytest.mark.parametrize(("asked", "status"), [({}, 401), ({"revoke_keys": True}, 401), ({"revoke_keys": False}, 200)])
async def test_a_new_password_ends_the_keys_unless_they_are_to_stay(server: Running, asked: dict[str, bool], status: int) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    key = (await made(bob, "laptop"))["api_key"]
    body = {"password": "correct horse", "new_password": "battery staple", **asked}
    assert (await bob.post("/api/v1/auths/update/password", body)).status_code == 200
    assert await status_with(server, key) == status
    bob.http.headers["authorization"] = f"Bearer {(await sign_in(bob, 'battery staple'))}"
    key = (await made(bob, "phone"))["api_key"]
    assert (await admin.post(f"/api/v1/users/{bob.id}/update", {"password": "correct horse", **asked})).status_code == 200
    assert await status_with(server, key) == status


async def sign_in(user: User, password: str, **headers: str) -> str:
    answer = await user.post("/api/v1/auths/signin", {"email": user.email, "password": password}, **headers)
    return str(answer.json()["token"])


async def test_an_admin_sees_and_ends_the_keys_and_sign_ins_of_others(server: Running) -> None:
    admin, bob, eve = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Eve")
    keys = [await made(bob, name) for name in ("laptop", "phone")]
    of_bob = f"/api/v1/users/{bob.id}"
    for method, path in (("GET", "/keys"), ("DELETE", "/keys"), ("DELETE", f"/keys/{keys[0]['id']}"), ("DELETE", "/sessions")):
        assert (await eve.http.request(method, of_bob + path)).status_code == 403, path
    assert [one["name"] for one in (await admin.get(f"{of_bob}/keys")).json()] == ["laptop", "phone"]
    assert (await admin.http.delete(f"{of_bob}/keys/{keys[0]['id']}")).status_code == 200
    assert [await status_with(server, key["api_key"]) for key in keys] == [401, 200]
    assert (await admin.http.delete(f"{of_bob}/keys")).status_code == 200
    assert await status_with(server, keys[1]["api_key"]) == 401
    assert (await bob.get("/api/models")).status_code == 200
    assert (await admin.http.delete(f"{of_bob}/sessions")).status_code == 200
    assert (await bob.get("/api/models")).status_code == 401


async def test_sign_ins_are_listed_with_their_client_and_end_one_by_one_or_all(server: Running) -> None:
    ada = await server.sign_up()
    other = await sign_in(ada, "correct horse", **{"user-agent": "A browser"})
    ada.http.cookies.clear()
    await server.system.used._write()  # it would be some seconds later
    known = (await ada.get(SESSIONS)).json()
    assert [(one["user_agent"], one["current"], one["address"]) for one in known] == [
        ("A browser", False, "127.0.0.1"),
        (known[1]["user_agent"], True, "127.0.0.1"),
    ] or {one["user_agent"] for one in known if not one["current"]} == {"A browser"}
    ended = next(one["id"] for one in known if not one["current"])
    assert (await ada.http.delete(f"{SESSIONS}/{ended}")).status_code == 200
    assert await status_with(server, other) == 401
    missing = await ada.http.delete(f"{SESSIONS}/{ended}")
    assert (missing.status_code, missing.json()["code"]) == (404, "session_not_found")
    key = (await made(ada, "laptop"))["api_key"]
    assert (await ada.http.delete(SESSIONS)).status_code == 200
    assert (await ada.get("/api/models")).status_code == 401
    assert await status_with(server, key) == 200
    ada.http.headers["authorization"] = f"Bearer {await sign_in(ada, 'correct horse')}"
    ada.http.cookies.clear()
    assert (await ada.http.delete(f"{SESSIONS}?revoke_keys=true")).status_code == 200
    assert await status_with(server, key) == 401


async def test_when_a_key_was_used_last_is_listed(server: Running) -> None:
    ada = await server.sign_up()
    key = await made(ada, "laptop")
    assert key["last_used_at"] is None
    assert await status_with(server, key["api_key"]) == 200
    await server.system.used._write()  # it would be some seconds later
    (listed,) = (await ada.get(KEYS)).json()
    assert listed["last_used_at"] >= key["created_at"]
