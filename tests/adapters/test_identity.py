"""Passwords and tokens: that the libraries are asked the right things."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import jwt
import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters

from adapters import identity
from adapters.identity import AT_ONCE_MAX, WAITING_MAX, Argon2Hasher, JwtTokens
from commands.ports import TokenClaims
from domain.errors import Overloaded
from tests.costs import real_password_costs

DAY_S = 86_400  # longer than any run of the tests: these are made when the module is read
SECRET = b"s" * 32
CLAIMS = TokenClaims(UUID(int=1), UUID(int=2), 3, int(time.time()) + DAY_S)


@pytest.fixture(autouse=True)
def _as_on_a_server() -> Iterator[None]:
    with real_password_costs():
        yield


@pytest.mark.anyio
async def test_a_password_is_known_by_its_hash_and_no_other_one_is() -> None:
    hasher = Argon2Hasher()
    hashed = await hasher.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert await hasher.verify("correct horse", hashed)
    assert not await hasher.verify("incorrect horse", hashed)
    assert not await hasher.verify("", hashed)
    assert await hasher.hash("correct horse") != hashed


@pytest.mark.anyio
async def test_a_hash_of_other_parameters_is_still_known() -> None:
    older = PasswordHasher(time_cost=1, memory_cost=64, parallelism=2).hash("correct horse")
    assert await Argon2Hasher().verify("correct horse", older)
    assert not await Argon2Hasher().verify("incorrect horse", older)


@pytest.mark.anyio
@pytest.mark.parametrize("password_hash", [None, "", "no hash at all"])
async def test_nobody_has_the_password_of_an_account_that_is_not_there(password_hash: str | None) -> None:
    hasher = Argon2Hasher()
    for password in ("a password that nobody has", ""):
        assert not await hasher.verify(password, password_hash)


@pytest.mark.anyio
async def test_an_account_that_is_not_there_costs_what_one_that_is_does(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Parameters] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Any:
            compared.append(extract_parameters(str(hash)))
            return super().verify(hash, password)

    monkeypatch.setattr(identity, "PasswordHasher", Counting)
    hasher = Argon2Hasher()
    hashed = await hasher.hash("correct horse")
    for password_hash in (None, hashed):
        assert not await hasher.verify("wrong", password_hash)
    assert compared == [extract_parameters(hashed)] * 2


@pytest.mark.anyio
async def test_a_bounded_number_of_passwords_wait() -> None:
    hasher = Argon2Hasher()
    asked = [asyncio.ensure_future(hasher.hash("x")) for _ in range(AT_ONCE_MAX + WAITING_MAX + 3)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in done) == 3
    assert await hasher.hash("there is room again")


def test_a_token_says_what_was_put_in() -> None:
    tokens = JwtTokens(SECRET)
    assert tokens.read(tokens.issue(CLAIMS)) == CLAIMS


def signed(key: Any = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
    payload = {"sub": str(UUID(int=1)), "jti": str(UUID(int=2)), "gen": 3, "exp": int(time.time()) + DAY_S, **changed}
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, key, algorithm)


NOW_S = int(time.time())
# By name: a test whose name holds the second in which it was found has another one in each process.
NOT_MADE_HERE = {
    "nothing": "",
    "no token": "a.b.c",
    "not ASCII": "ü" * 40,
    "half a character": "\ud800",
    "another secret": signed(b"t" * 32),
    "HS512": signed(b"s" * 64, "HS512"),
    "without a signature": signed(None, "none"),
    "ended": signed(exp=NOW_S - 1),
    "without an end": signed(exp=None),
    "without an id": signed(jti=None),
    "without a generation": signed(gen=None),
    "no account": signed(sub="not an id"),
    "a generation in words": signed(gen="three"),
    "a list of generations": signed(gen=[]),
    "changed": signed()[:-4] + "AAAA",
}


@pytest.mark.parametrize("token", NOT_MADE_HERE.values(), ids=NOT_MADE_HERE)
def test_a_token_that_was_not_made_here_or_has_ended_says_nothing(token: str) -> None:
    assert JwtTokens(SECRET).read(token) is None


def test_a_token_of_a_clock_that_is_ahead_is_taken() -> None:
    assert JwtTokens(SECRET).read(signed(iat=int(time.time()) + 30)) is not None
