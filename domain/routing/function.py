"""A function as an aggregate: a pipe, a filter or an action in Python, which an admin has put in, or a file of the server's folder.

The source itself is a blob of the function's stream; events hold its sha256, and with the author in their envelope they say which code
ran when. Valves are a function's settings. Values that are secrets are in no event: it names them, and where they are kept.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from domain.accounts.name import require_name
from domain.errors import BadRequest, FunctionExists, FunctionInactive, FunctionNotFound, FunctionReadOnly
from domain.log.event import Event

FunctionKind = Literal["pipe", "filter", "action"]
Origin = Literal["api", "folder"]

FUNCTION_ID: Final = re.compile(r"[a-z_][a-z0-9_]{0,127}")  # it is a part of a module's name, and of a pipe's models'
NAME_CHARACTERS_MAX: Final = 200
META_BYTES_MAX: Final = 64 * 1024  # as JSON
SOURCE_BYTES_MAX: Final = 4 * 1024 * 1024
VALVES_BYTES_MAX: Final = 64 * 1024  # of the values that are no secrets, as JSON
MASK: Final = "**********"  # in the place of a secret, where valves are shown: sent back, it stands for what is kept

# ---------------------------------------------------------------------------------------------------------------- facts


class SourceRef(msgspec.Struct, frozen=True):
    """Where the source is: a blob of the same stream, named by its sha256 in hex."""

    blob: str
    size_bytes: int


class FunctionCreated(msgspec.Struct, frozen=True):
    """It is switched off, and for no model, until it is said to be otherwise. Of what a function of this id was before nothing counts."""

    function_id: str
    kind: FunctionKind
    name: str
    source: SourceRef
    meta: Mapping[str, Any] = {}  # ``description``, and ``manifest``: the lines at the top of the source
    origin: Origin = "api"  # "folder": the source is a file of the server's folder


class FunctionChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not there has not changed."""

    kind: FunctionKind | UnsetType = UNSET
    name: str | UnsetType = UNSET
    source: SourceRef | UnsetType = UNSET
    meta: Mapping[str, Any] | UnsetType = UNSET  # all of it


class FunctionEnabled(msgspec.Struct, frozen=True):
    pass


class FunctionDisabled(msgspec.Struct, frozen=True):
    pass


class FunctionMadeGlobal(msgspec.Struct, frozen=True):
    """It is for every model: a filter runs, an action is offered."""


class FunctionMadeLocal(msgspec.Struct, frozen=True):
    """It is for the models that name it."""


class FunctionValvesChanged(msgspec.Struct, frozen=True):
    """All that is set from now on."""

    values: Mapping[str, Any] = {}  # without the secrets
    secrets: Sequence[str] = ()  # their names
    kept: str | None = None  # the name under which their values are kept


class FunctionDeleted(msgspec.Struct, frozen=True):
    pass


FunctionFact = (
    FunctionCreated
    | FunctionChanged
    | FunctionEnabled
    | FunctionDisabled
    | FunctionMadeGlobal
    | FunctionMadeLocal
    | FunctionValvesChanged
    | FunctionDeleted
)
FunctionEvent = Event[FunctionFact]

FUNCTION_TYPES: Final[Mapping[str, type[Any]]] = {
    "function_created": FunctionCreated,
    "function_changed": FunctionChanged,
    "function_enabled": FunctionEnabled,
    "function_disabled": FunctionDisabled,
    "function_made_global": FunctionMadeGlobal,
    "function_made_local": FunctionMadeLocal,
    "function_valves_changed": FunctionValvesChanged,
    "function_deleted": FunctionDeleted,
}


class UserValvesChanged(msgspec.Struct, frozen=True):
    """A person's own settings of one function, in that person's stream. As in ``FunctionValvesChanged``."""

    function_id: str
    values: Mapping[str, Any] = {}
    secrets: Sequence[str] = ()
    kept: str | None = None


USER_VALVES_TYPES: Final[Mapping[str, type[Any]]] = {"user_valves_changed": UserValvesChanged}

# ------------------------------------------------------------------------------------------------------------- commands


class CreateFunction(msgspec.Struct, frozen=True, kw_only=True):
    function_id: str
    kind: FunctionKind
    name: str
    source: SourceRef
    meta: Mapping[str, Any] = {}
    origin: Origin = "api"
    active: bool = False
    everywhere: bool = False  # "global" is a word of Python


class ChangeFunction(msgspec.Struct, frozen=True, kw_only=True):
    """``origin`` says who changes the source: only the folder may change that of its own files."""

    function_id: str
    kind: FunctionKind
    name: str
    source: SourceRef
    meta: Mapping[str, Any]
    origin: Origin = "api"


class EnableFunction(msgspec.Struct, frozen=True, kw_only=True):
    """``active`` None: the other way round."""

    function_id: str
    active: bool | None = None


class MakeFunctionGlobal(msgspec.Struct, frozen=True, kw_only=True):
    """``everywhere`` None: the other way round."""

    function_id: str
    everywhere: bool | None = None


class ChangeValves(msgspec.Struct, frozen=True, kw_only=True):
    """The values were validated by the function's own class before."""

    function_id: str
    valves: "Valves"


class DeleteFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the folder is put in again when it changes, or when a server starts."""

    function_id: str


FunctionCommand = CreateFunction | ChangeFunction | EnableFunction | MakeFunctionGlobal | ChangeValves | DeleteFunction

# ---------------------------------------------------------------------------------------------------------------- state


class Valves(msgspec.Struct, frozen=True):
    """Settings that were made, without those that are left at their defaults."""

    values: Mapping[str, Any] = {}
    secrets: Sequence[str] = ()
    kept: str | None = None


NO_VALVES: Final = Valves()


class FunctionState(msgspec.Struct, frozen=True):
    function_id: str = ""
    exists: bool = False
    kind: FunctionKind = "pipe"
    name: str = ""
    source: SourceRef | None = None
    meta: Mapping[str, Any] = {}
    origin: Origin = "api"
    active: bool = False
    everywhere: bool = False
    valves: Valves = NO_VALVES
    created_version: int = 0
    updated_version: int = 0


NO_FUNCTION: Final = FunctionState()
UserValves = Mapping[str, Valves]  # of one person, by the function's id
NO_USER_VALVES: Final[UserValves] = {}

# --------------------------------------------------------------------------------------------------------------- decide


def decide(function: FunctionState, command: FunctionCommand) -> list[FunctionEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case CreateFunction():
            return create_function(function, command)
        case ChangeFunction():
            return change_function(function, command)
        case EnableFunction(function_id=function_id, active=active):
            known = existing(function, function_id)
            wanted = not known.active if active is None else active
            return [] if wanted == known.active else [Event(None, FunctionEnabled() if wanted else FunctionDisabled())]
        case MakeFunctionGlobal(function_id=function_id, everywhere=everywhere):
            known = existing(function, function_id)
            wanted = not known.everywhere if everywhere is None else everywhere
            return [] if wanted == known.everywhere else [Event(None, FunctionMadeGlobal() if wanted else FunctionMadeLocal())]
        case ChangeValves(function_id=function_id, valves=valves):
            known = existing(function, function_id)
            require_room(valves)
            return [] if valves == known.valves else [Event(None, FunctionValvesChanged(valves.values, valves.secrets, valves.kept))]
        case DeleteFunction(function_id=function_id):
            existing(function, function_id)
            return [Event(None, FunctionDeleted())]
        case _:
            assert_never(command)


def create_function(function: FunctionState, command: CreateFunction) -> list[FunctionEvent]:
    if function.exists:
        raise FunctionExists(command.function_id)
    require_function_id(command.function_id)
    require_described(command.name, command.meta)
    made = FunctionCreated(command.function_id, command.kind, command.name, command.source, command.meta, command.origin)
    events: list[FunctionEvent] = [Event(None, made)]
    if command.active:
        events.append(Event(None, FunctionEnabled()))
    if command.everywhere:
        events.append(Event(None, FunctionMadeGlobal()))
    return events


def change_function(function: FunctionState, command: ChangeFunction) -> list[FunctionEvent]:
    known = existing(function, command.function_id)
    require_described(command.name, command.meta)
    if command.source != known.source:
        require_origin(known, command.origin)
    changed = FunctionChanged(
        command.kind if command.kind != known.kind else UNSET,
        command.name if command.name != known.name else UNSET,
        command.source if command.source != known.source else UNSET,
        command.meta if command.meta != known.meta else UNSET,
    )
    return [] if changed == FunctionChanged() else [Event(None, changed)]


def existing(function: FunctionState, function_id: str) -> FunctionState:
    if not function.exists:
        raise FunctionNotFound(function_id)
    return function


def require_active(function: FunctionState, function_id: str) -> FunctionState:
    """Raises ``FunctionNotFound``, ``FunctionInactive``."""
    if not existing(function, function_id).active:
        raise FunctionInactive(function_id)
    return function


def require_origin(function: FunctionState, origin: Origin) -> None:
    if function.origin == "folder" and origin != "folder":
        raise FunctionReadOnly(function.function_id)
    if origin == "folder" and function.origin != "folder":
        raise FunctionExists(function.function_id)


def require_function_id(function_id: str) -> None:
    if not FUNCTION_ID.fullmatch(function_id):
        raise BadRequest(
            f"expected an id of letters, digits and underscores that does not begin with a digit, received {function_id[:100]!r}",
            param="id",
        )


def require_described(name: str, meta: Mapping[str, Any]) -> None:
    require_name(name, NAME_CHARACTERS_MAX)
    size = len(msgspec.json.encode(meta))
    if size > META_BYTES_MAX:
        raise BadRequest(f"the meta of a function holds at most {META_BYTES_MAX} bytes, this has {size}", param="meta")


def require_room(valves: Valves) -> None:
    size = len(msgspec.json.encode((valves.values, valves.secrets)))
    if size > VALVES_BYTES_MAX:
        raise BadRequest(f"the valves of a function hold at most {VALVES_BYTES_MAX} bytes, these have {size}")


def change_user_valves(known: UserValves, function_id: str, valves: Valves) -> list[Event[UserValvesChanged]]:
    """A person's own valves of one function. Raises ``BadRequest`` for more than fit."""
    require_room(valves)
    if known.get(function_id, NO_VALVES) == valves:
        return []
    return [Event(None, UserValvesChanged(function_id, valves.values, valves.secrets, valves.kept))]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(function: FunctionState, event: Event[Any], version: int) -> FunctionState:
    """The next state. Total: history cannot be refused, so this never raises."""
    fact = event.data
    if not isinstance(fact, FunctionFact):
        return function
    match fact:
        case FunctionCreated():
            return FunctionState(
                function_id=fact.function_id,
                exists=True,
                kind=fact.kind,
                name=fact.name,
                source=fact.source,
                meta=fact.meta,
                origin=fact.origin,
                created_version=version,
                updated_version=version,
            )
        case FunctionChanged():
            changes = {name: value for name in fact.__struct_fields__ if (value := getattr(fact, name)) is not UNSET}
            return changed(function, version, **changes)
        case FunctionEnabled():
            return changed(function, version, active=True)
        case FunctionDisabled():
            return changed(function, version, active=False)
        case FunctionMadeGlobal():
            return changed(function, version, everywhere=True)
        case FunctionMadeLocal():
            return changed(function, version, everywhere=False)
        case FunctionValvesChanged():
            return changed(function, version, valves=Valves(fact.values, fact.secrets, fact.kept))
        case FunctionDeleted():
            return changed(FunctionState(function_id=function.function_id), version)
        case _:
            assert_never(fact)


def changed(function: FunctionState, version: int, **fields: Any) -> FunctionState:
    return msgspec.structs.replace(function, updated_version=version, **fields)


def evolve_user_valves(known: UserValves, event: Event[Any], _version: int) -> UserValves:
    """Total. A person's stream holds much else, which is passed over."""
    fact = event.data
    if not isinstance(fact, UserValvesChanged):
        return known
    return {**known, fact.function_id: Valves(fact.values, fact.secrets, fact.kept)}
