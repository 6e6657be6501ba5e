"""Who answers for a model, who may ask it, and what is shown to whom."""

from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.log import MemoryLog
from commands.routing.access import Rule
from commands.routing.route import Route
from commands.routing.router import CHAIN_MAX
from domain.accounts.access import EVERYBODY
from domain.accounts.group import AddGroupMembers, CreateGroup, RemoveGroupMembers
from domain.errors import ArenaEmpty, Forbidden, ModelExists, ModelNotFound, ProviderFailed
from domain.log.event import Actor
from domain.routing.model import ChangeModel
from tests.commands.routing.sources import ADA, ADMIN, AUDITOR, BOB, PROVIDER, Routing, Source, at_once, routing, to, to_group

pytestmark = pytest.mark.anyio

GROUP = UUID(int=0x99)
PIPES, OPENAI, OLLAMA = Source("pipe", "my-pipe"), Source("openai", "gpt", "gpt-mini"), Source("ollama", "llama3:7b")
DEMO = Source("demo", "demo", unlisted=["demo:5"])


def everything(**more: Any) -> Routing:
    return routing(PIPES, OLLAMA, OPENAI, DEMO, **more)


async def with_group(made: Routing, *members: Actor) -> None:
    await made.groups.handle(CreateGroup(group_id=GROUP, owner_id=ADMIN.id, name="Group"), ADMIN)
    await made.groups.handle(AddGroupMembers(group_id=GROUP, user_ids=[one.id for one in members]), ADMIN)


async def may_ask(made: Routing, model: str, actor: Actor) -> bool:
    try:
        await made.router.route(model, actor)
    except ModelNotFound:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------- order


async def test_the_first_source_that_has_the_model_answers() -> None:
    made = routing(Source("pipe", "same"), Source("ollama", "same", "other"), Source("openai", "same", "other", "last"))
    found = [(await made.router.route(one, ADMIN)).upstream for one in ("same", "other", "last")]
    assert found == ["same@pipe", "other@ollama", "last@openai"]
    assert [(model.id, model.owned_by) for model in await made.router.base_models()] == [
        ("same", "pipe"),
        ("other", "ollama"),
        ("last", "openai"),
    ]


async def test_a_model_that_nobody_has_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="nothing"):
        await everything().router.route("nothing", ADMIN)


async def test_a_model_whose_provider_is_off_says_so() -> None:
    made = routing(Source("openai", "gpt", off=["gpt"]))
    with pytest.raises(ProviderFailed, match="switched off"):
        await made.router.route("gpt", ADA)


async def test_ones_own_connection_comes_before_every_rule() -> None:
    made = everything()
    await made.create("gpt", active=False, grants=[])
    routed = await made.router.route("gpt", ADA, direct=Route(provider=PROVIDER, upstream="mine"))
    assert (routed.model, routed.upstream, routed.owned_by) == ("gpt", "mine", "direct")


# --------------------------------------------------------------------------------------------------------------- access

# The rule of the server, what was said of the model, and who may use it then: an admin, its owner, a member of the group, somebody else.
MATRIX = [
    ("open", None, "gpt", "admin owner member other"),
    ("open", None, "my-pipe", "admin"),
    ("granted", None, "gpt", "admin"),
    ("bypass", None, "gpt", "admin owner member other"),
    ("bypass", None, "my-pipe", "admin owner member other"),
    ("open", [], "gpt", "admin"),
    ("bypass", [], "gpt", "admin owner member other"),
    ("granted", to(EVERYBODY), "gpt", "admin owner member other"),
    ("open", to(EVERYBODY), "my-pipe", "admin owner member other"),
    ("open", to_group(GROUP), "gpt", "admin member"),
    ("granted", to_group(GROUP, "write"), "gpt", "admin member"),
    ("open", [], "preset", "admin owner"),
    ("bypass", [], "preset", "admin owner member other"),
    ("open", to_group(GROUP), "preset", "admin owner member"),
    ("open", to(EVERYBODY), "preset", "admin owner member other"),
    ("granted", to(EVERYBODY), "preset", "admin"),  # what it stands on was granted to nobody
    ("open", [], "arena", "admin"),
    ("open", to_group(GROUP), "arena", "admin member"),
    ("bypass", [], "arena", "admin owner member other"),
    ("granted", to(EVERYBODY), "arena", "admin"),  # nothing to pick from
]


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize(("rule", "grants", "model", "who"), MATRIX)
async def test_who_may_use_a_model_is_shown_it_and_is_answered(rule: Rule, grants: Any, model: str, who: str, active: bool) -> None:
    made = everything(rule=rule)
    await with_group(made, BOB)
    if model == "preset":
        # Made by a user, as its owner: an admin would be let in anyway.
        await made.groups.handle(CreateGroup(group_id=UUID(int=0x98), owner_id=ADMIN.id, name="Makers", permissions=MAKERS), ADMIN)
        await made.groups.handle(AddGroupMembers(group_id=UUID(int=0x98), user_ids=[ADA.id]), ADMIN)
        await made.create("preset", "gpt", by=ADA, grants=grants, active=active)
    elif model == "arena":
        await made.create("arena", meta={"model_ids": ["gpt"]}, grants=grants, active=active)
    elif grants is not None:
        await made.create(model, grants=grants, active=active)
    elif not active:
        return  # nothing was said, so it was not switched off either
    expected = set(who.split()) if active else set()
    people = {"admin": ADMIN, "owner": ADA, "member": BOB, "other": AUDITOR}
    shown = {name for name, actor in people.items() if model in await made.shown(actor)}
    answered = set()
    for name, actor in people.items():
        try:
            routed = await made.router.route(model, actor)
        except (ModelNotFound, ArenaEmpty):
            continue
        answered.add(name)
        assert routed.requested_model == model
    assert answered == expected
    # An arena is shown to whom it was granted; that it has nothing for them is said when they ask.
    assert shown == (set(people) if (rule, model, active) == ("granted", "arena", True) else expected)


MAKERS = {"workspace": {"models": True}, "sharing": {"public_models": True}}


async def test_what_is_taken_away_is_refused_from_then_on() -> None:
    made = everything()
    await with_group(made, ADA)
    await made.create("preset", "gpt", grants=to_group(GROUP))
    assert await may_ask(made, "preset", ADA)
    await made.groups.handle(RemoveGroupMembers(group_id=GROUP, user_ids=[ADA.id]), ADMIN)
    assert not await may_ask(made, "preset", ADA)
    await made.editor.set_access(ADMIN, "preset", None, to(ADA))
    assert await may_ask(made, "preset", ADA)
    await made.editor.set_access(ADMIN, "preset", None, [])
    assert not await may_ask(made, "preset", ADA)


async def test_what_is_said_of_a_model_holds_for_its_variants() -> None:
    made = everything()
    await made.create("demo", grants=[])
    await made.create("llama3", grants=[], params={"temperature": 0})
    assert [await may_ask(made, one, ADA) for one in ("demo", "demo:5", "llama3:7b")] == [False, False, False]
    assert (await made.router.route("llama3:7b", ADMIN)).settings == {"temperature": 0}
    assert await made.shown(ADA) == ["gpt", "gpt-mini"]
    await made.create("llama3:7b", grants=to(ADA))  # its own entry counts
    assert await may_ask(made, "llama3:7b", ADA)


async def test_a_grant_by_another_process_counts_at_once() -> None:
    """A "no" never comes from what this process knows alone."""
    log = MemoryLog()
    one = Routing(log, at_once, OPENAI)
    log.on_committed = one.observe

    async def tell(position: int) -> None:
        two.observe(log.events[:position])

    two = Routing(log, tell, OPENAI)
    await one.create("preset", "gpt", grants=to(ADA))
    assert two.entries.get("preset") is None
    assert (await two.router.route("preset", ADA)).upstream == "gpt@openai"


# -------------------------------------------------------------------------------------------------------- custom models


async def test_a_custom_model_is_asked_as_its_base_with_its_own_settings() -> None:
    made = everything()
    meta = {"filterIds": ["f"], "capabilities": None}
    await made.create("my-gpt", "gpt", params={"system": "Rhyme.", "temperature": None}, meta=meta, grants=to(EVERYBODY))
    routed = await made.router.route("my-gpt", ADA)
    assert (routed.model, routed.requested_model, routed.base_model_id, routed.upstream) == ("my-gpt", "my-gpt", "gpt", "gpt@openai")
    assert (routed.settings, routed.meta, routed.owned_by) == ({"system": "Rhyme."}, {"filterIds": ["f"]}, "openai")


async def test_settings_of_what_it_stands_on_count_below_its_own() -> None:
    made = everything()
    await made.create("gpt", params={"system": "Base.", "top_p": 1, "custom_params": {"a": 1, "b": 1}})
    await made.create("middle", "gpt", params={"temperature": 0, "custom_params": {"b": 2}}, grants=to(EVERYBODY))
    await made.create("top", "middle", params={"system": "Top."}, grants=to(EVERYBODY))
    routed = await made.router.route("top", ADA)
    assert routed.settings == {"system": "Top.", "top_p": 1, "temperature": 0, "custom_params": {"a": 1, "b": 2}}
    assert routed.upstream == "gpt@openai"
    [top] = [model for model in await made.router.available(ADA) if model.id == "top"]
    assert (top.owned_by, top.is_custom, top.details) == ("openai", True, {"from": "openai"})


@pytest.mark.parametrize("base", ["gpt", "middle"])
async def test_a_custom_model_is_for_those_who_may_use_what_it_stands_on(base: str) -> None:
    made = everything()
    await made.create("middle", "gpt", grants=to(EVERYBODY))
    await made.create("top", "middle", grants=to(EVERYBODY))
    assert await may_ask(made, "top", ADA)
    await made.editor.set_access(ADMIN, base, None, [])
    assert not await may_ask(made, "top", ADA)
    assert await may_ask(made, "top", ADMIN)
    assert ("top" in await made.shown(ADA), "top" in await made.shown(ADMIN)) == (False, True)
    await made.editor.set_access(ADMIN, base, None, to(EVERYBODY))
    await made.editor.toggle(ADMIN, base)
    assert [await may_ask(made, "top", one) for one in (ADA, ADMIN)] == [False, False]


async def test_models_that_stand_on_each_other_answer_nobody() -> None:
    made = everything()
    await made.create("a", "b")
    await made.create("b", "a")
    assert not await may_ask(made, "a", ADMIN)
    assert await made.shown(ADMIN) == ["my-pipe", "llama3:7b", "gpt", "gpt-mini", "demo"]


async def test_models_stand_on_each_other_so_deep_and_no_deeper() -> None:
    made = everything()
    await made.create("gpt", params={"top_p": 1})
    for number in range(CHAIN_MAX + 1):
        await made.create(f"m{number}", f"m{number - 1}" if number else "gpt")
    assert (await made.router.route(f"m{CHAIN_MAX - 1}", ADMIN)).settings == {"top_p": 1}
    assert not await may_ask(made, f"m{CHAIN_MAX}", ADMIN)
    assert (f"m{CHAIN_MAX - 1}" in await made.shown(ADMIN), f"m{CHAIN_MAX}" in await made.shown(ADMIN)) == (True, False)


async def test_who_may_change_a_model_is_told_that_its_base_is_gone() -> None:
    made = everything()
    await made.create("my-gpt", "gone", grants=to(EVERYBODY))
    with pytest.raises(ModelNotFound, match="stands on is not there: gone"):
        await made.router.route("my-gpt", ADMIN)
    with pytest.raises(ModelNotFound, match=r"^Model not found: my-gpt$"):
        await made.router.route("my-gpt", ADA)


async def test_an_admins_model_stands_in_the_place_of_a_providers_and_a_users_does_not() -> None:
    made = everything()
    await made.create("gpt", "llama3:7b", grants=to(EVERYBODY))
    assert (await made.router.route("gpt", ADA)).upstream == "llama3:7b@ollama"
    assert Counter(await made.shown(ADA))["gpt"] == 1
    await made.groups.handle(CreateGroup(group_id=GROUP, owner_id=ADMIN.id, name="Makers", permissions=MAKERS), ADMIN)
    await made.groups.handle(AddGroupMembers(group_id=GROUP, user_ids=[ADA.id]), ADMIN)
    with pytest.raises(Forbidden):
        await made.create("gpt-mini", "llama3:7b", by=ADA)
    await made.create("later", "llama3:7b", by=ADA, grants=to(EVERYBODY))
    assert (await made.router.route("later", BOB)).upstream == "llama3:7b@ollama"
    late = Source("openai", "later")
    made.router._sources = [*made.router._sources, late]
    assert (await made.router.route("later", BOB)).upstream == "later@openai"
    assert (await made.router.route("later", ADA)).settings == {}
    await made.create("on-later", "later", grants=to(EVERYBODY))
    assert (await made.router.route("on-later", BOB)).upstream == "later@openai"
    assert {model.id: model.owned_by for model in await made.router.available(BOB)}["on-later"] == "openai"
    [shown] = [model for model in await made.router.available(BOB) if model.id == "later"]
    assert (shown.name, shown.entry, shown.is_custom) == ("Later", None, False)


async def test_a_model_without_a_base_and_a_providers_id_are_for_admins_to_say() -> None:
    made = everything()
    with pytest.raises(Forbidden, match=r"workspace\.models"):
        await made.create("mine", "gpt", by=ADA)
    await made.groups.handle(CreateGroup(group_id=GROUP, owner_id=ADMIN.id, name="Makers", permissions=MAKERS), ADMIN)
    await made.groups.handle(AddGroupMembers(group_id=GROUP, user_ids=[ADA.id]), ADMIN)
    for model_id, base in (("mine", None), ("mine", "mine"), ("gpt", "llama3:7b")):
        with pytest.raises(Forbidden):
            await made.create(model_id, base, by=ADA)
    await made.create("mine", "gpt", by=ADA)
    with pytest.raises(Forbidden):
        await made.editor.change(ChangeModel(by=ADA, group_ids=(), model_id="mine", base_model_id=None))
    with pytest.raises(ModelExists):
        await made.create("mine", "gpt", by=ADMIN)


async def test_a_grant_to_everybody_needs_its_permission_and_the_rest_stands() -> None:
    made = everything()
    await made.groups.handle(
        CreateGroup(group_id=GROUP, owner_id=ADMIN.id, name="Makers", permissions={"workspace": {"models": True}}), ADMIN
    )
    await made.groups.handle(AddGroupMembers(group_id=GROUP, user_ids=[ADA.id]), ADMIN)
    await made.create("mine", "gpt", by=ADA, grants=to(EVERYBODY, BOB))
    assert [await may_ask(made, "mine", one) for one in (BOB, AUDITOR)] == [True, False]
    await made.editor.set_access(ADMIN, "mine", None, to(EVERYBODY))
    await made.editor.set_access(ADA, "mine", None, to(EVERYBODY, BOB))  # what an admin has given stays
    assert await may_ask(made, "mine", AUDITOR)


# --------------------------------------------------------------------------------------------------------------- arenas

POOLS = [
    ({"model_ids": []}, "demo gpt gpt-mini llama3:7b preset"),
    ({"filter_mode": "exclude"}, "demo gpt gpt-mini llama3:7b preset"),
    ({"model_ids": ["gpt", "gone", "preset", "private"]}, "gpt preset"),
    ({"model_ids": ["gpt", "gpt"]}, "gpt"),
    ({"model_ids": ["demo:5"]}, "demo:5"),  # in no list
    ({"model_ids": ["gpt", "arena", "other-arena"]}, "gpt"),
    ({"model_ids": ["gpt", "demo", "demo:5"], "filter_mode": "exclude"}, "gpt-mini llama3:7b preset"),
    ({"model_ids": ["gpt"], "filter_mode": "include"}, "gpt"),
]


async def with_arena(made: Routing, meta: dict[str, Any]) -> Routing:
    await made.create("preset", "gpt", params={"system": "Rhyme."}, grants=to(EVERYBODY))
    await made.create("private", "gpt")
    await made.create("off", "gpt", grants=to(EVERYBODY), active=False)
    await made.create("other-arena", meta={"model_ids": []}, grants=to(EVERYBODY))
    await made.create("arena", meta=meta, grants=to(EVERYBODY))
    return made


@pytest.mark.parametrize(("meta", "pool"), POOLS)
async def test_an_arena_picks_among_what_the_asker_may_use(meta: dict[str, Any], pool: str) -> None:
    made = await with_arena(everything(), meta)
    picked = Counter([(await made.router.route("arena", ADA)).selected_model_id for _ in range(300)])
    assert set(picked) == set(pool.split())
    assert min(picked.values()) > 300 / len(picked) / 3, "each about as often"


async def test_a_pick_is_the_answer_and_follows_the_seed() -> None:
    picks = []
    for _ in range(2):
        made = await with_arena(everything(seed=7), {"model_ids": []})
        routed = [await made.router.route("arena", ADA) for _ in range(20)]
        picks.append([one.selected_model_id for one in routed])
        assert all((one.requested_model, one.model) == ("arena", one.selected_model_id) for one in routed)
        assert {one.model: (one.base_model_id, one.settings) for one in routed}["preset"] == ("gpt", {"system": "Rhyme."})
    assert picks[0] == picks[1]


@pytest.mark.parametrize("meta", [{"model_ids": ["private", "gone"]}, {"model_ids": ["off"]}, {"model_ids": ["arena", "other-arena"]}])
async def test_an_arena_with_nothing_for_the_asker_says_so(meta: dict[str, Any]) -> None:
    made = await with_arena(everything(), meta)
    with pytest.raises(ArenaEmpty, match="'arena' has no model that you may use"):
        await made.router.route("arena", ADA)


async def test_an_arena_is_nothing_to_stand_on() -> None:
    made = await with_arena(everything(), {"model_ids": []})
    await made.create("over", "arena")
    assert not await may_ask(made, "over", ADMIN)
    assert "over" not in await made.shown(ADMIN)


async def test_what_was_listed_and_is_gone_is_not_picked() -> None:
    source = Source("openai", "here", "gone")
    made = routing(source)
    await made.create("arena", meta={"model_ids": []})
    find = source.find

    async def find_what_is_here(model: str) -> Route | None:
        return await find(model) if model == "here" else None

    source.find = find_what_is_here  # type: ignore[method-assign]
    assert {(await made.router.route("arena", ADMIN)).selected_model_id for _ in range(20)} == {"here"}


# -------------------------------------------------------------------------------------------------------------- listing


async def test_models_are_shown_in_a_fixed_order_with_what_was_said_of_them() -> None:
    made = everything()
    await made.create("b-preset", "gpt", meta={"tags": [{"name": "x"}]})
    await made.create("an-arena", meta={"model_ids": []})
    await made.create("a-preset", "gpt")
    await made.create("gpt", meta={"description": "Said"})
    assert await made.shown(ADMIN) == ["my-pipe", "llama3:7b", "gpt", "gpt-mini", "demo", "an-arena", "b-preset", "a-preset"]
    shown = {model.id: model for model in await made.router.available(ADMIN)}
    assert (shown["gpt"].name, shown["gpt"].is_custom, shown["gpt"].may_write) == ("Gpt", False, True)
    assert shown["gpt"].entry is not None and shown["gpt"].entry.state.meta == {"description": "Said"}
    assert (shown["an-arena"].owned_by, shown["an-arena"].is_arena, shown["demo"].entry) == ("arena", True, None)


async def test_a_custom_model_is_shown_while_its_provider_is_away() -> None:
    source = Source("openai", "gpt")
    made = routing(source)
    await made.create("preset", "gpt", grants=to(EVERYBODY))
    source.model_ids = []
    assert await made.shown(ADA) == ["preset"]
