"""The providers there are: those of the operator's settings, with what admins have changed of them, and those that admins have added.

Each has a stream ``provider/…``; all are folded in memory on every process. After a change ``apply`` gets the whole set there, so it
holds without a restart; answers that are running go on with the provider that they began with.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
import structlog

from commands.aggregate import ATTEMPTS_MAX, Aggregate
from commands.catalogue import Catalogue
from commands.ports import AppendRequest, Credentials, EventLog, StreamAppend
from commands.providers.provider_setup import (
    NO_SECRETS,
    ProviderEdit,
    ProviderSecrets,
    ProviderSetup,
    WantedProvider,
    origin_of,
    require_secrets,
)
from domain.errors import BadRequest, ConcurrencyConflict, Forbidden, ProviderNotFound, Refusal, TooManyLostRaces, Unavailable
from domain.log.event import Actor
from domain.log.stream import provider_stream
from domain.routing.provider import (
    NO_PROVIDER,
    PROVIDER_KINDS,
    PROVIDERS_MAX,
    AddProvider,
    ChangeProvider,
    ChangeProviderSecrets,
    ProviderCommand,
    ProviderKind,
    ProviderState,
    RemoveProvider,
    Secret,
    SwitchProvider,
    SwitchProviderKind,
    decide_all,
    evolve,
    kind_id,
    require_fields,
)
from domain.values.fields import differing

RETRY_S: Final = 0.25
SETTLED_S: Final = 10.0  # how long a change waits to hold on this process; it holds soon after in any case

logger = structlog.get_logger("providers")

# The stream, what is decided on its state, and the edit that it comes from.
Planned = tuple[UUID, Callable[[ProviderState], Sequence[ProviderCommand]], ProviderEdit]


class ProviderRegistry:
    """``fixed`` are the providers of the settings. ``apply`` makes those that are enabled the ones that are asked; it must not block.
    ``probe`` asks a server what it is, and raises ``ProviderFailed``.

    ``delivered`` returns once what was written up to a position has passed ``observe``, which must see every event of the log but deltas.
    ``refuses_host`` says whether an address that is written as numbers is closed to admins. ``may_change`` false: only the settings count.
    """

    def __init__(
        self,
        log: EventLog,
        credentials: Credentials,
        fixed: Sequence[ProviderSetup],
        delivered: Callable[[int], Awaitable[None]],
        apply: Callable[[Sequence[ProviderSetup]], None],
        probe: Callable[[ProviderSetup], Awaitable[Mapping[str, Any]]],
        *,
        refuses_host: Callable[[str], bool] = lambda _: False,
        may_change: bool = True,
    ) -> None:
        self._log = log
        self._credentials = credentials
        self._fixed = {one.id: one for one in fixed}
        self._delivered = delivered
        self._apply = apply
        self._probe = probe
        self._refuses_host = refuses_host
        self._may_change = may_change
        self._aggregate = Aggregate(log, "provider", NO_PROVIDER, evolve)
        self._catalogue = Catalogue(log, "provider", NO_PROVIDER, evolve, self._on_changed)
        self.observe = self._catalogue.observe
        self._known_secrets: dict[UUID, ProviderSecrets] = {}  # by secret id
        self._setups: Sequence[ProviderSetup] = list(fixed)
        self._changes = 0  # seen
        self._applied = 0
        self._dirty = asyncio.Event()
        self._moved = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        apply(self._setups)

    async def start(self) -> None:
        """To be called once the tail of the log is followed. Raises ``LogUnavailable``."""
        await self._catalogue.start()
        await self._refresh()
        self._follower = asyncio.create_task(self._follow(), name="providers")

    async def close(self) -> None:
        await self._catalogue.close()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])

    # --------------------------------------------------------------------------------------------------------- looking

    async def catch_up(self) -> None:
        """Returns once what was written before the call, by any process, holds here. Raises ``LogUnavailable``."""
        await self._delivered(await self._log.head())
        await self.settled()

    def setups(self, kind: ProviderKind | None = None) -> list[ProviderSetup]:
        """Every provider, in the order in which they are asked; also those that are switched off."""
        return [one for one in self._setups if kind in (None, one.kind)]

    def existing(self, provider_id: UUID) -> ProviderSetup:
        """Raises ``ProviderNotFound``."""
        for one in self._setups:
            if one.id == provider_id:
                return one
        raise ProviderNotFound(provider_id)

    def kind_enabled(self, kind: ProviderKind) -> bool:
        return self._catalogue.get(kind_id(kind)).enabled

    async def verify(self, provider_id: UUID) -> Mapping[str, Any]:
        """What the server says of itself, as a test of its address and key. Raises ``ProviderNotFound``, ``ProviderFailed``."""
        await self.catch_up()
        return await self._probe(self.existing(provider_id))

    async def try_out(self, kind: ProviderKind, base_url: str, edit: ProviderEdit) -> Mapping[str, Any]:
        """The same of a server that need not be added. A secret of None is that of the provider which has this very address: no other
        server is shown it. Raises ``BadRequest``, ``Forbidden``, ``ProviderFailed``.
        """
        self._require_changeable()
        require_fields({"base_url": base_url})
        self._require_secrets(edit)
        await self.catch_up()
        known = next((one for one in self.setups(kind) if one.base_url == base_url), None)
        secrets = known.secrets if known is not None else NO_SECRETS
        shows_stored = edit.key is None or any(value is None for value in (edit.headers or {}).values())
        if shows_stored and edit.proxy and edit.proxy != secrets.proxy:
            raise given_again("proxy")
        headers = {name: secrets.headers.get(name, "") if value is None else value for name, value in (edit.headers or {}).items()}
        is_guarded = known is None or known.is_guarded or bool(edit.proxy)
        if is_guarded:
            self._require_open(base_url)
        setup = ProviderSetup(
            id=known.id if known is not None else uuid4(),
            kind=kind,
            base_url=base_url,
            secrets=ProviderSecrets(
                key=secrets.key if edit.key is None else edit.key,
                headers=headers,
                proxy=secrets.proxy if edit.proxy is None else edit.proxy,
            ),
            is_guarded=is_guarded,
        )
        return await self._probe(setup)

    # -------------------------------------------------------------------------------------------------------- changing

    async def add(
        self, actor: Actor, kind: ProviderKind, base_url: str, edit: ProviderEdit, *, provider_id: UUID | None = None
    ) -> ProviderSetup:
        """Raises ``BadRequest``, ``Forbidden``."""
        await self.catch_up()
        added = self._planned_addition(provider_id or uuid4(), kind, base_url, edit, self._next_rank(kind))
        await self._commit(actor, [added])
        return self.existing(added[0])

    async def change(self, actor: Actor, provider_id: UUID, edit: ProviderEdit) -> ProviderSetup:
        """Raises ``ProviderNotFound``, ``BadRequest``, ``Forbidden``."""
        await self.catch_up()
        await self._commit(actor, [self._planned_change(self.existing(provider_id), edit)])
        return self.existing(provider_id)

    async def remove(self, actor: Actor, provider_id: UUID) -> None:
        """Raises ``ProviderNotFound``; ``BadRequest`` for a provider of the settings."""
        await self.catch_up()
        await self._commit(actor, [self._planned_removal(self.existing(provider_id))])

    async def replace_all(self, actor: Actor, kind: ProviderKind, wanted: Sequence[WantedProvider], *, enabled: bool | None) -> None:
        """Make these the providers of a kind, in this order, all or nothing. ``enabled``: whether that kind is asked at all.

        A field that an entry does not name is taken out. Raises ``BadRequest``, ``Forbidden``, ``ProviderNotFound``.
        """
        await self.catch_up()
        if len(wanted) > PROVIDERS_MAX:
            raise Forbidden(f"expected at most {PROVIDERS_MAX} providers, received {len(wanted)}")
        left = {one.id: one for one in self.setups(kind)}
        matched: list[ProviderSetup | None] = []
        for one in wanted:
            if one.id is not None and one.id not in left:
                raise ProviderNotFound(one.id)
            matched.append(left.pop(one.id) if one.id is not None else None)
        for place, one in enumerate(wanted):
            if matched[place] is None:
                same = next((known for known in left.values() if known.base_url == one.base_url), None)
                matched[place] = left.pop(same.id) if same is not None else None
        present = [one.id for one in matched if one is not None]
        as_it_was = [one.id for one in self.setups(kind) if one.id in present]
        is_sorted = present == as_it_was and None not in matched[: len(present)]
        plan: list[Planned] = [self._planned_removal(gone) for gone in left.values()]
        for place, (one, known) in enumerate(zip(wanted, matched, strict=True)):
            rank = self._next_rank(kind) + place if is_sorted else place
            if known is None:
                plan.append(self._planned_addition(uuid4(), kind, one.base_url, one.edit, rank))
                continue
            fields = {**{name: None for name in known.fields if name not in ("rank", "name")}, "base_url": one.base_url, **one.edit.fields}
            edit = msgspec.structs.replace(one.edit, fields=fields if is_sorted else {**fields, "rank": rank})
            plan.append(self._planned_change(known, edit))
        if enabled is not None:
            switch = SwitchProviderKind(provider_id=kind_id(kind), enabled=enabled)
            plan.append((kind_id(kind), lambda _state: [switch], ProviderEdit()))
        await self._commit(actor, plan)

    def _next_rank(self, kind: ProviderKind) -> int:
        return max((one.rank + 1 for one in self.setups(kind)), default=0)

    def _planned_addition(self, provider_id: UUID, kind: ProviderKind, base_url: str, edit: ProviderEdit, rank: int) -> Planned:
        self._require_open(base_url)
        fields = {"rank": rank, **edit.fields}
        commands: list[ProviderCommand] = [AddProvider(provider_id=provider_id, kind=kind, base_url=base_url, fields=fields)]
        if edit.enabled is False:
            commands.append(SwitchProvider(provider_id=provider_id, enabled=False))

        def plan(state: ProviderState) -> Sequence[ProviderCommand]:
            if state.exists:  # a repeated request: its rank is the one that it got first
                repeated = {**fields, "rank": state.fields.get("rank")}
                return [AddProvider(provider_id=provider_id, kind=kind, base_url=base_url, fields=repeated), *commands[1:]]
            if len(self._setups) >= PROVIDERS_MAX:
                raise Forbidden(f"there are {PROVIDERS_MAX} providers already: remove one first")
            return commands

        return provider_id, plan, edit

    def _planned_change(self, known: ProviderSetup, edit: ProviderEdit) -> Planned:
        if "base_url" in edit.fields:
            self._require_open(edit.fields["base_url"])
        # Of a provider of the settings the stream holds only what differs from what they say.
        fields = {**known.fields, "base_url": known.base_url}
        changed = differing({**dict.fromkeys(edit.fields), **fields}, edit.fields)

        def plan(state: ProviderState) -> Sequence[ProviderCommand]:
            commands = self._adopted(known.id, state)
            if changed:
                commands.append(ChangeProvider(provider_id=known.id, fields=changed))
            if edit.enabled is not None:
                commands.append(SwitchProvider(provider_id=known.id, enabled=edit.enabled))
            return commands

        return known.id, plan, edit

    def _planned_removal(self, known: ProviderSetup) -> Planned:
        def plan(state: ProviderState) -> Sequence[ProviderCommand]:
            return [*self._adopted(known.id, state), RemoveProvider(provider_id=known.id)]

        return known.id, plan, ProviderEdit()

    def _adopted(self, provider_id: UUID, state: ProviderState) -> list[ProviderCommand]:
        """A provider of the settings gets a stream when something of it is changed for the first time."""
        fixed = self._fixed.get(provider_id)
        if fixed is None or state.exists:
            return []
        return [AddProvider(provider_id=provider_id, kind=fixed.kind, base_url=fixed.base_url, from_settings=True)]

    def _require_open(self, url: Any) -> None:
        try:
            host = urlsplit(url).hostname if isinstance(url, str) else None
        except ValueError:
            host = None
        if host is not None and self._refuses_host(host):
            raise BadRequest("this address is in a network that the operator has closed to providers (STENO_PROVIDER_REFUSED_NETWORKS)")

    async def _commit(self, actor: Actor, plan: Sequence[Planned]) -> None:
        """Append what all of the plan leads to in one request. A lost race is decided again."""
        self._require_changeable()
        for _, _, edit in plan:
            require_fields(edit.fields)
            self._require_secrets(edit)
        for _ in range(ATTEMPTS_MAX):
            appends: list[StreamAppend] = []
            added: dict[UUID, bytes] = {}
            replaced: list[UUID] = []
            for provider_id, planned, edit in plan:
                version, state = await self._aggregate.state(provider_id)
                commands = [*planned(state)]
                change, secrets = await self._changed_secrets(provider_id, state, edit)
                removed = any(isinstance(command, RemoveProvider) for command in commands)
                if change is not None:
                    commands.append(change)
                    if change.secret_id is not None:
                        added[change.secret_id] = msgspec.json.encode(secrets)
                if state.secret_id is not None and (change is not None or removed):
                    replaced.append(state.secret_id)
                events = decide_all(state, commands)
                if events and not self._is_only_adoption(state, events):
                    appends.append(StreamAppend(provider_stream(provider_id), events, version))
            if not appends:
                return
            try:
                for secret_id, encoded in added.items():
                    await self._credentials.add_provider_secrets(secret_id, encoded)
                appended = await self._log.append(AppendRequest(appends, actor))
            except ConcurrencyConflict:
                await self._forget([*added])
                continue
            except Refusal:
                await self._forget([*added])
                raise
            await self._delivered(appended.position)
            await self.settled()
            await self._forget(replaced)
            return
        raise TooManyLostRaces("provider", ATTEMPTS_MAX)

    @staticmethod
    def _is_only_adoption(state: ProviderState, events: Sequence[Any]) -> bool:
        return not state.exists and len(events) == 1 and getattr(events[0].data, "from_settings", False)

    async def _changed_secrets(
        self, provider_id: UUID, state: ProviderState, edit: ProviderEdit
    ) -> tuple[ChangeProviderSecrets | None, ProviderSecrets]:
        """The command, and all secrets after it."""
        own = await self._secrets_of(state)
        known = self._merged_secrets(provider_id, state, own)
        self._require_given_again(provider_id, state, edit, known)
        headers = edit.headers
        if headers is not None:
            headers = {name: known.headers.get(name) if value is None else value for name, value in headers.items()}
            headers = {name: value for name, value in headers.items() if value is not None}
        given: dict[Secret, Any] = {"key": edit.key, "headers": headers, "proxy": edit.proxy}
        changed: list[Secret] = [name for name, value in given.items() if value is not None and value != getattr(known, name)]
        if not changed:
            return None, own
        kept: frozenset[Secret] = state.secrets | set(changed)
        values = {name: given[name] if name in changed else getattr(own, name) for name in kept}
        secrets = ProviderSecrets(**values)
        command = ChangeProviderSecrets(
            provider_id=provider_id,
            secret_id=uuid4() if secrets != NO_SECRETS else None,
            changed=changed,
            has_key=bool(secrets.key),
            header_names=sorted(secrets.headers),
            has_proxy=bool(secrets.proxy),
        )
        return command, secrets

    def _require_given_again(self, provider_id: UUID, state: ProviderState, edit: ProviderEdit, known: ProviderSecrets) -> None:
        fixed = self._fixed.get(provider_id)
        base_url = state.base_url or (fixed.base_url if fixed is not None else "")
        elsewhere = bool(base_url) and origin_of(edit.fields.get("base_url") or base_url) != origin_of(base_url)
        if not elsewhere and edit.proxy in (None, "", known.proxy):
            return
        kept = known.headers if edit.headers is None else [name for name, value in edit.headers.items() if value is None]
        if (known.key and edit.key is None) or kept:
            raise given_again("address" if elsewhere else "proxy")

    def _require_changeable(self) -> None:
        if not self._may_change:
            raise Forbidden("providers stand in the settings of this server only (STENO_PROVIDERS_OVER_HTTP)")

    def _require_secrets(self, edit: ProviderEdit) -> None:
        require_secrets(edit)
        if edit.proxy:
            self._require_open(edit.proxy)

    async def _forget(self, secret_ids: Sequence[UUID]) -> None:
        """A failure leaves a row that no event names."""
        for secret_id in secret_ids:
            try:
                await self._credentials.forget_provider_secrets(secret_id)
            except Unavailable as error:
                logger.warning("provider_secrets_not_forgotten", error=str(error))

    # ------------------------------------------------------------------------------------------------------- following

    def _on_changed(self, _provider_id: UUID) -> None:
        self._changes += 1
        self._dirty.set()

    async def _follow(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            seen = self._changes
            try:
                await self._refresh()
            except Unavailable as error:
                logger.warning("providers_wait", error=str(error))
                self._dirty.set()
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:
                logger.exception("providers_not_applied")  # the ones before stay
            self._applied = seen
            self._moved.set()

    async def settled(self) -> None:
        """Returns when every change that was seen here holds here."""
        changes = self._changes
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                while self._applied < changes:
                    self._moved.clear()
                    await self._moved.wait()

    async def _refresh(self) -> None:
        states = {provider_id: state for provider_id, state in self._catalogue if state.exists}
        own = {provider_id: await self._secrets_of(state) for provider_id, state in states.items()}
        named = {state.secret_id for state in states.values()}
        for secret_id in [one for one in self._known_secrets if one not in named]:
            del self._known_secrets[secret_id]
        setups = [
            self._setup(provider_id, states.get(provider_id, NO_PROVIDER), own.get(provider_id, NO_SECRETS)) for provider_id in self._fixed
        ]
        # What the settings no longer hold is not asked, and is there again when they do.
        added = [provider_id for provider_id, state in states.items() if not state.from_settings and provider_id not in self._fixed]
        setups += [self._setup(provider_id, states[provider_id], own[provider_id]) for provider_id in added]
        self._setups = sorted(setups, key=lambda one: (PROVIDER_KINDS.index(one.kind), one.rank, str(one.id)))
        self._apply([one for one in self._setups if one.enabled and self.kind_enabled(one.kind)])

    def _setup(self, provider_id: UUID, state: ProviderState, own: ProviderSecrets) -> ProviderSetup:
        fixed = self._fixed.get(provider_id)
        if fixed is None:
            return ProviderSetup(
                id=provider_id,
                kind=state.kind,
                base_url=state.base_url,
                fields=state.fields,
                enabled=state.enabled,
                secrets=own,
                is_guarded=True,
            )
        if not state.exists:
            return fixed
        return msgspec.structs.replace(
            fixed,
            fields={**fixed.fields, **state.fields},
            enabled=state.enabled,
            secrets=self._merged_secrets(provider_id, state, own),
            is_guarded="proxy" in state.secrets,
        )

    def _merged_secrets(self, provider_id: UUID, state: ProviderState, own: ProviderSecrets) -> ProviderSecrets:
        """What admins have set counts above what the settings say, each for itself."""
        fixed = self._fixed.get(provider_id)
        if fixed is None:
            return own
        return msgspec.structs.replace(fixed.secrets, **{name: getattr(own, name) for name in state.secrets})

    async def _secrets_of(self, state: ProviderState) -> ProviderSecrets:
        if state.secret_id is None:
            return NO_SECRETS
        known = self._known_secrets.get(state.secret_id)
        if known is None:
            stored = await self._credentials.provider_secrets(state.secret_id)
            if stored is None:  # replaced meanwhile: the event that says so follows
                return NO_SECRETS
            known = self._known_secrets[state.secret_id] = msgspec.json.decode(stored, type=ProviderSecrets)
        return known


def given_again(what: str) -> BadRequest:
    return BadRequest(f"the {what} is another one: give the key and the headers again", param="key")
