"""Who may come in, and what ends with what."""

import asyncio
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio


async def test_the_first_account_becomes_admin_and_the_next_one_a_user(server: Running) -> None:
    first, second = await server.sign_up(), await server.sign_up("Bob")
    assert (await first.get("/api/v1/auths/")).json()["role"] == "admin"
    assert (await second.get("/api/v1/auths/")).json()["role"] == "user"


async def test_of_many_who_sign_up_at_once_one_becomes_admin(server: Running) -> None:
    users = await asyncio.gather(*(server.sign_up(f"User{number}") for number in range(6)))
    roles = [(await user.get("/api/v1/auths/")).json()["role"] for user in users]
    assert sorted(roles) == ["admin"] + ["user"] * 5


async def test_an_email_belongs_to_one_account_whatever_its_case(server: Running) -> None:
    user = await server.sign_up()
    body = {"name": "Eve", "email": user.email.upper(), "password": "correct horse"}
    answer = await user.post("/api/v1/auths/signup", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "claim_taken")
    assert user.email not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Eve", "email": "eve", "password": "correct horse"},
        {"name": "Eve", "email": "eve@example.org", "password": "short"},
        {"name": "Eve", "email": "eve@example.org", "password": "x" * 1025},
        {"name": "E\u0007ve", "email": "eve@example.org", "password": "correct horse"},
        {"name": " ", "email": "eve@example.org", "password": "correct horse"},
        {"name": "Eve", "email": "eve@example.org"},
        {"name": 7, "email": "eve@example.org", "password": "correct horse"},
        [],
    ],
)
async def test_a_sign_up_that_cannot_be_is_refused_with_a_reason(server: Running, body: Any) -> None:
    user = await server.sign_up()
    answer = await user.post("/api/v1/auths/signup", body)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "bad_request"
    assert isinstance(problem["detail"], str)
    assert problem["detail"]


async def test_a_wrong_password_and_a_wrong_email_are_told_alike(server: Running) -> None:
    user = await server.sign_up()
    wrong = await user.post("/api/v1/auths/signin", {"email": user.email, "password": "incorrect horse"})
    unknown = await user.post("/api/v1/auths/signin", {"email": "nobody@example.org", "password": "incorrect horse"})
    assert wrong.status_code == unknown.status_code == 400
    assert wrong.json()["code"] == "wrong_credentials"
    assert wrong.json() == unknown.json()


async def test_who_guesses_passwords_is_slowed_down(server: Running) -> None:
    user = await server.sign_up()
    statuses = [
        (await user.post("/api/v1/auths/signin", {"email": user.email, "password": f"guess number {n}"})).status_code for n in range(12)
    ]
    assert statuses[:10] == [400] * 10
    assert statuses[10:] == [429] * 2


async def test_one_of_several_workers_lets_through_its_part_of_the_guesses(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, workers=2)) as server:
        user = await server.sign_up()
        guess = {"email": user.email, "password": "incorrect horse"}
        statuses = [(await user.post("/api/v1/auths/signin", guess)).status_code for _ in range(6)]
        assert statuses == [400] * 5 + [429]


async def test_without_a_token_nothing_is_shown(server: Running) -> None:
    user = await server.sign_up()
    user.http.headers.pop("authorization")
    for path in ("/api/v1/chats/", "/api/models", "/v1/models", "/api/v1/users/", "/api/v1/log", "/api/tasks/"):
        answer = await user.get(path)
        refusal = answer.json()
        code = refusal["error"]["code"] if path.startswith("/v1/") else refusal["code"]
        assert (answer.status_code, code) == (401, "invalid_api_key" if path.startswith("/v1/") else "not_authenticated"), path


async def test_a_token_of_another_server_is_refused(server: Running, settings: Settings) -> None:
    user = await server.sign_up()
    async with running(settings) as other:
        stranger = await other.sign_up()
        user.http.headers["authorization"] = f"Bearer {stranger.token}"
        assert (await user.get("/api/v1/auths/")).status_code == 401


async def test_signing_out_ends_this_token_and_no_other(server: Running) -> None:
    user = await server.sign_up()
    other = (await user.post("/api/v1/auths/signin", {"email": user.email, "password": "correct horse"})).json()["token"]
    user.http.cookies.clear()
    assert (await user.post("/api/v1/auths/signout")).status_code == 200
    assert (await user.get("/api/v1/auths/")).status_code == 401
    user.http.headers["authorization"] = f"Bearer {other}"
    assert (await user.get("/api/v1/auths/")).status_code == 200


async def test_a_new_password_ends_every_token(server: Running) -> None:
    user = await server.sign_up()
    body = {"password": "correct horse", "new_password": "battery staple"}
    assert (await user.post("/api/v1/auths/update/password", body)).status_code == 200
    assert (await user.get("/api/v1/auths/")).status_code == 401
    assert (await user.post("/api/v1/auths/signin", {"email": user.email, "password": "correct horse"})).status_code == 400
    assert (await user.post("/api/v1/auths/signin", {"email": user.email, "password": "battery staple"})).status_code == 200


async def test_an_api_key_works_until_it_is_revoked_and_is_shown_once(server: Running) -> None:
    user = await server.sign_up()
    key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
    assert key.startswith("sk-")
    assert key not in (await user.get("/api/v1/auths/api_key")).text
    bearer = user.http.headers["authorization"]
    user.http.headers["authorization"] = f"Bearer {key}"
    assert (await user.get("/api/models")).status_code == 200
    user.http.headers["authorization"] = bearer
    await user.http.delete("/api/v1/auths/api_key")
    user.http.headers["authorization"] = f"Bearer {key}"
    assert (await user.get("/api/models")).status_code == 401


async def test_no_secret_stands_in_the_log(server: Running) -> None:
    user = await server.sign_up()
    key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
    await user.post("/api/v1/auths/ticket")
    log = (await user.get("/api/v1/log")).text
    for secret in ("correct horse", "argon2", key, user.token):
        assert secret not in log


async def test_the_cookie_alone_changes_nothing_for_another_origin(server: Running) -> None:
    user = await server.sign_up()
    user.http.headers.pop("authorization")
    user.http.cookies.set("token", user.token)
    body = {"chat": {"title": "Forged"}}
    assert (await user.post("/api/v1/chats/new", body, origin="https://evil.example")).status_code == 403
    assert (await user.post("/api/v1/chats/new", body, **{"sec-fetch-site": "cross-site"})).status_code == 403
    assert (await user.post("/api/v1/chats/new", body, origin=server.url)).status_code == 200


async def test_an_account_that_waits_for_approval_sees_itself_and_no_more(server: Running) -> None:
    admin, waiting = await server.sign_up(), await server.sign_up("Bob")
    assert (await admin.post(f"/api/v1/users/{waiting.id}/update", {"role": "pending"})).status_code == 200
    assert (await waiting.get("/api/v1/auths/")).json()["role"] == "pending"
    assert (await waiting.get("/api/v1/chats/")).status_code == 403


async def test_only_an_admin_changes_roles_and_nobody_their_own(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    assert (await user.post(f"/api/v1/users/{user.id}/update", {"role": "admin"})).status_code == 403
    assert (await admin.post(f"/api/v1/users/{admin.id}/update", {"role": "user"})).status_code == 403
    assert (await admin.http.delete(f"/api/v1/users/{admin.id}")).status_code == 403
    assert (await admin.post(f"/api/v1/users/{user.id}/update", {"role": "auditor"})).json()["role"] == "auditor"


async def test_an_admin_adds_an_account_that_can_sign_in(server: Running) -> None:
    admin = await server.sign_up()
    body = {"name": "Carl", "email": "carl@example.org", "password": "battery staple", "role": "analyst"}
    assert (await admin.post("/api/v1/auths/add", body)).json()["role"] == "analyst"
    signed_in = await admin.post("/api/v1/auths/signin", {"email": "Carl@example.org", "password": "battery staple"})
    assert signed_in.json()["role"] == "analyst"
    listed = (await admin.get("/api/v1/users/")).json()
    assert listed["total"] == 2
    assert [one["email"] for one in listed["users"]] == [admin.email, "carl@example.org"]


async def test_a_deactivated_account_can_do_nothing_any_more(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
    assert (await admin.http.delete(f"/api/v1/users/{user.id}")).status_code == 200
    assert (await user.get("/api/v1/auths/")).status_code == 403
    user.http.headers["authorization"] = f"Bearer {key}"
    assert (await user.get("/api/models")).status_code == 403
    again = await user.post("/api/v1/auths/signin", {"email": user.email, "password": "correct horse"})
    assert (again.status_code, again.json()["code"]) == (403, "account_inactive")


async def test_settings_are_merged_and_kept(server: Running) -> None:
    user = await server.sign_up()
    await user.post("/api/v1/users/user/settings/update", {"ui": {"theme": "dark"}, "a": 1})
    await user.post("/api/v1/users/user/settings/update", {"a": 2})
    assert (await user.get("/api/v1/users/user/settings")).json() == {"ui": {"theme": "dark"}, "a": 2}


async def ended_with(server: Running, user: User, admin: User, path: str, body: Any) -> int:
    wire = await server.connect(user)
    await (admin.http.delete(path) if body is None else admin.post(path, body))
    return await wire.closed()


async def test_a_change_of_account_ends_open_sockets_at_once(server: Running) -> None:
    admin, bob, carl = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Carl")
    assert await ended_with(server, bob, admin, f"/api/v1/users/{bob.id}/update", {"role": "pending"}) == 4401
    assert await ended_with(server, carl, admin, f"/api/v1/users/{carl.id}", None) == 4401
