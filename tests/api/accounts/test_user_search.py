"""Finding an account by its name: what members and admins are shown of it."""

from typing import Any

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def found(user: User, **query: Any) -> list[dict[str, Any]]:
    answer = await user.get("/api/v1/users/search", **query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["users"])
    return list(answer.json()["users"])


async def names(user: User, **query: Any) -> list[str]:
    return [one["name"] for one in await found(user, **query)]


async def test_members_find_each_other_by_a_piece_of_the_name(server: Running) -> None:
    ada, bob, zoe = await server.sign_up("Ada"), await server.sign_up("Bob"), await server.sign_up("zoe")
    assert (await bob.post("/api/v1/auths/update/profile", {"name": "Bob Ünal"})).status_code == 200
    assert await names(bob) == ["Ada", "Bob Ünal", "zoe"]
    assert await names(bob, query="ÜNA") == await names(bob, query=" bob ") == ["Bob Ünal"]
    assert await names(bob, query="nobody") == await names(bob, query="%") == []
    assert await names(bob, direction="desc") == ["zoe", "Bob Ünal", "Ada"]
    assert await names(bob, order_by="created_at", direction="desc") == ["zoe", "Bob Ünal", "Ada"]
    assert (await zoe.post("/api/v1/auths/update/profile", {"name": "Aaron"})).status_code == 200
    assert await names(ada) == ["Aaron", "Ada", "Bob Ünal"], "by the name of today"
    assert await names(ada, query="zoe") in ([], ["Aaron"]), "at most by the address"


async def test_an_address_is_shown_to_admins_alone(server: Running) -> None:
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    (seen,) = await found(bob, query="Ada")
    picture = f"/api/v1/users/{ada.id}/profile/image"
    assert seen == {"id": ada.id, "name": "Ada", "profile_image_url": picture, "deactivated": False, "role": "admin"}
    assert (await found(ada, query="Bob"))[0]["email"] == bob.email
    assert await names(bob, query=ada.email.upper()) == ["Ada"], "who knows an address may look for it"
    piece = ada.email.partition("@")[2]
    assert (await names(bob, query=piece), await names(ada, query=piece)) == ([], ["Ada", "Bob"])


async def test_who_is_pending_or_deactivated_is_found_by_admins_alone(server: Running) -> None:
    ada, bob, carl, dora = [await server.sign_up(name) for name in ("Ada", "Bob", "Carl", "Dora")]
    assert (await ada.post(f"/api/v1/users/{carl.id}/update", {"role": "pending"})).status_code == 200
    assert (await ada.http.delete(f"/api/v1/users/{dora.id}")).status_code == 200
    assert await names(bob) == ["Ada", "Bob"]
    assert [(one["name"], one["role"], one["deactivated"]) for one in (await found(ada))[2:]] == [
        ("Carl", "pending", False),
        ("Dora", "user", True),
    ]
    assert (await carl.get("/api/v1/users/search")).status_code in (401, 403)


@pytest.mark.parametrize("query", [{"page": 0}, {"order_by": "email"}, {"direction": "up"}, {"query": "x" * 201}])
async def test_what_cannot_be_meant_is_refused(server: Running, query: dict[str, Any]) -> None:
    ada = await server.sign_up()
    assert (await ada.get("/api/v1/users/search", **query)).status_code == 400
