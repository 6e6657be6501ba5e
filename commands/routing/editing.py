"""Making and changing models and the entries of providers' models: who may do so, and which grants are kept."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from commands.ports import Appended, CommandKey
from commands.routing.access import ModelAccess
from commands.routing.entry import Known
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.router import Router
from domain.accounts.access import EVERYBODY, Grant
from domain.errors import BadRequest, Forbidden, ModelEntryNotFound
from domain.log.event import Actor
from domain.routing.model import NO_MODEL, ChangeModel, CreateModel, DeleteModel, ModelEntry, ToggleModel, decide

# Permissions of groups, named as in the reference system. Admins need none.
MAKE: Final = "workspace.models"
PUBLISH: Final = "sharing.public_models"

Command = TypeVar("Command", ChangeModel, ToggleModel, DeleteModel)
Result = tuple[Known[ModelEntry], Appended]


class ModelEditor:
    def __init__(self, entries: ModelEntries, groups: Groups, access: ModelAccess, router: Router) -> None:
        self._entries = entries
        self._groups = groups
        self._access = access
        self._router = router

    async def readable(self, actor: Actor) -> list[Known[ModelEntry]]:
        """The entries that this account may see, in the order in which they were made."""
        await self._entries.refresh()
        return [one for one in self._entries.all() if self._access.may_read(one.state, actor)]

    def may_write(self, entry: ModelEntry, actor: Actor) -> bool:
        return self._access.may_write(entry, actor)

    async def existing(self, model_id: str, actor: Actor) -> Known[ModelEntry]:
        """Raises ``ModelEntryNotFound``, also for one that this account may not see."""
        await self._entries.refresh()
        known = self._entries.known(model_id)
        if known is None or not self._access.may_read(known.state, actor):
            raise ModelEntryNotFound(model_id)
        return known

    async def create(self, command: CreateModel, key: CommandKey | None = None) -> Result:
        """Raises ``Forbidden``, ``ModelExists`` and ``BadRequest``."""
        await self._entries.refresh()
        self.require_may_make(command.by)
        await self._require_own(command.by, command.model_id, command.base_model_id)
        if command.grants is not None:
            command = msgspec.structs.replace(command, grants=self._allowed(command.by, command.grants, ()))
        return await self._entries.handle(command, command.by, key)

    async def change(self, command: ChangeModel, key: CommandKey | None = None) -> Result:
        """Raises ``ModelEntryNotFound``, ``Forbidden`` and ``BadRequest``."""
        await self._entries.refresh()
        if command.base_model_id is not msgspec.UNSET:
            await self._require_own(command.by, command.model_id, command.base_model_id)
        if command.grants is not None:
            known = self._entries.get(command.model_id) or NO_MODEL
            command = msgspec.structs.replace(command, grants=self._allowed(command.by, command.grants, known.grants))
        return await self._entries.handle(self._with_groups(command), command.by, key)

    async def set_access(
        self, by: Actor, model_id: str, name: str | None, grants: Sequence[Grant], key: CommandKey | None = None
    ) -> Result:
        """Who may use it from now on. A provider's model without an entry gets one by the grants of an admin.

        Raises as ``change``.
        """
        await self._entries.refresh()
        if by.role == "admin" and self._entries.get(model_id) is None:
            return await self.create(CreateModel(by=by, model_id=model_id, name=name or model_id, grants=grants), key)
        return await self.change(ChangeModel(by=by, group_ids=(), model_id=model_id, grants=grants), key)

    async def toggle(self, by: Actor, model_id: str, key: CommandKey | None = None) -> Result:
        """Raises ``ModelEntryNotFound``."""
        await self._entries.refresh()
        return await self._entries.handle(self._with_groups(ToggleModel(by=by, group_ids=(), model_id=model_id)), by, key)

    async def delete(self, by: Actor, model_id: str, key: CommandKey | None = None) -> None:
        """Raises ``ModelEntryNotFound``."""
        await self._entries.refresh()
        await self._entries.handle(self._with_groups(DeleteModel(by=by, group_ids=(), model_id=model_id)), by, key)

    async def delete_all(self, by: Actor) -> None:
        """One after the other: what is interrupted is finished by asking once more."""
        await self._entries.refresh()
        for known in self._entries.all():
            await self.delete(by, known.state.model_id)

    async def import_all(self, by: Actor, models: Sequence[tuple[CreateModel, ChangeModel]]) -> None:
        """Make what is not there by the first of each pair, and change what is by the second.

        What this account may not make or change is left out, as in the reference system. Raises ``Forbidden``, and ``BadRequest`` where
        one of them cannot be kept: nothing was written then.
        """
        await self._entries.refresh()
        self.require_may_make(by)
        doubled = [model_id for model_id, count in Counter(create.model_id for create, _ in models).items() if count > 1]
        if doubled:
            raise BadRequest(f"expected each model once, received two with the id {doubled[0][:200]!r}", param="models")
        todo: list[CreateModel | ChangeModel] = []
        for create, change in models:
            entry = self._entries.get(create.model_id)
            if entry is not None and not self._access.may_write(entry, by):
                continue
            base_model_id = create.base_model_id if entry is None or change.base_model_id is not msgspec.UNSET else entry.base_model_id
            try:
                await self._require_own(by, create.model_id, base_model_id)
            except Forbidden:
                continue
            command = create if entry is None else self._with_groups(change)
            decide(entry or NO_MODEL, command)
            todo.append(command)
        for one in todo:
            await (self.create(one) if isinstance(one, CreateModel) else self.change(one))

    def require_may_make(self, actor: Actor) -> None:
        """Raises ``Forbidden``."""
        if actor.role != "admin" and not self._groups.permits(actor.id, MAKE):
            raise Forbidden(f"only an admin, or a member of a group with the permission {MAKE}, may make models")

    async def _require_own(self, by: Actor, model_id: str, base_model_id: str | None) -> None:
        """What is said of a provider's model is for admins to say. Raises ``Forbidden``."""
        if by.role == "admin":
            return
        if not base_model_id or base_model_id == model_id:
            raise Forbidden("only an admin may make a model without a base model")
        if await self._router.is_providers(model_id):
            raise Forbidden(f"only an admin may use the id of a provider's model: {model_id[:200]}")

    def _allowed(self, by: Actor, wanted: Sequence[Grant], known: Sequence[Grant]) -> list[Grant]:
        """Without grants to everybody that this account may not give; the rest stands, as in the reference system."""
        if by.role == "admin" or self._groups.permits(by.id, PUBLISH):
            return list(wanted)
        return [grant for grant in wanted if grant.principal_id != EVERYBODY or grant in known]

    def _with_groups(self, command: Command) -> Command:
        return msgspec.structs.replace(command, group_ids=self._groups.groups_of(command.by.id))
