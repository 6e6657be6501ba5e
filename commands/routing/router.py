"""Which provider answers for a model that is asked for, decided before anything is written.

In this order: a direct connection of the caller's own; whether the caller may use the model; an arena's pick; custom models down to the
model that they stand on; then the sources in theirs: pipes, Ollama, OpenAI, the demo.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from commands.providers.provider import Model
from commands.routing.access import ModelAccess
from commands.routing.arena import Choose, choose_at_random, named_by, not_excluded
from commands.routing.entry import Known
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.route import Layer, ModelSource, Route, Routed
from domain.errors import ArenaEmpty, ModelNotFound
from domain.log.event import Actor
from domain.routing.model import ModelEntry

CHAIN_MAX: Final = 8  # custom models that stand on each other
ARENA: Final = "arena"
DIRECT: Final = "direct"


class AvailableModel(Model, frozen=True, kw_only=True):
    """A model that one account may ask for now. ``entry`` is what people have made or said of it."""

    entry: Known[ModelEntry] | None = None
    may_write: bool = False  # whether the account may change the entry

    @property
    def is_arena(self) -> bool:
        return self.owned_by == ARENA

    @property
    def is_custom(self) -> bool:
        return self.entry is not None and self.entry.state.base_model_id is not None


class Router:
    """``entries`` and ``groups`` hear of the same events at the same time."""

    def __init__(
        self,
        sources: Sequence[ModelSource],
        entries: ModelEntries,
        groups: Groups,
        access: ModelAccess,
        *,
        choose: Choose = choose_at_random,
    ) -> None:
        self._sources = sources
        self._entries = entries
        self._groups = groups
        self._access = access
        self._choose = choose

    # --------------------------------------------------------------------------------------------------------- listing

    async def base_models(self) -> list[Model]:
        """The models as pipes and providers offer them; of two with one id the first counts."""
        listed: dict[str, Model] = {}
        for source in self._sources:
            for model in await source.models():
                listed.setdefault(model.id, model)
        return list(listed.values())

    async def available(self, actor: Actor) -> list[AvailableModel]:
        """What this account may ask for now: the providers' models first, then arenas, then custom models as they were made."""
        await self._entries.refresh()
        return await self._available(actor)

    async def _available(self, actor: Actor) -> list[AvailableModel]:
        listed = {model.id: model for model in await self.base_models()}
        custom = {one.state.model_id: one for one in self._entries.all() if one.state.is_custom}
        custom = {model_id: one for model_id, one in custom.items() if one.state.by_admin or model_id not in listed}
        available = [self._of_provider(model, actor) for model in listed.values() if model.id not in custom and self._shows(model, actor)]
        arenas, presets = [], []
        for known in custom.values():
            entry = known.state
            if not entry.active or not self._access.may_read(entry, actor):
                continue
            if entry.is_arena:
                arenas.append(self._of_entry(known, ARENA, {}, actor))
            elif (base := self._base_of(entry, listed, actor)) is not None:
                presets.append(self._of_entry(known, base.owned_by, base.details, actor))
        return [*available, *arenas, *presets]

    async def is_providers(self, model_id: str) -> bool:
        """Whether a pipe or a provider lists a model with this id."""
        return any(model.id == model_id for model in await self.base_models())

    def _shows(self, model: Model, actor: Actor) -> bool:
        entry = self._entries.of(model.id, model.owned_by)
        return (entry is None or entry.active) and self._access.may_use_providers(model.id, model.owned_by, actor)

    def _of_provider(self, model: Model, actor: Actor) -> AvailableModel:
        known = self._entries.known(model.id)
        known = None if known is None or known.state.is_custom else known
        fields = {name: getattr(model, name) for name in Model.__struct_fields__}
        if known is not None:
            fields["name"] = known.state.name
        return AvailableModel(**fields, entry=known, may_write=known is not None and self._access.may_write(known.state, actor))

    def _of_entry(self, known: Known[ModelEntry], owned_by: str, details: Mapping[str, Any], actor: Actor) -> AvailableModel:
        entry = known.state
        return AvailableModel(
            id=entry.model_id,
            name=entry.name,
            owned_by=owned_by,
            created=int(known.created_at.timestamp()),
            details=details,
            entry=known,
            may_write=self._access.may_write(entry, actor),
        )

    def _base_of(self, entry: ModelEntry, listed: Mapping[str, Model], actor: Actor) -> Model | None:
        """What a custom model stands on in the end; None where the account may not use something of it.

        A provider that cannot be reached for the moment lists nothing: its models stay in what stands on them.
        """
        for _ in range(CHAIN_MAX):
            base_id = entry.base_model_id
            assert base_id is not None
            below = self._entries.get(base_id)
            if below is None or not below.is_custom or (not below.by_admin and base_id in listed):
                base = listed.get(base_id) or Model(id=base_id, name=base_id, owned_by="openai")
                return base if self._shows(base, actor) else None
            if below.is_arena or not below.active or not self._access.may_read(below, actor):
                return None
            entry = below
        return None

    # --------------------------------------------------------------------------------------------------------- routing

    async def route(self, model: str, actor: Actor, *, direct: Route | None = None) -> Routed:
        """Who answers. ``direct`` is the caller's own connection: no entry and no access rule applies to it.

        Raises ``ModelNotFound``, also for a model that is switched off or that the caller may not use, ``ArenaEmpty``, ``LogUnavailable``,
        and ``ProviderFailed`` for a model whose provider is known and cannot be asked.
        """
        if direct is not None:
            return Routed(
                requested_model=model,
                model=model,
                provider=direct.provider,
                upstream=direct.upstream,
                owned_by=DIRECT,
                provider_name=DIRECT,
            )
        if actor.role != "admin" and self._entries.get(model) is not None:
            await self._entries.refresh()  # what another process has just taken away is refused here, too
        seen = self._entries.changes, self._groups.changes
        try:
            return await self._route(model, actor)
        except (ModelNotFound, ArenaEmpty):
            await self._entries.refresh()  # another process may have written a moment ago that it is there, or open to this account
            if seen == (self._entries.changes, self._groups.changes):
                raise
        return await self._route(model, actor)

    async def _route(self, model: str, actor: Actor) -> Routed:
        arena = self._entries.get(model)
        if arena is None or not arena.is_arena:
            return await self._answering(model, actor)
        if not arena.active or not self._access.may_read(arena, actor):
            raise ModelNotFound(model)
        pool = named_by(arena) or not_excluded(arena, [one.id for one in await self._available(actor) if not one.is_arena])
        while pool:
            picked = self._choose(pool)
            try:
                routed = await self._answering(picked, actor)
            except ModelNotFound:  # this account may not use it, it is an arena, or it is not there: of the others each is as likely
                pool.remove(picked)
            else:
                return msgspec.structs.replace(routed, requested_model=model, selected_model_id=picked)
        raise ArenaEmpty(model)

    async def _answering(self, model: str, actor: Actor) -> Routed:
        """The answer of a model that is no arena."""
        layers: list[Layer] = []
        asked_for = entry = await self._entry(model)
        base_id = model
        while entry is not None:
            too_deep = entry.base_model_id is not None and len(layers) == CHAIN_MAX
            if not entry.active or entry.is_arena or not self._access.may_read(entry, actor) or too_deep:
                raise ModelNotFound(model)
            layers.append(entry.params)
            if entry.base_model_id is None:
                break
            base_id = entry.base_model_id
            entry = await self._entry(base_id)
        route = await self._found(base_id, actor)
        if route is None:
            if asked_for is not None and base_id != model and self._access.may_write(asked_for, actor):
                raise ModelNotFound(model, base_model_id=base_id)
            raise ModelNotFound(model)
        if entry is None and (of_variant := self._entries.of(base_id, route.owned_by)) is not None:
            layers.append(of_variant.params)
        return Routed(
            requested_model=model,
            model=model,
            base_model_id=base_id if base_id != model else None,
            provider=route.provider,
            upstream=route.upstream,
            settings=merged(layers),
            meta=asked_for.meta if asked_for is not None else {},
            owned_by=route.owned_by,
            provider_name=route.provider_name,
        )

    async def _entry(self, model_id: str) -> ModelEntry | None:
        """The entry that holds for what is asked for by this id: a user's model never stands in the place of a provider's."""
        entry = self._entries.get(model_id)
        if entry is not None and entry.is_custom and not entry.by_admin and await self.is_providers(model_id):
            return None
        return entry

    async def _found(self, model_id: str, actor: Actor) -> Route | None:
        """The source's route, where the account may use it. Raises ``ProviderFailed``."""
        for source in self._sources:
            route = await source.find(model_id)
            if route is not None:
                shown = self._shows(Model(id=model_id, name=model_id, owned_by=route.owned_by), actor)
                return route if shown else None
        return None


def merged(layers: Sequence[Layer]) -> Layer:
    """The layers as one. The first is of the model that was asked for, and counts above those of the models that it stands on."""
    settings: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for layer in reversed(layers):
        settings |= {name: value for name, value in layer.items() if value is not None}
        if isinstance(more := layer.get("custom_params"), Mapping):
            custom |= more
    return {**settings, "custom_params": custom} if custom else settings
