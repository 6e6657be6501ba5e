"""``Idempotency-Key``: a repeated request gets its first answer, and changes nothing."""

import hashlib
from typing import Any
from uuid import UUID, uuid5

from litestar import Request
from litestar.di import NamedDependency

from commands.accounts import Principal
from commands.ports import CommandKey
from domain.errors import BadRequest

KEY_CHARACTERS_MAX = 256


async def provide_key(request: Request[Any, Any, Any], principal: NamedDependency[Principal]) -> CommandKey | None:
    """The request's key, bound to its user; the hash is of what was asked. None where the client gave none."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= KEY_CHARACTERS_MAX:
        raise BadRequest(f"expected an Idempotency-Key of 1 to {KEY_CHARACTERS_MAX} characters, received {len(key)}")
    asked = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    asked.update(await request.body())
    return CommandKey(principal.user_id, key, asked.digest())


def new_id(principal: Principal, key: CommandKey | None, made: UUID, what: str) -> UUID:
    """An id that the server names: the same one when the request is repeated."""
    return made if key is None else uuid5(principal.user_id, f"{what}:{key.key}")


def expected_version(request: Request[Any, Any, Any]) -> int | None:
    """``If-Match: "version"``. Raises ``BadRequest`` for anything else in it."""
    given = request.headers.get("if-match")
    if given is None or given == "*":
        return None
    quoted = given.removeprefix("W/").strip('"')
    if not quoted.isdecimal():
        raise BadRequest(f'expected If-Match: "version", received {given[:80]!r}')
    return int(quoted)
