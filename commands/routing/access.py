"""Which models an account may use."""

from collections.abc import Collection
from typing import Final, Literal
from uuid import UUID

from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from domain.log.event import Actor
from domain.routing.model import ModelEntry

# Who may use a provider's model without an entry: everybody, or only admins. "bypass": nothing is checked for any model.
Rule = Literal["open", "granted", "bypass"]
PIPE: Final = "pipe"  # what owns the models of a pipe function


class ModelAccess:
    def __init__(self, entries: ModelEntries, groups: Groups, rule: Rule = "open") -> None:
        self._entries = entries
        self._groups = groups
        self._rule = rule

    def may_read(self, entry: ModelEntry, actor: Actor) -> bool:
        return self._is_free(actor) or entry.permission(actor.id, self.groups_of(actor)) is not None

    def may_write(self, entry: ModelEntry, actor: Actor) -> bool:
        return actor.role == "admin" or entry.permission(actor.id, self.groups_of(actor)) == "write"

    def may_use_providers(self, model_id: str, owned_by: str, actor: Actor) -> bool:
        """Whether the account may use a model that a provider has, or a pipe: a pipe is the admins' until they grant it."""
        if self._is_free(actor):
            return True
        entry = self._entries.of(model_id, owned_by)
        return self._rule == "open" and owned_by != PIPE if entry is None else self.may_read(entry, actor)

    def groups_of(self, actor: Actor) -> Collection[UUID]:
        return self._groups.groups_of(actor.id)

    def _is_free(self, actor: Actor) -> bool:
        return actor.role == "admin" or self._rule == "bypass"
