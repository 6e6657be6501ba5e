"""What a forged or foreign token, and a mistake of the server, give an attacker: nothing."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import msgspec
import pytest

from api.settings import Settings
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio
SECRET = "a-secret-that-is-long-enough-for-each-of-the-algorithms-that-are-tried"


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Running]:
    async with running(msgspec.structs.replace(settings, secret=SECRET)) as made:
        yield made


def claims_of(user: User) -> dict[str, Any]:
    return dict(jwt.decode(user.token, SECRET, ["HS256"]))


async def status(server: Running, token: str) -> int:
    async with server.client() as http:
        return (await http.get("/api/v1/auths/", headers={"authorization": f"Bearer {token}"})).status_code


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_token_of_another_algorithm_is_refused(server: Running) -> None:
    user = await server.sign_up()
    claims = claims_of(user)
    assert await status(server, jwt.encode(claims, SECRET, "HS256")) == 200, "the claims are right"
    for forged in (
        jwt.encode(claims, SECRET, "HS384"),
        jwt.encode(claims, SECRET, "HS512"),
        jwt.encode(claims, "", "none"),
        f"{part({'alg': 'None', 'typ': 'JWT'})}.{part(claims)}.",
        f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.{user.token.rpartition('.')[2]}",
    ):
        assert await status(server, forged) == 401


async def test_a_token_that_brings_its_own_key_is_refused(server: Running) -> None:
    user = await server.sign_up()
    key = "another-secret-of-at-least-thirty-two-characters"
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()}
    for header in ({"jwk": jwk}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/x"}, {"kid": "/dev/null"}):
        assert await status(server, jwt.encode(claims_of(user), key, "HS256", headers=header)) == 401


@pytest.mark.parametrize("missing", ["sub", "jti", "gen", "exp"])
async def test_a_token_without_one_of_our_claims_is_refused(server: Running, missing: str) -> None:
    claims = claims_of(await server.sign_up())
    del claims[missing]
    assert await status(server, jwt.encode(claims, SECRET, "HS256")) == 401


@pytest.mark.parametrize("wrong", [{"exp": 1}, {"nbf": 2**33}, {"gen": 99}, {"sub": str(uuid4())}, {"sub": "x"}, {"gen": "x"}])
async def test_a_token_with_other_claims_is_refused(server: Running, wrong: dict[str, Any]) -> None:
    claims = claims_of(await server.sign_up())
    assert claims["exp"] > time.time()
    assert await status(server, jwt.encode({**claims, **wrong}, SECRET, "HS256")) == 401


async def test_a_mistake_of_ours_tells_the_caller_nothing_of_it(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await server.sign_up()

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"a query with {SECRET}")

    monkeypatch.setattr(server.system.accounts, "account", broken)
    answer = await user.get("/api/v1/users/user/settings")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in answer.text and "RuntimeError" not in answer.text
