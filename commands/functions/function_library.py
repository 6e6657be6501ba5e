"""Changes of functions by admins and by the server's folder, and what is stored of them: sources, switches, valves."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

import msgspec

from commands.accounts.accounts import Accounts
from commands.aggregate import Aggregate
from commands.catalogue import Catalogue
from commands.ports import Blobs, Claim, EventLog, KeptSecrets
from domain.errors import BadRequest, ClaimTaken, ContentRefused, FunctionExists, FunctionNotFound, FunctionNotLoaded, TooLarge
from domain.log.event import Actor
from domain.log.stream import function_stream
from domain.routing.function import (
    MASK,
    NO_FUNCTION,
    NO_USER_VALVES,
    NO_VALVES,
    SOURCE_BYTES_MAX,
    USER_VALVES_TYPES,
    ChangeFunction,
    ChangeValves,
    CreateFunction,
    DeleteFunction,
    EnableFunction,
    FunctionCommand,
    FunctionKind,
    FunctionState,
    MakeFunctionGlobal,
    Origin,
    SourceRef,
    UserValves,
    Valves,
    change_user_valves,
    decide,
    evolve,
    evolve_user_valves,
    require_active,
    require_function_id,
)

Whose = Literal["valves", "user_valves"]  # an admin's, for everybody; or a person's own
SECRET_PREFIX = "valves/"  # noqa: S105 - of the names under which secrets are kept


class Examined(msgspec.Struct, frozen=True):
    """What a source turned out to be when it was loaded."""

    kind: FunctionKind
    manifest: Mapping[str, str]
    has_toggle: bool = False


class Workshop(Protocol):
    """Where functions run in this process. What is the function's own, such as its validators, runs away from the server's loop."""

    async def examine(self, function_id: str, source: str, values: Mapping[str, Any]) -> Examined:
        """Load a source on trial. Raises ``FunctionNotLoaded``."""
        ...

    async def spec(self, stream_id: UUID, whose: Whose, person: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The JSON schema of its valves; None where it has none. Raises ``FunctionNotLoaded``."""
        ...

    async def check_valves(
        self, stream_id: UUID, whose: Whose, given: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """``(values, secrets)`` of what was given, validated; None where it has no valves.

        Raises ``ValvesRefused``, ``FunctionNotLoaded``.
        """
        ...

    async def settled(self, stream_id: UUID) -> None:
        """All that is known of the stream is loaded here, or has failed to."""
        ...

    def failures(self) -> Mapping[str, FunctionNotLoaded]:
        """Why the newest source of a function is not what runs here, by its id."""
        ...


class KnownFunction(msgspec.Struct, frozen=True):
    """One function as of now. ``author_id``: who made it; None for a file of the folder."""

    stream_id: UUID
    version: int
    state: FunctionState
    created_at: datetime
    updated_at: datetime
    author: Actor | None


class FunctionStore:
    """What is stored of functions, for whatever runs them."""

    def __init__(self, log: EventLog, blobs: Blobs, secrets: KeptSecrets, accounts: Accounts) -> None:
        self._blobs = blobs
        self._secrets = secrets
        self._accounts = accounts
        self._user_valves: Aggregate[UserValves] = Aggregate(log, "user", NO_USER_VALVES, evolve_user_valves, types=USER_VALVES_TYPES)

    async def source(self, stream_id: UUID, state: FunctionState) -> str:
        """Raises ``LogUnavailable``; ``FunctionNotLoaded`` where the log has lost it."""
        kept = None if state.source is None else await self._blobs.get(function_stream(stream_id), state.source.blob)
        if kept is None:
            raise FunctionNotLoaded(state.function_id, "exception", "its source is not stored; steno verify says more")
        return kept.decode()

    async def values(self, valves: Valves) -> Mapping[str, Any]:
        """All values, with the secrets among them."""
        return {**valves.values, **await self._secrets_of(valves)}

    async def _secrets_of(self, valves: Valves) -> Mapping[str, Any]:
        kept = None if valves.kept is None else await self._secrets.kept_secret(SECRET_PREFIX + valves.kept)
        if kept is None:
            return {}
        found: dict[str, Any] = msgspec.json.decode(kept)
        return found

    async def kept_valves(self, known: Valves, values: Mapping[str, Any], secrets: Mapping[str, Any]) -> Valves:
        """As an event holds them. The secrets are kept first; where they are those of ``known``, as they are."""
        if not secrets:
            return Valves(values)
        if secrets == await self._secrets_of(known):
            return Valves(values, known.secrets, known.kept)
        name = uuid4().hex
        await self._secrets.keep_secret(SECRET_PREFIX + name, msgspec.json.encode(secrets))
        return Valves(values, sorted(secrets), name)

    async def unmasked(self, known: Valves, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was given, with the kept secrets where it has their mask."""
        if MASK not in given.values():
            return given
        secrets = await self._secrets_of(known)
        return {name: secrets.get(name) if value == MASK and name in known.secrets else value for name, value in given.items()}

    async def user_valves(self, user_id: UUID, function_id: str) -> Valves:
        _, known = await self._user_valves.state(user_id)
        return known.get(function_id, NO_VALVES)

    async def change_user_valves(self, actor: Actor, function_id: str, valves: Valves) -> None:
        await self._user_valves.handle(actor.id, lambda known: change_user_valves(known, function_id, valves), actor=actor)

    async def person(self, user_id: UUID) -> Mapping[str, Any]:
        account = await self._accounts.account(user_id)
        return {"id": str(user_id), "email": account.email, "name": account.name, "role": account.role}


class FunctionLibrary:
    """``seen`` returns once this process has seen the log up to a position: then the catalogue, and with it the workshop, know of it."""

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        store: FunctionStore,
        catalogue: Catalogue[FunctionState],
        workshop: Workshop,
        seen: Callable[[int], Awaitable[None]],
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._store = store
        self._catalogue = catalogue
        self._workshop = workshop
        self._seen = seen
        self._aggregate = Aggregate(log, "function", NO_FUNCTION, evolve)

    # ------------------------------------------------------------------------------------------------ looking

    def states(self) -> Iterator[tuple[UUID, FunctionState]]:
        """Those that exist."""
        return ((stream_id, state) for stream_id, state in self._catalogue if state.exists)

    async def find(self, function_id: str) -> tuple[UUID, FunctionState]:
        """Raises ``FunctionNotFound``."""
        found = self._find(function_id)
        if found is None:
            await self._seen(await self._log.head())  # another process may have put it in a moment ago
            found = self._find(function_id)
        if found is None:
            raise FunctionNotFound(function_id)
        return found

    def _find(self, function_id: str) -> tuple[UUID, FunctionState] | None:
        return next(((stream_id, state) for stream_id, state in self.states() if state.function_id == function_id), None)

    async def known(self, function_id: str) -> KnownFunction:
        """Raises ``FunctionNotFound``."""
        return await self._known(*await self.find(function_id))

    async def list_known(self) -> Sequence[KnownFunction]:
        """All, the one that was changed last first."""
        known = [await self._known(stream_id, state) for stream_id, state in list(self.states())]
        return sorted(known, key=lambda one: (-one.updated_at.timestamp(), one.state.function_id))

    async def _known(self, stream_id: UUID, state: FunctionState) -> KnownFunction:
        stream = function_stream(stream_id)
        times = await self._log.times(stream, {state.created_version, state.updated_version})
        (made,) = await self._log.read(stream, after=state.created_version - 1, until=state.created_version, limit=1)
        author = None if made.actor is None else msgspec.json.decode(made.actor, type=Actor)
        version = self._catalogue.version(stream_id)
        return KnownFunction(stream_id, version, state, times[state.created_version], times[state.updated_version], author)

    async def source(self, known: KnownFunction) -> str:
        return await self._store.source(known.stream_id, known.state)

    def failures(self) -> Mapping[str, FunctionNotLoaded]:
        return self._workshop.failures()

    # ------------------------------------------------------------------------------------------------ changing

    async def create(
        self,
        actor: Actor | None,
        function_id: str,
        name: str,
        source: str,
        meta: Mapping[str, Any],
        *,
        origin: Origin = "api",
        active: bool = False,
        everywhere: bool = False,
    ) -> KnownFunction:
        """Raises ``BadRequest``, ``FunctionExists``, ``FunctionNotLoaded``: nothing was written."""
        require_function_id(function_id)
        holder = await self._log.find_claim("function", function_id)
        stream_id = uuid4() if holder is None else holder.id
        if holder is not None and (await self._aggregate.state(stream_id))[1].exists:
            raise FunctionExists(function_id)
        kind, described, kept = await self._examined(actor, stream_id, function_id, source, meta, {})
        command = CreateFunction(
            function_id=function_id,
            kind=kind,
            name=name,
            source=kept,
            meta=described,
            origin=origin,
            active=active,
            everywhere=everywhere,
        )
        claims = [Claim("function", function_id, function_stream(stream_id))] if holder is None else []
        try:
            await self._handle(stream_id, command, actor, claims)
        except ClaimTaken:
            raise FunctionExists(function_id) from None
        return await self.known(function_id)

    async def update(
        self, actor: Actor | None, function_id: str, name: str, source: str, meta: Mapping[str, Any], *, origin: Origin = "api"
    ) -> KnownFunction:
        """An equal function is no change. Raises as ``create``, ``FunctionNotFound`` and ``FunctionReadOnly``."""
        stream_id, state = await self.find(function_id)
        values = await self._store.values(state.valves)
        kind, described, kept = await self._examined(actor, stream_id, function_id, source, meta, values)
        command = ChangeFunction(function_id=function_id, kind=kind, name=name, source=kept, meta=described, origin=origin)
        await self._handle(stream_id, command, actor)
        return await self.known(function_id)

    async def toggle(self, actor: Actor, function_id: str, active: bool | None = None) -> KnownFunction:
        """On or off; None: the other way round."""
        await self._handle((await self.find(function_id))[0], EnableFunction(function_id=function_id, active=active), actor)
        return await self.known(function_id)

    async def toggle_global(self, actor: Actor, function_id: str, everywhere: bool | None = None) -> KnownFunction:
        await self._handle((await self.find(function_id))[0], MakeFunctionGlobal(function_id=function_id, everywhere=everywhere), actor)
        return await self.known(function_id)

    async def delete(self, actor: Actor | None, function_id: str) -> None:
        await self._handle((await self.find(function_id))[0], DeleteFunction(function_id=function_id), actor)

    async def _examined(
        self, actor: Actor | None, stream_id: UUID, function_id: str, source: str, meta: Mapping[str, Any], values: Mapping[str, Any]
    ) -> tuple[FunctionKind, Mapping[str, Any], SourceRef]:
        try:
            content = source.encode()
        except UnicodeEncodeError:
            raise ContentRefused("a lone surrogate") from None
        if len(content) > SOURCE_BYTES_MAX:
            raise TooLarge("content", len(content), SOURCE_BYTES_MAX)
        if not isinstance(meta, Mapping):
            raise BadRequest("expected meta as an object", param="meta")
        examined = await self._workshop.examine(function_id, source, values)
        described = {**meta, "manifest": dict(examined.manifest), **({"toggle": True} if examined.has_toggle else {})}
        if actor is not None:
            await self._log.require_account(actor.id)
        sha256 = hashlib.sha256(content).hexdigest()
        kept = await self._blobs.put(function_stream(stream_id), content)
        assert kept == sha256
        return examined.kind, described, SourceRef(kept, len(content))

    async def _handle(self, stream_id: UUID, command: FunctionCommand, actor: Actor | None, claims: Sequence[Claim] = ()) -> None:
        """Returns once this process has loaded what comes of it."""
        appended = await self._aggregate.handle(stream_id, partial(decide, command=command), actor=actor, claims=claims)
        await self._seen(appended.position)
        await self._workshop.settled(stream_id)

    # ------------------------------------------------------------------------------------------------ valves

    async def valves(self, function_id: str) -> Mapping[str, Any]:
        """What an admin has set, secrets masked. Raises ``FunctionNotFound``."""
        return masked((await self.find(function_id))[1].valves)

    async def spec(self, function_id: str, whose: Whose, actor: Actor) -> Mapping[str, Any] | None:
        """None where there are none; a person's own of a function that is off are none, too."""
        stream_id, state = await self.find(function_id)
        if whose == "user_valves" and not state.active:
            return None
        return await self._workshop.spec(stream_id, whose, await self._store.person(actor.id))

    async def change_valves(self, actor: Actor, function_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """All of them, from now on; null is a value left at its default, and a mask the secret that is kept.

        Returns what is set, secrets masked. Raises ``FunctionNotFound`` also where it has none, ``ValvesRefused``.
        """
        stream_id, state = await self.find(function_id)
        valves = await self._checked(stream_id, "valves", function_id, state.valves, given)
        await self._handle(stream_id, ChangeValves(function_id=function_id, valves=valves), actor)
        return masked(valves)

    async def user_valves(self, actor: Actor, function_id: str) -> Mapping[str, Any]:
        await self.find(function_id)
        return masked(await self._store.user_valves(actor.id, function_id))

    async def change_user_valves(self, actor: Actor, function_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``change_valves``, of the actor alone. Raises ``FunctionInactive``, too."""
        stream_id, state = await self.find(function_id)
        require_active(state, function_id)
        known = await self._store.user_valves(actor.id, function_id)
        valves = await self._checked(stream_id, "user_valves", function_id, known, given)
        await self._store.change_user_valves(actor, function_id, valves)
        return masked(valves)

    async def _checked(self, stream_id: UUID, whose: Whose, function_id: str, known: Valves, given: Mapping[str, Any]) -> Valves:
        checked = await self._workshop.check_valves(stream_id, whose, await self._store.unmasked(known, given))
        if checked is None:
            raise FunctionNotFound(function_id, "Valves" if whose == "valves" else "UserValves")
        return await self._store.kept_valves(known, *checked)


def masked(valves: Valves) -> Mapping[str, Any]:
    return {**valves.values, **dict.fromkeys(valves.secrets, MASK)}
