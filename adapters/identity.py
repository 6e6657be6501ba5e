"""Passwords and tokens, by libraries that do nothing else: argon2-cffi and PyJWT."""

import asyncio
from typing import Any, Final
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from commands.ports import TokenClaims

ALGORITHM: Final = "HS256"
AT_ONCE_MAX: Final = 2  # argon2id takes 64 MiB and a core each: more at once would starve the event loop
NO_ONE: Final = "a password that nobody has"


class Argon2Hasher:
    """argon2id with the library's own parameters (RFC 9106, low memory)."""

    def __init__(self) -> None:
        self._argon2 = PasswordHasher()
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        async with self._at_once:
            return await asyncio.to_thread(self._argon2.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        if self._nobody is None:
            self._nobody = await self.hash(NO_ONE)
        async with self._at_once:
            right = await asyncio.to_thread(self._verify, password, password_hash or self._nobody)
        return right and password_hash is not None

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


class JwtTokens:
    """HS256 tokens with ``sub``, ``jti``, ``gen`` and ``exp``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, claims: TokenClaims) -> str:
        payload: dict[str, Any] = {
            "sub": str(claims.user_id),
            "jti": str(claims.token_id),
            "gen": claims.generation,
            "exp": claims.expires_at,
        }
        return jwt.encode(payload, self._secret, ALGORITHM)

    def read(self, token: str) -> TokenClaims | None:
        try:
            payload = jwt.decode(token, self._secret, [ALGORITHM], options={"require": ["sub", "jti", "gen", "exp"]})
            return TokenClaims(UUID(payload["sub"]), UUID(payload["jti"]), int(payload["gen"]), int(payload["exp"]))
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
