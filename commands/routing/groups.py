"""All groups and their members."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from commands.aggregate import Aggregate
from commands.catalogue import Catalogue
from commands.ports import Appended, CommandKey, EventLog
from commands.routing.entry import Known, known_at
from domain.accounts.group import NO_GROUP, Group, GroupCommand, decide, evolve
from domain.errors import GroupNotFound
from domain.log.event import Actor
from domain.log.stream import group_stream

NO_GROUPS: Final[frozenset[UUID]] = frozenset()


class Groups:
    """``delivered`` returns once what was written up to a position has passed ``observe``.

    ``start``, ``observe`` and ``close`` are those of its ``Catalogue``.
    """

    def __init__(self, log: EventLog, delivered: Callable[[int], Awaitable[None]]) -> None:
        self._log = log
        self._delivered = delivered
        self._aggregate = Aggregate(log, "group", NO_GROUP, evolve)
        self._catalogue = Catalogue(log, "group", NO_GROUP, evolve, self._on_changed)
        self._members: dict[UUID, frozenset[UUID]] = {}  # by group, as they stand in ``_groups``
        self._groups: dict[UUID, frozenset[UUID]] = {}  # by account
        self.changes = 0  # how often anything has changed
        self.start, self.observe, self.close = self._catalogue.start, self._catalogue.observe, self._catalogue.close

    async def refresh(self) -> None:
        """Know everything that was written before the call, by any process. Raises ``LogUnavailable``."""
        await self._delivered(await self._log.head())

    def groups_of(self, user_id: UUID) -> frozenset[UUID]:
        """The groups that this account is in."""
        return self._groups.get(user_id, NO_GROUPS)

    def members(self, group_id: UUID) -> frozenset[UUID]:
        """Who is in this group; empty where there is no such group."""
        return self._members.get(group_id, NO_GROUPS)

    def permits(self, user_id: UUID, permission: str) -> bool:
        """Whether any of the account's groups has this permission."""
        return any(self._catalogue.get(group_id).permits(permission) for group_id in self.groups_of(user_id))

    def all(self) -> Sequence[Known[Group]]:
        """Every group that is there, the newest change first."""
        known = [self._known(group_id) for group_id, group in self._catalogue if group.exists]
        return sorted(known, key=lambda one: (one.changed_at, one.id), reverse=True)

    async def existing(self, group_id: UUID) -> Known[Group]:
        """Raises ``GroupNotFound``."""
        await self.refresh()
        if not self._catalogue.get(group_id).exists:
            raise GroupNotFound(group_id)
        return self._known(group_id)

    async def handle(self, command: GroupCommand, actor: Actor, key: CommandKey | None = None) -> tuple[Known[Group], Appended]:
        """The group as the command has made it. Raises what ``decide`` and ``Aggregate.handle`` raise."""
        appended = await self._aggregate.handle(command.group_id, partial(decide, command=command), actor=actor, command=key)
        await self._delivered(appended.position)
        return await known_at(self._log, group_stream(command.group_id), appended.versions[0], NO_GROUP, evolve), appended

    def _known(self, group_id: UUID) -> Known[Group]:
        return Known(group_id, self._catalogue.version(group_id), self._catalogue.get(group_id), *self._catalogue.times(group_id))

    def _on_changed(self, group_id: UUID) -> None:
        self.changes += 1
        members, known = self._catalogue.get(group_id).member_ids, self._members.get(group_id, NO_GROUPS)
        for user_id in members - known:
            self._groups[user_id] = self.groups_of(user_id) | {group_id}
        for user_id in known - members:
            self._groups[user_id] = self.groups_of(user_id) - {group_id}
            if not self._groups[user_id]:
                del self._groups[user_id]
        self._members[group_id] = members
