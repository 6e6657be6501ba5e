"""Accounts as they are now, and the commands on them.

``Accounts.observe`` must see every event of the log: then what is known of a person here is current on every process, and a
request of somebody who is known costs no query.
"""

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from commands.accounts.principal import KnownAccount, Principal, actor_of, require_admin
from commands.aggregate import Aggregate
from commands.ports import Appended, Claim, CommandKey, EventLog, StreamAppend
from domain.accounts.user.commands import ChangeProfile, ChangeRole, CreateUser, GuardedCommand, RenameUser, UserCommand
from domain.accounts.user.decide import decide
from domain.accounts.user.evolve import evolve
from domain.accounts.user.facts import USER_TYPES, UserRole
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.errors import BadRequest, Forbidden, TooManyLostRaces, UserNotFound
from domain.log.event import Actor, StoredEvent
from domain.log.stream import user_stream

EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
KNOWN_ACCOUNTS_MAX: Final = 10_000
GUARDED_ATTEMPTS_MAX: Final = 32


class Accounts:
    """All accounts."""

    def __init__(self, log: EventLog, *, known_max: int = KNOWN_ACCOUNTS_MAX) -> None:
        self._known_max = known_max
        self._aggregate = Aggregate(log, "user", NO_ACCOUNT, evolve, types=USER_TYPES)
        self._standings: WeakValueDictionary[UUID, KnownAccount] = WeakValueDictionary()
        self._recent: OrderedDict[UUID, KnownAccount] = OrderedDict()  # keeps accounts that no connection refers to

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log. One of a person known here makes what is known current."""
        if stored.stream.kind == "user":
            standing = self._standings.get(stored.stream.id)
            if standing is not None:
                standing.observe(stored)

    async def account(self, user_id: UUID, *, fresh: bool = False) -> Account:
        """What is known of this person now, with ``fresh`` never older than the call; ``NO_ACCOUNT`` if there is no such."""
        return (await self.standing(user_id, fresh=fresh)).account

    async def state(self, user_id: UUID) -> tuple[int, Account]:
        """``(version, account)`` as of now; version 0 if there is no such."""
        return await self._aggregate.state(user_id)

    async def existing(self, user_id: UUID) -> Account:
        """Raises ``UserNotFound`` where there is no such account."""
        account = await self.account(user_id)
        if not account.email:
            raise UserNotFound(user_id)
        return account

    async def standing(self, user_id: UUID, *, fresh: bool = False) -> KnownAccount:
        """What is known of this person, moved on by ``observe`` for as long as it is held; ``fresh`` as for ``account``."""
        standing = self._standings.get(user_id)
        if standing is None:
            # Known from here on: what passes while the log is read is not missed.
            standing = self._standings[user_id] = KnownAccount()
        while fresh or not standing.current:
            if fresh:
                fresh = False
                version, account = await self._aggregate.state(user_id)
            else:
                async with standing.reading:
                    if standing.current:
                        break
                    version, account = await self._aggregate.state(user_id)
            if version == 0:
                return standing
            standing.read(version, account)
        self._recent[user_id] = standing
        self._recent.move_to_end(user_id)
        if len(self._recent) > self._known_max:
            self._recent.popitem(last=False)
        return standing

    async def handle(
        self, command: UserCommand, *, actor: Actor | None = None, key: CommandKey | None = None, claims: Sequence[Claim] = ()
    ) -> Appended:
        """One command on one account, as its decider says."""
        return await self._aggregate.handle(command.user_id, partial(decide, command=command), actor=actor, command=key, claims=claims)

    async def change(self, principal: Principal, command: GuardedCommand) -> Account:
        """One command by somebody on their own account, or by an admin on another's. Returns the account after it.

        Across two accounts, the principal's is part of the commit: nothing is written if it has moved on since it was read. So
        the caller who changes another account is an active admin at that moment, also if they were demoted on another process
        an instant before; and two admins who demote each other leave one. Raises what ``decide`` raises.
        """
        if command.user_id == principal.user_id:
            await self.handle(msgspec.structs.replace(command, by=actor_of(principal)), actor=actor_of(principal))
        else:
            await self.handle_as_admin(principal, command)
        return await self.account(command.user_id, fresh=True)

    async def update(
        self,
        principal: Principal,
        user_id: UUID,
        *,
        role: UserRole | None = None,
        name: str | None = None,
        email: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> Account:
        """Change another account, as an admin; what is None stays. Returns the account after it.

        One commit a change, so a refusal may leave earlier ones done. Raises ``Forbidden``, ``UserNotFound``, ``BadRequest`` for another
        e-mail address, and what ``decide`` raises.
        """
        require_admin(principal)
        account = await self.existing(user_id)
        if email is not None and normal_email(email) != account.email:
            raise BadRequest("an account keeps the e-mail address that it was made with")
        if role is not None:
            account = await self.change(principal, ChangeRole(user_id=user_id, by=None, role=role))
        if name is not None:
            account = await self.change(principal, RenameUser(user_id=user_id, by=None, name=name.strip()))
        if fields:
            account = await self.change(principal, ChangeProfile(user_id=user_id, by=None, fields=fields))
        return account

    async def change_profile(self, principal: Principal, name: str, fields: Mapping[str, Any]) -> Account:
        """Change one's own name and profile. Returns the account after it."""
        account = await self.change(principal, RenameUser(user_id=principal.user_id, by=None, name=name.strip()))
        if fields:
            account = await self.change(principal, ChangeProfile(user_id=principal.user_id, by=None, fields=fields))
        return account

    async def handle_as_admin(self, principal: Principal, command: CreateUser | GuardedCommand) -> None:
        """One command on another account. Raises ``Forbidden`` unless the principal is an active admin when it is committed."""
        principal.require_scope({"admin"})
        stream = user_stream(principal.user_id)
        for _ in range(GUARDED_ATTEMPTS_MAX):
            version, admin = await self._aggregate.state(principal.user_id)
            if not admin.active or admin.role != "admin":
                raise Forbidden("only an admin may do this")
            by = Actor(principal.user_id, admin.name, admin.role)
            claims: list[Claim] = []
            if isinstance(command, CreateUser):
                claims.append(Claim("email", command.email, user_stream(command.user_id)))
            else:
                command = msgspec.structs.replace(command, by=by)
            guard = StreamAppend(stream, (), version)
            try:
                await self._aggregate.handle(
                    command.user_id,
                    partial(decide, command=command),
                    actor=by,
                    claims=claims,
                    also=partial(with_guard, guard),
                    attempts_max=1,
                )
            except TooManyLostRaces:
                continue
            return
        raise TooManyLostRaces(stream, GUARDED_ATTEMPTS_MAX)


def with_guard(guard: StreamAppend, _: Account, __: int) -> list[StreamAppend]:
    return [guard]


def normal_email(email: str) -> str:
    """In lower case, composed, without spaces around it. Raises ``BadRequest`` for what cannot be an address."""
    normal = unicodedata.normalize("NFC", email.strip().lower())
    if not EMAIL.fullmatch(normal) or not normal.isprintable():
        raise BadRequest("expected an e-mail address such as name@example.org")
    return normal
