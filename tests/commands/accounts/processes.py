"""Server processes with accounts on one log."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from adapters.identity import Argon2Hasher, JwtTokens
from commands.accounts.accounts import Accounts
from commands.accounts.api_keys import ApiKeys
from commands.accounts.attempts import SignInBrake
from commands.accounts.authentication import Authentication
from commands.accounts.passwords import Passwords
from commands.accounts.principal import Principal
from commands.accounts.registration import Registration
from commands.accounts.sessions import Sessions
from domain.accounts.user.facts import UserRole

PASSWORD, OTHER_PASSWORD = "correct horse", "battery staple"
SECRET = b"s" * 32
STRENGTH = Argon2Hasher()


class PlainHasher:
    """A hasher that costs nothing, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def hash(self, password: str) -> str:
        self.asked += 1
        return f"plain {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return password_hash == f"plain {password}"


class Process:
    """One server process: its own accounts and its own end of the log. What it hears of the log is said by ``hear``."""

    def __init__(
        self,
        log: Any,
        credentials: Any,
        tickets: Any,
        *,
        brake: SignInBrake | None = None,
        known_max: int = 100,
        now: Callable[[], float] = time.time,
        note_used: Callable[[UUID], None] = lambda _: None,
        token_lifetime_s: int = 3600,
        **options: Any,
    ) -> None:
        """``options`` of the registration."""
        self.log = log
        self.hasher = PlainHasher()
        self.credentials = credentials
        self.tickets = tickets
        tokens = JwtTokens(SECRET)
        self.accounts = Accounts(log, known_max=known_max)
        self.authentication = Authentication(self.accounts, credentials, tickets, tokens, note_used=note_used, now=now)
        self.sessions = Sessions(self.accounts, credentials, tokens, token_lifetime_s=token_lifetime_s, now=now)
        self.passwords = Passwords(log, self.accounts, self.sessions, credentials, self.hasher, STRENGTH, brake=brake)
        self.registration = Registration(log, self.accounts, self.sessions, self.passwords, **options)
        self.api_keys = ApiKeys(self.accounts, credentials, log, now=now)
        self._heard = 0

    async def key(self, principal: Principal, *given: Any) -> str:
        return (await self.api_keys.create(principal, *given))[1]

    async def hear(self) -> None:
        """Everything that was committed so far, by whatever process, passes here."""
        for stored in await self.log.read_log(after=self._heard, limit=10_000):
            self.accounts.observe(stored)
            self._heard = stored.position

    async def sign_up(self, name: str, role: UserRole | None = None) -> Principal:
        signed_in = await self.registration.sign_up(name, f"{name}@example.org", PASSWORD)
        assert role is None or signed_in.principal.role == role
        return signed_in.principal


Start = Callable[..., Awaitable[Process]]


async def refused(error: type[Exception], work: Awaitable[object]) -> None:
    with pytest.raises(error):
        await work
