"""Passwords and tokens, by libraries that do nothing else: argon2-cffi, zxcvbn and PyJWT."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from commands.ports import TokenClaims
from domain.errors import Overloaded

ALGORITHM: Final = "HS256"
# OWASP's argon2id for a server that does other work too: 19 MiB, two passes, one lane, some 50 ms of one core. The library's own
# choice (64 MiB, four lanes) holds every core for 0.4 s here, so each sign-in would delay streams.
TIME_COST: Final = 2
MEMORY_KIB: Final = 19 * 1024
LANES: Final = 1
AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 64  # beyond some two seconds of work it is better to come back later
KNOWN_TOKENS_MAX: Final = 4096
JUDGED_CHARACTERS: Final = 72  # as much as zxcvbn takes
GUESSES_MIN: Final = 10**6  # below it, zxcvbn says, somebody who may try for months has it, although tries are slowed down
NO_ONE: Final = "a password that nobody has"
Answer = TypeVar("Answer")


class Argon2Hasher:
    """argon2id in threads of its own: a few passwords at a time, and a bounded number that wait. Their strength is told there, too.

    All methods raise ``Overloaded`` when too many wait already.
    """

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        return await self._run(self._argon2.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        if self._nobody is None:
            self._nobody = await self.hash(NO_ONE)
        right = await self._run(self._verify, password, self._nobody if password_hash is None else password_hash)
        return right and password_hash is not None

    async def weakness(self, password: str, hints: Sequence[str]) -> str | None:
        """By zxcvbn's guess of how many guesses it takes: of the beginning of a long one, since its work grows with the square."""
        return await self._run(weakness_of, password[:JUDGED_CHARACTERS], [hint[:JUDGED_CHARACTERS] for hint in hints])

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        if self._waiting >= AT_ONCE_MAX + WAITING_MAX:
            raise Overloaded("the queue of passwords", WAITING_MAX)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


def weakness_of(password: str, hints: Sequence[str]) -> str | None:
    from zxcvbn import zxcvbn  # 15 MB of word lists: only where passwords are made

    judged = zxcvbn(password, user_inputs=list(hints))
    if judged["guesses"] >= GUESSES_MIN:
        return None
    return str(judged["feedback"]["warning"] or "it takes few guesses").rstrip(".")


class JwtTokens:
    """HS256 tokens with ``sub``, ``jti``, ``gen``, ``iat`` and ``exp``. ``exp`` is for this clock; the generation is for the log.

    What a signature was once found good for is kept by the token's hash: a client comes with the same one on every request, and
    all of its tabs come back with it at once.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known: OrderedDict[bytes, TokenClaims] = OrderedDict()

    def issue(self, claims: TokenClaims) -> str:
        payload: dict[str, Any] = {
            "sub": str(claims.user_id),
            "jti": str(claims.token_id),
            "gen": claims.generation,
            "iat": int(time.time()),
            "exp": claims.expires_at,
        }
        return jwt.encode(payload, self._secret, ALGORITHM)

    def read(self, token: str) -> TokenClaims | None:
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        claims = self._known.get(digest)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            self._known[digest] = claims
            if len(self._known) > KNOWN_TOKENS_MAX:
                self._known.popitem(last=False)
        return claims if claims.expires_at > time.time() else None

    def _verified(self, token: str) -> TokenClaims | None:
        try:
            # Not verify_iat: a process whose clock is a second behind must not refuse what another has just issued.
            options: Any = {"require": ["sub", "jti", "gen", "exp"], "verify_iat": False}
            payload = jwt.decode(token, self._secret, [ALGORITHM], options=options)
            return TokenClaims(UUID(payload["sub"]), UUID(payload["jti"]), int(payload["gen"]), int(payload["exp"]))
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
