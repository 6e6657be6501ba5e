"""What can happen to a model's entry: given these events, when this command, then those events."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies

from domain.accounts.access import EVERYBODY, AccessGranted, AccessRevoked, Grant
from domain.errors import BadRequest, ModelEntryNotFound, ModelExists
from domain.log.event import Actor
from domain.routing.model import (
    ARENA_MODELS_MAX,
    ENTRY_BYTES_MAX,
    MODEL_ID_CHARACTERS_MAX,
    NO_MODEL,
    ChangeModel,
    CreateModel,
    DeleteModel,
    ModelActivated,
    ModelChanged,
    ModelCommand,
    ModelCreated,
    ModelDeactivated,
    ModelDeleted,
    ModelEntry,
    ToggleModel,
    decide,
    evolve,
)
from tests.domain.given import Decider
from tests.domain.histories import JSON, TEXTS, UNHURRIED

ADMIN = Actor(UUID(int=0xAD), "Admin", "admin")
OWNER = Actor(UUID(int=0xA0), "Owner", "user")
STRANGER = Actor(UUID(int=0xA1), "Stranger", "user")
GROUP = UUID(int=0xB0)
CREATED = ModelCreated("my-gpt", OWNER.id, "My GPT", "gpt", {"temperature": 0}, {"description": "Mine"})


given = Decider(NO_MODEL, evolve, decide)


def folded(*facts: Any) -> ModelEntry:
    state: ModelEntry = given(*facts).state()
    return state


def create(**more: Any) -> CreateModel:
    return CreateModel(**{"by": OWNER, "model_id": "my-gpt", "name": "My GPT", "base_model_id": "gpt"} | more)


def change(by: Actor = OWNER, groups: Sequence[UUID] = (), **more: Any) -> ChangeModel:
    return ChangeModel(by=by, group_ids=groups, model_id="my-gpt", **more)


def toggle(by: Actor = OWNER) -> ToggleModel:
    return ToggleModel(by=by, group_ids=(), model_id="my-gpt")


def delete(by: Actor = OWNER) -> DeleteModel:
    return DeleteModel(by=by, group_ids=(), model_id="my-gpt")


# ------------------------------------------------------------------------------------------------------------- creating


def test_a_custom_model_is_its_owners_alone_until_it_is_granted() -> None:
    given().when(create(params={"temperature": 0}, meta={"description": "Mine"})).then(CREATED)


def test_what_is_said_of_a_providers_model_leaves_it_to_everybody() -> None:
    made = ModelCreated("my-gpt", OWNER.id, "My GPT")
    given().when(create(base_model_id=None)).then(made, AccessGranted("user", EVERYBODY, "read"))
    given().when(create(base_model_id=None, grants=[])).then(made)


def test_it_may_be_created_inactive_and_with_grants() -> None:
    made = ModelCreated("my-gpt", OWNER.id, "My GPT", "gpt")
    grants = [Grant("group", str(GROUP), "read")]
    given().when(create(active=False, grants=grants)).then(made, ModelDeactivated(), AccessGranted("group", str(GROUP), "read"))


def test_a_model_that_is_there_is_not_created_again() -> None:
    given(CREATED).when(create()).then_raises(ModelExists)


def test_a_deleted_model_is_created_anew_without_anything_that_it_was() -> None:
    past = [CREATED, AccessGranted("user", str(STRANGER.id), "write"), ModelDeactivated(), ModelDeleted()]
    made = ModelCreated("my-gpt", STRANGER.id, "New", "other")
    given(*past).when(create(by=STRANGER, name="New", base_model_id="other")).then(made)
    assert folded(*past, made) == ModelEntry("my-gpt", True, STRANGER.id, "New", "other")


def test_null_and_missing_params_and_capabilities_are_the_same() -> None:
    made = ModelCreated("my-gpt", OWNER.id, "My GPT", "gpt")
    given().when(create(params={"temperature": None}, meta={"capabilities": None})).then(made)
    entry = folded(ModelCreated("my-gpt", OWNER.id, "My GPT", "gpt", {"temperature": None}, {"capabilities": None, "model_ids": None}))
    assert (entry.params, entry.meta, entry.is_arena, entry.arena_model_ids) == ({}, {}, False, [])


def test_a_model_that_stands_on_itself_says_something_of_the_providers() -> None:
    given().when(create(base_model_id="my-gpt", grants=[])).then(ModelCreated("my-gpt", OWNER.id, "My GPT"))
    given(CREATED).when(change(base_model_id="my-gpt")).then(ModelChanged(base_model_id=None))


@pytest.mark.parametrize("model_id", ["", "two words", "line\nend", "\x00", "\u202e", "x" * (MODEL_ID_CHARACTERS_MAX + 1)])
def test_an_id_that_cannot_be_written_is_refused(model_id: str) -> None:
    given().when(create(model_id=model_id)).then_raises(BadRequest, "id of 1 to")
    given().when(create(base_model_id=f"base-{model_id} ")).then_raises(BadRequest, "id of 1 to")


@pytest.mark.parametrize("model_id", ["llama3:7b", "org/model@v1", "модель", "x" * MODEL_ID_CHARACTERS_MAX])
def test_an_id_as_providers_have_them_is_taken(model_id: str) -> None:
    given().when(create(model_id=model_id)).then(ModelCreated(model_id, OWNER.id, "My GPT", "gpt"))


@pytest.mark.parametrize(
    "more",
    [
        {"name": " "},
        {"name": "x" * 201},
        {"params": {"system": "x" * ENTRY_BYTES_MAX}},
        {"meta": {"model_ids": "demo"}},
        {"meta": {"model_ids": ["demo", 1]}},
        {"meta": {"model_ids": ["m"] * (ARENA_MODELS_MAX + 1)}},
        {"meta": {"filter_mode": "some"}},
        {"grants": [Grant("user", "me", "read")]},
    ],
)
def test_what_cannot_be_kept_is_refused_in_a_new_and_in_a_known_one(more: dict[str, Any]) -> None:
    given().when(create(**more)).then_raises(BadRequest)
    given(CREATED).when(change(**more)).then_raises(BadRequest)


# ------------------------------------------------------------------------------------------------------------- changing


def test_only_changed_keys_are_in_the_event() -> None:
    meta = {"description": "Ours", "tags": [{"name": "a"}]}
    command = change(name="My GPT", base_model_id="gpt", params={"temperature": 0, "top_p": 1}, meta=meta)
    given(CREATED).when(command).then(ModelChanged(params={"top_p": 1}, meta=meta))


def test_a_key_that_is_not_sent_any_more_is_taken_out() -> None:
    given(CREATED).when(change(params={}, meta={"description": None})).then(
        ModelChanged(params={"temperature": None}, meta={"description": None})
    )
    assert folded(CREATED, ModelChanged(params={"temperature": None})).params == {}


def test_one_and_true_are_not_the_same_value() -> None:
    given(ModelCreated("my-gpt", OWNER.id, "My GPT", "gpt", {"think": 1})).when(change(params={"think": True})).then(
        ModelChanged(params={"think": True})
    )


def test_what_is_so_already_is_no_event() -> None:
    same = change(name=" My GPT ", base_model_id="gpt", params={"temperature": 0}, meta={"description": "Mine"}, active=True, grants=[])
    given(CREATED).when(same).then()


def test_name_activity_and_grants_change_at_once() -> None:
    command = change(name="New", active=False, grants=[Grant("user", str(STRANGER.id), "read")])
    given(CREATED).when(command).then(ModelChanged(name="New"), ModelDeactivated(), AccessGranted("user", str(STRANGER.id), "read"))


def test_a_grant_is_taken_back() -> None:
    granted = AccessGranted("user", str(STRANGER.id), "read")
    given(CREATED, granted).when(change(grants=[])).then(AccessRevoked("user", str(STRANGER.id), "read"))


def test_it_is_switched_off_and_on() -> None:
    given(CREATED).when(toggle()).then(ModelDeactivated())
    given(CREATED, ModelDeactivated()).when(toggle()).then(ModelActivated())


def test_it_is_deleted_once() -> None:
    given(CREATED).when(delete()).then(ModelDeleted())
    given(CREATED, ModelDeleted()).when(delete()).then_raises(ModelEntryNotFound)
    given().when(delete()).then_raises(ModelEntryNotFound)


@pytest.mark.parametrize("command", [change(STRANGER, name="New"), toggle(STRANGER), delete(STRANGER)])
def test_who_may_only_read_it_changes_nothing(command: ModelCommand) -> None:
    given(CREATED, AccessGranted("user", EVERYBODY, "read")).when(command).then_raises(ModelEntryNotFound)


def test_owners_admins_and_writers_change_it() -> None:
    written = ModelChanged(name="New")
    given(CREATED).when(change(OWNER, name="New")).then(written)
    given(CREATED).when(change(ADMIN, name="New")).then(written)
    given(CREATED, AccessGranted("group", str(GROUP), "write")).when(change(STRANGER, [GROUP], name="New")).then(written)
    given(CREATED, AccessGranted("group", str(GROUP), "write")).when(change(STRANGER, name="New")).then_raises(ModelEntryNotFound)


# --------------------------------------------------------------------------------------------------------------- arenas


@pytest.mark.parametrize(
    ("meta", "is_arena", "excludes"),
    [
        ({}, False, False),
        ({"model_ids": []}, True, False),
        ({"model_ids": ["demo"]}, True, False),
        ({"filter_mode": "include"}, True, False),
        ({"filter_mode": "exclude"}, True, False),
        ({"filter_mode": "exclude", "model_ids": []}, True, False),
        ({"filter_mode": "exclude", "model_ids": ["demo"]}, True, True),
    ],
)
def test_what_lists_models_and_has_no_base_is_an_arena(meta: dict[str, Any], is_arena: bool, excludes: bool) -> None:
    entry = folded(ModelCreated("arena", OWNER.id, "Arena", None, {}, meta))
    assert (entry.is_arena, entry.is_custom, entry.excludes) == (is_arena, is_arena, excludes)
    assert not folded(ModelCreated("preset", OWNER.id, "Preset", "gpt", {}, meta)).is_arena


def test_a_new_arena_is_its_owners_alone() -> None:
    given().when(create(base_model_id=None, meta={"model_ids": []})).then(
        ModelCreated("my-gpt", OWNER.id, "My GPT", None, {}, {"model_ids": []})
    )


# ----------------------------------------------------------------------------------------------------------- properties

FIELDS = strategies.dictionaries(TEXTS, strategies.one_of(strategies.none(), JSON), max_size=4)


@UNHURRIED
@for_all(FIELDS, FIELDS, FIELDS, FIELDS)
def test_after_a_change_it_is_what_was_sent_without_nulls(params: Any, meta: Any, new_params: Any, new_meta: Any) -> None:
    fields = [{**one} for one in (params, meta, new_params, new_meta)]
    for one in fields:
        one.pop("model_ids", None)
        one.pop("filter_mode", None)
    entry = folded(*(event.data for event in decide(NO_MODEL, create(params=fields[0], meta=fields[1]))))
    command = change(params=fields[2], meta=fields[3])
    for event in decide(entry, command):
        entry = evolve(entry, event, 2)
    assert entry.params == {name: value for name, value in fields[2].items() if value is not None}
    assert entry.meta == {name: value for name, value in fields[3].items() if value is not None}
    assert decide(entry, command) == []
