"""Who sends a request and what its headers ask for: the one dependency that every handler of a signed-in user takes."""

import hashlib
from collections.abc import Collection
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from litestar import Request
from litestar.di import NamedDependency

from commands.accounts.principal import Principal, actor_of
from commands.ids import bound_id, new_chat_id, new_id
from commands.ports import CommandKey
from domain.errors import BadRequest
from domain.log.event import Actor

KEY_CHARACTERS_MAX: Final = 256
VERSION_DIGITS_MAX: Final = 10  # a version is below 2³¹


class Caller:
    """The signed-in user of one request. A header is read, and refused with ``BadRequest``, when a handler first asks for it."""

    def __init__(self, principal: Principal, request: Request[Any, Any, Any], body: bytes) -> None:
        self.principal = principal
        self._request = request
        self._body = body

    @property
    def user_id(self) -> UUID:
        return self.principal.user_id

    @cached_property
    def actor(self) -> Actor:
        return actor_of(self.principal)

    @cached_property
    def key(self) -> CommandKey | None:
        """The ``Idempotency-Key``, bound to its user and to a hash of the request: a repeated request gets the first response."""
        key = self._request.headers.get("idempotency-key")
        if key is None:
            return None
        if not 0 < len(key) <= KEY_CHARACTERS_MAX:
            raise BadRequest(f"expected an Idempotency-Key of 1 to {KEY_CHARACTERS_MAX} characters, received {len(key)}")
        url = self._request.url
        digest = hashlib.sha256(f"{self._request.method} {url.path}?{url.query}\n".encode())
        digest.update(self._body)
        return CommandKey(self.user_id, key, digest.digest())

    @property
    def expected_version(self) -> int | None:
        """The version of ``If-Match: "version"``; None for ``*`` and without the header."""
        given = self._request.headers.get("if-match")
        if given is None or given == "*":
            return None
        quoted = given.removeprefix("W/").strip('"')
        if not quoted.isdecimal() or len(quoted) > VERSION_DIGITS_MAX:
            raise BadRequest(f'expected If-Match: "version", received {given[:80]!r}')
        return int(quoted)

    def bound(self, given: str) -> UUID:
        """The uuid for an id which the client chose: see ``commands.ids``. Raises ``BadRequest``."""
        return bound_id(self.user_id, given)[0]

    def bound_or_none(self, given: str | None) -> UUID | None:
        return self.bound(given) if given else None

    def new_id(self, what: str, given: str | None = None) -> tuple[UUID, str | None]:
        """``(id, client_id)`` of something new: the id which the client chose, else one that is the same when the request is repeated."""
        return bound_id(self.user_id, given) if given else (new_id(self.user_id, self.key, what), None)

    def random_ids(self, made_id: UUID, given: str | None) -> Collection[UUID]:
        """The id that ``new_id`` has made, where it was drawn at random: nothing can have it yet."""
        return () if given or self.key is not None else (made_id,)

    def new_chat_id(self, given: str | None) -> tuple[UUID, str | None]:
        """The same for a chat, whose id must be nobody else's. Raises ``BadRequest``."""
        return new_chat_id(self.user_id, self.key, given)


async def provide_caller(request: Request[Any, Any, Any], principal: NamedDependency[Principal]) -> Caller:
    return Caller(principal, request, await request.body() if "idempotency-key" in request.headers else b"")
