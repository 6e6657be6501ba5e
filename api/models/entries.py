"""``/api/v1/models``: what people make and say of models. In the reference's paths, bodies and forms."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, QueryParameter

from api.models.entry_json import entry_json
from api.request.bodies import CONTENT_BYTES, FIELDS_BYTES
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.accounts.principal import require_admin
from commands.routing.editing import ModelEditor, Result
from commands.routing.entry import Known
from domain.accounts.access import Grant, Permission, PrincipalType
from domain.routing.model import ChangeModel, CreateModel, ModelEntry

PAGE_MODELS: Final = 30
PAGE_MAX: Final = 1_000_000
IMPORTED_MAX: Final = 1_000

Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Fields = dict[str, Any] | None


class GrantIn(msgspec.Struct):
    principal_type: PrincipalType
    principal_id: Annotated[str, msgspec.Meta(max_length=256)]
    permission: Permission


class ModelIn(msgspec.Struct):
    """As the reference's page sends it. Null and absent are the same, but for ``base_model_id`` of a model that is there."""

    id: Text
    name: Text
    base_model_id: Text | msgspec.UnsetType | None = msgspec.UNSET
    params: Fields = None
    meta: Fields = None
    access_grants: list[GrantIn] | None = None
    is_active: bool | None = None


class ImportedModelIn(ModelIn):
    name: Text = ""  # the id, where the file has none


class ModelsIn(msgspec.Struct):
    models: Annotated[list[ImportedModelIn], msgspec.Meta(max_length=IMPORTED_MAX)]


class ModelIdIn(msgspec.Struct):
    id: Text


class AccessIn(msgspec.Struct):
    id: Text
    access_grants: list[GrantIn]
    name: Text | None = None


Order = Literal["name", "created_at", "updated_at"]


class ModelEntriesController(Controller):
    path = "/api/v1/models"
    tags = ("models",)

    @get("/list")
    async def list_models(
        self,
        caller: NamedDependency[Caller],
        model_editor: NamedDependency[ModelEditor],
        accounts: NamedDependency[Accounts],
        text: Annotated[str, QueryParameter(name="query", required=False)] = "",
        view_option: FromQuery[str] = "",
        tag: FromQuery[str] = "",
        order_by: Annotated[Order | None, QueryParameter(required=False)] = None,
        direction: Annotated[Literal["asc", "desc"] | None, QueryParameter(required=False)] = None,
        page: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, required=False)] = 1,
    ) -> dict[str, Any]:
        """The custom models and arenas that the caller may see, 30 a page. ``view_option``: ``created`` by the caller, or ``shared``."""
        actor = caller.actor
        found = [one for one in await model_editor.readable(actor) if one.state.is_custom and is_wanted(one.state, text, tag)]
        if view_option in ("created", "shared"):
            found = [one for one in found if (one.state.owner_id == actor.id) == (view_option == "created")]
        found.sort(key=lambda one: sorted_by(one, order_by), reverse=direction == "desc")
        items = []
        for one in found[(page - 1) * PAGE_MODELS : page * PAGE_MODELS]:
            may_write, owner_id = model_editor.may_write(one.state, actor), one.state.owner_id
            owner = await accounts.account(owner_id) if owner_id is not None else None
            person = {"id": str(owner_id), "name": owner.name} if owner is not None else None
            items.append({**entry_json(one, may_write=may_write), "write_access": may_write, "user": person})
        return {"items": items, "total": len(found)}

    @get("/base")
    async def base_entries(
        self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor], tag: FromQuery[str] = ""
    ) -> list[dict[str, Any]]:
        """What was said of providers' models (admin)."""
        require_admin(caller.principal)
        said = [one for one in await model_editor.readable(caller.actor) if not one.state.is_custom]
        return [entry_json(one, may_write=True) for one in said if is_wanted(one.state, "", tag)]

    @get("/base/tags")
    async def base_tags(self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]) -> list[str]:
        """The tags of providers' models (admin)."""
        require_admin(caller.principal)
        return tags_of([one.state for one in await model_editor.readable(caller.actor) if not one.state.is_custom])

    @get("/tags")
    async def tags_of_models(self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]) -> list[str]:
        """The tags of the custom models and arenas that the caller may see."""
        return tags_of([one.state for one in await model_editor.readable(caller.actor) if one.state.is_custom])

    @get("/export")
    async def export(self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]) -> list[dict[str, Any]]:
        """Everything that the caller may change, as ``import`` takes it."""
        readable = await model_editor.readable(caller.actor)
        model_editor.require_may_make(caller.actor)
        known = [one for one in readable if model_editor.may_write(one.state, caller.actor)]
        return [entry_json(one, may_write=True) for one in known]

    @post("/import", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def import_models(
        self, data: JSONBody[ModelsIn], caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]
    ) -> bool:
        """Make or change all of them. What the caller may not change is left out; if one cannot be kept, nothing is written."""
        await model_editor.import_all(caller.actor, [(creation(one, caller), change(one, caller)) for one in data.models])
        return True

    @post("/create", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def create(
        self, data: JSONBody[ModelIn], caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]
    ) -> dict[str, Any]:
        """Make a custom model over ``base_model_id``, an arena, or say something of a provider's model."""
        return changed(await model_editor.create(creation(data, caller), caller.key))

    @get("/model")
    async def entry(
        self,
        caller: NamedDependency[Caller],
        model_editor: NamedDependency[ModelEditor],
        id: FromQuery[str],  # as it is called in the address: an id may hold a slash
    ) -> dict[str, Any]:
        """One of them, without its settings for those who may not change it."""
        known = await model_editor.existing(id, caller.actor)
        may_write = model_editor.may_write(known.state, caller.actor)
        return {**entry_json(known, may_write=may_write), "write_access": may_write}

    @post("/model/toggle", status_code=200)
    async def toggle(
        self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor], id: FromQuery[str]
    ) -> dict[str, Any]:
        """Switch it off, or on again. A model that is off is in no list, and nobody can ask it."""
        return changed(await model_editor.toggle(caller.actor, id, caller.key))

    @post("/model/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(
        self, data: JSONBody[ModelIn], caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]
    ) -> dict[str, Any]:
        """What it is from now on: ``params`` and ``meta`` are all there is of them; what is absent stays as it is."""
        return changed(await model_editor.change(change(data, caller), caller.key))

    @post("/model/access/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change_access(
        self, data: JSONBody[AccessIn], caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]
    ) -> dict[str, Any]:
        """Who besides its owner may use or change it from now on. What is taken away ends at once, on every process."""
        grants = grants_of(data.access_grants) or []
        return changed(await model_editor.set_access(caller.actor, data.id, data.name, grants, caller.key))

    @post("/model/delete", status_code=200)
    async def remove(self, data: JSONBody[ModelIdIn], caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]) -> bool:
        """Delete it. A model that is created again under its id has nothing of what it was."""
        await model_editor.delete(caller.actor, data.id, caller.key)
        return True

    @delete("/delete/all", status_code=200)
    async def remove_all(self, caller: NamedDependency[Caller], model_editor: NamedDependency[ModelEditor]) -> bool:
        """Delete everything that was made and said of models (admin)."""
        require_admin(caller.principal)
        await model_editor.delete_all(caller.actor)
        return True


def creation(data: ModelIn, caller: Caller) -> CreateModel:
    return CreateModel(
        by=caller.actor,
        model_id=data.id,
        name=data.name or data.id,
        base_model_id=None if data.base_model_id is msgspec.UNSET else data.base_model_id,
        params=data.params or {},
        meta=data.meta or {},
        active=data.is_active is not False,
        grants=grants_of(data.access_grants),
    )


def change(data: ModelIn, caller: Caller) -> ChangeModel:
    return ChangeModel(
        by=caller.actor,
        group_ids=(),
        model_id=data.id,
        name=data.name or None,
        base_model_id=data.base_model_id,
        params=data.params,
        meta=data.meta,
        active=data.is_active,
        grants=grants_of(data.access_grants),
    )


def grants_of(given: Sequence[GrantIn] | None) -> list[Grant] | None:
    return [Grant(one.principal_type, one.principal_id, one.permission) for one in given] if given is not None else None


def changed(result: Result) -> dict[str, Any]:
    known, appended = result
    return {**entry_json(known, may_write=True), "position": appended.position}


def is_wanted(entry: ModelEntry, text: str, tag: str) -> bool:
    said = f"{entry.name}\n{entry.model_id}\n{entry.base_model_id or ''}".casefold()
    return text.casefold() in said and (not tag or tag.casefold() in (one.casefold() for one in tags_of([entry])))


def sorted_by(known: Known[ModelEntry], order: Order | None) -> Any:
    match order:
        case "name":
            return known.state.name.casefold(), known.state.model_id
        case "updated_at":
            return known.changed_at, known.state.model_id
        case _:
            return known.created_at, known.state.model_id


def tags_of(entries: Sequence[ModelEntry]) -> list[str]:
    """The names of their tags, each once, sorted."""
    named: set[str] = set()
    for entry in entries:
        tags = entry.meta.get("tags")
        for tag in tags if isinstance(tags, list) else ():
            name = tag.get("name") if isinstance(tag, Mapping) else tag
            if isinstance(name, str) and name:
                named.add(name)
    return sorted(named)
