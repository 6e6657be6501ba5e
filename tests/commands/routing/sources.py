"""What the tests of routing stand on: sources of models that a test tells, and the parts of a router on a log."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from adapters.memory.log import MemoryLog
from commands.ports import EventLog
from commands.providers.provider import Model
from commands.routing.access import ModelAccess, Rule
from commands.routing.editing import ModelEditor
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.route import Route
from commands.routing.router import Router
from domain.accounts.access import Grant
from domain.errors import ProviderFailed
from domain.log.event import Actor, StoredEvent
from domain.routing.model import CreateModel
from tests.commands.world import ToldProvider

ADMIN = Actor(UUID(int=0xAD), "Admin", "admin")
ADA, BOB = Actor(UUID(int=0xA0), "Ada", "user"), Actor(UUID(int=0xB0), "Bob", "user")
AUDITOR = Actor(UUID(int=0xAA), "Auditor", "auditor")
PROVIDER = ToldProvider()


class Source:
    """``models`` by id with what owns them. ``unlisted`` are found and in no list; ``off`` cannot be asked."""

    def __init__(self, owned_by: str, *model_ids: str, unlisted: Sequence[str] = (), off: Sequence[str] = ()) -> None:
        self.owned_by = owned_by
        self.model_ids = list(model_ids)
        self.unlisted = unlisted
        self.off = off

    async def models(self) -> Sequence[Model]:
        listed = [one for one in self.model_ids if one not in self.off]
        return [Model(id=one, name=one.title(), owned_by=self.owned_by, details={"from": self.owned_by}) for one in listed]

    async def find(self, model: str) -> Route | None:
        if model in self.off:
            raise ProviderFailed("provider_unreachable", f"{self.owned_by} is switched off")
        if model in self.model_ids or model in self.unlisted:
            return Route(provider=PROVIDER, upstream=f"{model}@{self.owned_by}", owned_by=self.owned_by)
        return None


class Routing:
    """One process's part of routing."""

    def __init__(
        self,
        log: EventLog,
        delivered: Callable[[int], Awaitable[None]],
        *sources: Source,
        rule: Rule = "open",
        seed: int = 0,
    ) -> None:
        self.log = log
        self.groups = Groups(log, delivered)
        self.entries = ModelEntries(log, delivered)
        access = ModelAccess(self.entries, self.groups, rule)
        self.router = Router(sources, self.entries, self.groups, access, choose=random.Random(seed).choice)
        self.editor = ModelEditor(self.entries, self.groups, access, self.router)

    def observe(self, events: Sequence[StoredEvent]) -> None:
        for stored in events:
            self.groups.observe(stored)
            self.entries.observe(stored)

    async def start(self) -> None:
        await self.groups.start()
        await self.entries.start()

    async def create(self, model_id: str, base_model_id: str | None = None, *, by: Actor = ADMIN, **more: Any) -> None:
        await self.editor.create(CreateModel(by=by, model_id=model_id, name=model_id.title(), base_model_id=base_model_id, **more))

    async def shown(self, actor: Actor) -> list[str]:
        return [model.id for model in await self.router.available(actor)]


def to(*principals: Actor | str, permission: Any = "read") -> list[Grant]:
    return [Grant("user", one if isinstance(one, str) else str(one.id), permission) for one in principals]


def to_group(group_id: UUID, permission: Any = "read") -> list[Grant]:
    return [Grant("group", str(group_id), permission)]


async def at_once(_position: int) -> None:
    """A log in memory has told its observers before its append returns."""


def routing(*sources: Source, **more: Any) -> Routing:
    log = MemoryLog()
    made = Routing(log, at_once, *sources, **more)
    log.on_committed = made.observe
    return made
