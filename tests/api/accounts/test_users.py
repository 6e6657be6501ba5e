"""What people may see and change of themselves and of each other, and how a browser is kept from being used."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio

PICTURE = "data:image/png;base64,iVBORw0KGgo="


async def refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def as_browser(user: User) -> None:
    """Known by the cookie alone."""
    user.http.headers.pop("authorization")
    user.http.cookies.set("token", user.token)


# ------------------------------------------------------------------------------------------------------------ the cookie


async def test_the_cookie_of_a_sign_in_is_out_of_reach_for_scripts_and_other_sites(server: Running) -> None:
    user = await server.sign_up()
    answer = await user.post("/api/v1/auths/signin", {"email": user.email, "password": "correct horse"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"token={answer.json()['token']};")
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"):
        assert attribute in cookie
    gone = (await user.post("/api/v1/auths/signout")).headers["set-cookie"]
    assert "Max-Age=0" in gone


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "OWN"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "OWN"}, 200),
    ],
)
async def test_a_cookie_alone_changes_something_only_from_our_own_page(server: Running, headers: dict[str, str], status: int) -> None:
    user = await server.sign_up()
    as_browser(user)
    sent = {name: server.url if value == "OWN" else value for name, value in headers.items()}
    assert (await user.post("/api/v1/auths/ticket", **sent)).status_code == status
    assert (await user.get("/api/v1/auths/")).status_code == 200  # it may read: no other page sees the answer


async def test_a_token_in_the_header_needs_no_origin_and_beats_the_cookie(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    ada.http.cookies.set("token", bob.token)
    assert (await ada.post("/api/v1/auths/ticket", origin="https://evil.example")).status_code == 200
    assert (await ada.get("/api/v1/auths/")).json()["id"] == ada.id


async def test_a_script_does_not_learn_the_cookie_s_token(server: Running) -> None:
    user = await server.sign_up()
    assert (await user.get("/api/v1/auths/")).json()["token"] == user.token
    as_browser(user)
    session = await user.get("/api/v1/auths/")
    assert session.json()["id"] == user.id
    assert user.token not in session.text


async def test_who_is_not_signed_in_any_more_can_still_sign_out(server: Running) -> None:
    user = await server.sign_up()
    as_browser(user)
    for _ in range(2):
        answer = await user.http.get("/api/v1/auths/signout")
        assert (answer.status_code, answer.json()) == (200, {"status": True})
        user.http.cookies.set("token", user.token)
    assert (await user.get("/api/v1/auths/")).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Basic YTpi", "bearer nonsense", "Bearer " + "x" * 5000, "Bearer sk-none", "Token x"])
async def test_a_header_that_names_nobody_opens_nothing(server: Running, header: str) -> None:
    user = await server.sign_up()
    user.http.headers["authorization"] = header
    await refused(await user.get("/api/v1/auths/"), 401, "not_authenticated")


# ------------------------------------------------------------------------------------------------------------- profiles


async def test_a_session_has_the_reference_s_shape(server: Running) -> None:
    user = await server.sign_up()
    session = (await user.get("/api/v1/auths/")).json()
    assert session | {"expires_at": 0} == {
        "token": user.token,
        "token_type": "Bearer",
        "expires_at": 0,
        "id": user.id,
        "name": "Ada",
        "email": user.email,
        "role": "admin",
        "profile_image_url": f"/api/v1/users/{user.id}/profile/image",
        "permissions": {},
    }


async def test_a_person_changes_their_name_and_picture(server: Running) -> None:
    user = await server.sign_up()
    body = {"name": " Ada L. ", "profile_image_url": PICTURE, "webhook_url": "not known here"}
    changed = (await user.post("/api/v1/auths/update/profile", body)).json()
    session = (await user.get("/api/v1/auths/")).json()
    for seen in (changed, session):
        assert (seen["name"], seen["profile_image_url"]) == ("Ada L.", PICTURE)
    assert [event["data"]["type"] for event in (await user.get("/api/v1/log")).json()["events"]][-2:] == ["user_renamed", "profile_changed"]


@pytest.mark.parametrize(
    "body", [{"name": "A\u0000"}, {"name": "Ada", "profile_image_url": "javascript:alert(1)"}, {"profile_image_url": "/x"}]
)
async def test_a_profile_that_cannot_be_shown_is_refused(server: Running, body: dict[str, str]) -> None:
    user = await server.sign_up()
    await refused(await user.post("/api/v1/auths/update/profile", body), 400, "bad_request")


async def test_others_see_a_name_and_a_picture_and_no_more(server: Running) -> None:
    admin, bob, carl = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Carl")
    seen = (await bob.get(f"/api/v1/users/{carl.id}")).json()
    assert seen == {"id": carl.id, "name": "Carl", "profile_image_url": f"/api/v1/users/{carl.id}/profile/image", "deactivated": False}
    for reader in (admin, carl):
        assert (await reader.get(f"/api/v1/users/{carl.id}")).json()["email"] == carl.email
    await refused(await bob.get(f"/api/v1/users/{uuid4()}"), 400, "user_not_found")
    assert (await bob.get("/api/v1/users/nobody")).status_code == 404


# --------------------------------------------------------------------------------------------------------------- admins


async def test_only_an_admin_sees_the_list_and_changes_others(server: Running) -> None:
    _, bob, carl = await server.sign_up(), await server.sign_up("Bob"), await server.sign_up("Carl")
    await refused(await bob.get("/api/v1/users/"), 403, "forbidden")
    await refused(await bob.post(f"/api/v1/users/{carl.id}/update", {"name": "Fool"}), 403, "forbidden")
    await refused(await bob.http.delete(f"/api/v1/users/{carl.id}"), 403, "forbidden")
    body = {"name": "Eve", "email": "eve@example.org", "password": "correct horse", "role": "admin"}
    await refused(await bob.post("/api/v1/auths/add", body), 403, "forbidden")
    assert (await carl.get("/api/v1/auths/")).json()["name"] == "Carl"


async def test_the_list_comes_in_pages(server: Running) -> None:
    admin = await server.sign_up()
    first = (await admin.get("/api/v1/users/", page=1)).json()
    assert (first["total"], [one["id"] for one in first["users"]]) == (1, [admin.id])
    assert (await admin.get("/api/v1/users/", page=2)).json()["users"] == []
    for page in ("0", "-1", "x", "1" + "0" * 30):
        assert (await admin.get("/api/v1/users/", page=page)).status_code == 400, page


async def test_an_admin_changes_everything_but_the_email(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    # The whole form, as the reference's page sends it.
    form = {"role": "analyst", "name": "Robert", "email": bob.email.upper(), "profile_image_url": PICTURE, "password": ""}
    changed = (await admin.post(f"/api/v1/users/{bob.id}/update", form)).json()
    assert (changed["role"], changed["name"], changed["email"], changed["profile_image_url"]) == ("analyst", "Robert", bob.email, PICTURE)
    await refused(await admin.post(f"/api/v1/users/{bob.id}/update", {"email": "other@example.org"}), 400, "bad_request")
    await refused(await admin.post(f"/api/v1/users/{bob.id}/update", {"role": "emperor"}), 400, "bad_request")
    await refused(await admin.post(f"/api/v1/users/{uuid4()}/update", {"role": "user"}), 400, "user_not_found")
    own = {"role": "admin", "name": "Root", "email": admin.email, "password": ""}
    assert (await admin.post(f"/api/v1/users/{admin.id}/update", own)).json()["name"] == "Root"


async def test_an_admin_sets_a_password_and_the_old_session_ends(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    assert (await admin.post(f"/api/v1/users/{bob.id}/update", {"password": "battery staple"})).status_code == 200
    await refused(await bob.get("/api/v1/auths/"), 401, "not_authenticated")
    assert (await bob.post("/api/v1/auths/signin", {"email": bob.email, "password": "battery staple"})).status_code == 200


async def test_a_deactivated_account_is_listed_as_one_and_stays_gone(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    for _ in range(2):
        assert (await admin.http.delete(f"/api/v1/users/{bob.id}")).json() is True
    assert [one["deactivated"] for one in (await admin.get("/api/v1/users/")).json()["users"]] == [False, True]
    await refused(await bob.get("/api/v1/auths/"), 403, "account_inactive")
    await refused(await admin.post(f"/api/v1/users/{bob.id}/update", {"role": "admin"}), 403, "account_inactive")
    body = {"name": "Bob", "email": bob.email, "password": "correct horse"}
    await refused(await admin.post("/api/v1/auths/signup", body), 400, "claim_taken")


async def test_a_person_may_leave(server: Running) -> None:
    _, bob = await server.sign_up(), await server.sign_up("Bob")
    assert (await bob.http.delete(f"/api/v1/users/{bob.id}")).json() is True
    await refused(await bob.get("/api/v1/auths/"), 403, "account_inactive")


@pytest.mark.parametrize("body", [[], 7, None, "x", {"big": "x" * 300_000}])
async def test_settings_that_cannot_be_kept_are_refused(server: Running, body: Any) -> None:
    user = await server.sign_up()
    await refused(await user.post("/api/v1/users/user/settings/update", body), 400, "bad_request")
    assert (await user.get("/api/v1/users/user/settings")).json() == {}


async def test_an_account_that_waits_for_approval_may_only_see_and_end_itself(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    await admin.post(f"/api/v1/users/{bob.id}/update", {"role": "pending"})
    for path in ("/api/v1/users/user/settings", f"/api/v1/users/{admin.id}", "/api/v1/auths/api_key"):
        await refused(await bob.get(path), 403, "forbidden")
    for path in ("/api/v1/auths/api_key", "/api/v1/auths/ticket"):
        await refused(await bob.post(path), 403, "forbidden")
    assert (await bob.post("/api/v1/auths/signout")).status_code == 200


# ------------------------------------------------------------------------------------------------------- who was seen when


async def test_a_client_that_connects_or_sends_a_heartbeat_was_seen(server: Running) -> None:
    admin = await server.sign_up()
    bob = await server.sign_up("Bob")

    async def seen() -> dict[str, int | None]:
        await server.system.seen._write()  # it would be some seconds later
        listed = (await admin.get("/api/v1/users/")).json()["users"]
        return {user["id"]: user["last_active_at"] for user in listed}

    assert await seen() == {admin.id: None, bob.id: None}
    wire = await server.connect(bob)
    connected = await seen()
    assert connected[admin.id] is None
    assert isinstance(connected[bob.id], int)
    server.system.stores.activity._active.clear()  # type: ignore[attr-defined]  # the app of these tests is on the one in memory
    await wire.say(op="heartbeat")
    await wire.say(op="subscribe", id=1, stream="chat/none", after="now")
    await wire.op("error")  # what came before it was heard
    assert isinstance((await seen())[bob.id], int)
