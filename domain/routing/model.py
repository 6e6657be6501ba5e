"""A model as people have made or changed it, as an aggregate. What the log has of a model under its public id is its *entry*.

An entry with a base model is a custom model: it is asked for by its own id, and the base model answers with the entry's system prompt
and settings. An entry without one says the same of a provider's model of that id. An entry that lists models to pick from is an arena.
"""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.accounts import access
from domain.accounts.access import ACCESS_TYPES, AccessFact, AccessGranted, AccessRevoked, Grant, Grants, Permission, permission_of
from domain.accounts.name import trimmed_name
from domain.errors import BadRequest, ModelEntryNotFound, ModelExists
from domain.log.event import Actor, Event
from domain.values.fields import replacing, without_nulls

MODEL_ID_CHARACTERS_MAX: Final = 256
NAME_CHARACTERS_MAX: Final = 200
ENTRY_BYTES_MAX: Final = 192 * 1024  # of the params and the meta of one entry, as JSON: they stand in one event, and in memory
ARENA_KEYS: Final = ("model_ids", "filter_mode")  # of ``meta``: what makes an entry without a base model an arena
ARENA_MODELS_MAX: Final = 1000
FILTER_MODES: Final = ("include", "exclude")

# ---------------------------------------------------------------------------------------------------------------- facts
# ``params`` (``system``, ``temperature`` …) and ``meta`` (``description``, ``capabilities``, ``filterIds``, ``tags`` …) have the names of
# the reference system; unknown keys are kept. A key that is null is a key that is not there.


class ModelCreated(msgspec.Struct, frozen=True):
    """Also for a model that was deleted: nothing of what it was before is left then."""

    model_id: str  # the public id, under which it is asked for
    owner_id: UUID
    name: str
    base_model_id: str | None = None
    params: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    by_admin: bool = False  # only an admin's model may stand in the place of a provider's that has the same id


class ModelChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not there has not changed; of ``params`` and ``meta`` every key that is not there. Null takes a key out."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    base_model_id: str | msgspec.UnsetType | None = msgspec.UNSET
    params: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class ModelActivated(msgspec.Struct, frozen=True):
    pass


class ModelDeactivated(msgspec.Struct, frozen=True):
    """It is in no list, and nobody can ask it."""


class ModelDeleted(msgspec.Struct, frozen=True):
    pass


ModelFact = ModelCreated | ModelChanged | ModelActivated | ModelDeactivated | ModelDeleted | AccessFact
ModelEvent = Event[ModelFact]

MODEL_TYPES: Final[Mapping[str, type[Any]]] = {
    "model_created": ModelCreated,
    "model_changed": ModelChanged,
    "model_activated": ModelActivated,
    "model_deactivated": ModelDeactivated,
    "model_deleted": ModelDeleted,
    **ACCESS_TYPES,
}

# ------------------------------------------------------------------------------------------------------------- commands
# ``by`` is the caller with their role, and ``group_ids`` are the groups that they are in.


class CreateModel(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the caller may make entries at all was decided before."""

    by: Actor
    model_id: str
    name: str
    base_model_id: str | None = None
    params: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    active: bool = True
    grants: Sequence[Grant] | None = None  # None: everybody's where it says something of a provider's model, otherwise its owner's


class ChangeModel(msgspec.Struct, frozen=True, kw_only=True):
    """What it is from now on. UNSET or None: as it is."""

    by: Actor
    group_ids: Collection[UUID]
    model_id: str
    name: str | None = None
    base_model_id: str | msgspec.UnsetType | None = msgspec.UNSET
    params: Mapping[str, Any] | None = None  # all of them
    meta: Mapping[str, Any] | None = None
    active: bool | None = None
    grants: Sequence[Grant] | None = None


class ToggleModel(msgspec.Struct, frozen=True, kw_only=True):
    by: Actor
    group_ids: Collection[UUID]
    model_id: str


class DeleteModel(msgspec.Struct, frozen=True, kw_only=True):
    by: Actor
    group_ids: Collection[UUID]
    model_id: str


ModelCommand = CreateModel | ChangeModel | ToggleModel | DeleteModel

# ---------------------------------------------------------------------------------------------------------------- state


class ModelEntry(msgspec.Struct, frozen=True):
    model_id: str = ""
    exists: bool = False
    owner_id: UUID | None = None
    name: str = ""
    base_model_id: str | None = None
    params: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    by_admin: bool = False
    active: bool = True
    grants: Grants = ()

    @property
    def is_arena(self) -> bool:
        return self.base_model_id is None and any(name in self.meta for name in ARENA_KEYS)

    @property
    def is_custom(self) -> bool:
        """Whether it is a model of its own, and not only something said of a provider's."""
        return self.base_model_id is not None or self.is_arena

    @property
    def arena_model_ids(self) -> Sequence[str]:
        """The models that an arena names; empty: all that are no arenas."""
        return list(self.meta.get("model_ids") or ())

    @property
    def excludes(self) -> bool:
        """Whether an arena picks among all models but those that it names."""
        return self.meta.get("filter_mode") == "exclude" and bool(self.arena_model_ids)

    def permission(self, user_id: UUID, group_ids: Collection[UUID]) -> Permission | None:
        return "write" if user_id == self.owner_id else permission_of(self.grants, user_id, group_ids)


NO_MODEL: Final = ModelEntry()

# --------------------------------------------------------------------------------------------------------------- decide


def decide(entry: ModelEntry, command: ModelCommand) -> list[ModelEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case CreateModel():
            return create_model(entry, command)
        case ChangeModel():
            require_write(entry, command)
            return change_model(entry, command)
        case ToggleModel():
            require_write(entry, command)
            return [Event(None, ModelDeactivated() if entry.active else ModelActivated())]
        case DeleteModel():
            require_write(entry, command)
            return [Event(None, ModelDeleted())]
        case _:
            assert_never(command)


def create_model(entry: ModelEntry, command: CreateModel) -> list[ModelEvent]:
    if entry.exists:
        raise ModelExists(command.model_id)
    require_model_id(command.model_id)
    params, meta = without_nulls(command.params), without_nulls(command.meta)
    base_model_id = base_of(command.model_id, command.base_model_id)
    made = ModelCreated(
        command.model_id,
        command.by.id,
        trimmed_name(command.name, NAME_CHARACTERS_MAX),
        base_model_id,
        params,
        meta,
        command.by.role == "admin",
    )
    require_valid(params, meta)
    is_custom = evolve(NO_MODEL, Event(None, made), 1).is_custom
    wanted = ([] if is_custom else [access.PUBLIC]) if command.grants is None else command.grants
    inactive: list[ModelEvent] = [] if command.active else [Event(None, ModelDeactivated())]
    return [Event(None, made), *inactive, *access.change_grants((), wanted)]


def change_model(entry: ModelEntry, command: ChangeModel) -> list[ModelEvent]:
    changes = ModelChanged()
    if command.name is not None and (name := trimmed_name(command.name, NAME_CHARACTERS_MAX)) != entry.name:
        changes = msgspec.structs.replace(changes, name=name)
    if command.base_model_id is not msgspec.UNSET:
        base_model_id = base_of(entry.model_id, command.base_model_id)
        if base_model_id != entry.base_model_id:
            changes = msgspec.structs.replace(changes, base_model_id=base_model_id)
    if command.params is not None:
        changes = msgspec.structs.replace(changes, params=replacing(entry.params, command.params))
    if command.meta is not None:
        changes = msgspec.structs.replace(changes, meta=replacing(entry.meta, command.meta))
    events: list[ModelEvent] = []
    if changes != ModelChanged():
        events.append(Event(None, changes))
        changed = evolve(entry, events[0], 1)
        require_valid(changed.params, changed.meta)
    if command.active is not None and command.active != entry.active:
        events.append(Event(None, ModelActivated() if command.active else ModelDeactivated()))
    if command.grants is not None:
        events += access.change_grants(entry.grants, command.grants)
    return events


def require_write(entry: ModelEntry, command: ChangeModel | ToggleModel | DeleteModel) -> None:
    """Raises ``ModelEntryNotFound``, also for an entry that the caller may not change."""
    by = command.by
    if not entry.exists or (by.role != "admin" and entry.permission(by.id, command.group_ids) != "write"):
        raise ModelEntryNotFound(command.model_id)


def require_model_id(model_id: str) -> None:
    """Raises ``BadRequest`` for an id that cannot be written into a request or a log line."""
    clean = all(unicodedata.category(character)[0] not in "CZ" for character in model_id)
    if not 0 < len(model_id) <= MODEL_ID_CHARACTERS_MAX or not clean:
        raise BadRequest(f"expected a model's id of 1 to {MODEL_ID_CHARACTERS_MAX} characters without spaces", param="id")


def base_of(model_id: str, base_model_id: str | None) -> str | None:
    """A model that stands on itself says something of the provider's model."""
    if not base_model_id or base_model_id == model_id:
        return None
    require_model_id(base_model_id)
    return base_model_id


def require_valid(params: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Raises ``BadRequest``."""
    size = len(msgspec.json.encode((params, meta)))
    if size > ENTRY_BYTES_MAX:
        raise BadRequest(f"the params and the meta of a model hold at most {ENTRY_BYTES_MAX} bytes together, these have {size}")
    model_ids, filter_mode = meta.get("model_ids", ()), meta.get("filter_mode", "include")
    if not isinstance(model_ids, list | tuple) or not all(isinstance(one, str) for one in model_ids) or len(model_ids) > ARENA_MODELS_MAX:
        raise BadRequest(f"expected meta.model_ids as a list of at most {ARENA_MODELS_MAX} models' ids", param="meta")
    if filter_mode not in FILTER_MODES:
        raise BadRequest(f"expected meta.filter_mode as include or exclude, received {str(filter_mode)[:80]!r}", param="meta")


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(entry: ModelEntry, event: Event[Any], version: int) -> ModelEntry:
    """The next state. Total: history cannot be refused, so this never raises."""
    fact = event.data
    match fact:
        case ModelCreated():
            params, meta = without_nulls(fact.params), without_nulls(fact.meta)
            return ModelEntry(fact.model_id, True, fact.owner_id, fact.name, fact.base_model_id, params, meta, fact.by_admin)
        case ModelChanged():
            changed: dict[str, Any] = {
                "params": without_nulls({**entry.params, **fact.params}),
                "meta": without_nulls({**entry.meta, **fact.meta}),
            }
            if fact.name is not msgspec.UNSET:
                changed["name"] = fact.name
            if fact.base_model_id is not msgspec.UNSET:
                changed["base_model_id"] = fact.base_model_id
            return msgspec.structs.replace(entry, **changed)
        case ModelActivated():
            return msgspec.structs.replace(entry, active=True)
        case ModelDeactivated():
            return msgspec.structs.replace(entry, active=False)
        case ModelDeleted():
            return msgspec.structs.replace(entry, exists=False, grants=())
        case AccessGranted() | AccessRevoked():
            return msgspec.structs.replace(entry, grants=access.evolve_grants(entry.grants, fact))
        case _:
            return entry
