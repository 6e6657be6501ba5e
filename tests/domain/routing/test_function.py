"""What can happen to a function, and what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from domain.accounts.user.evolve import evolve as evolve_user
from domain.accounts.user.state import NO_ACCOUNT
from domain.errors import BadRequest, FunctionExists, FunctionInactive, FunctionNotFound, FunctionReadOnly
from domain.log.event import Event
from domain.routing.function import (
    NO_FUNCTION,
    NO_VALVES,
    ChangeFunction,
    ChangeValves,
    CreateFunction,
    DeleteFunction,
    EnableFunction,
    FunctionChanged,
    FunctionCommand,
    FunctionCreated,
    FunctionDeleted,
    FunctionDisabled,
    FunctionEnabled,
    FunctionMadeGlobal,
    FunctionMadeLocal,
    FunctionState,
    FunctionValvesChanged,
    MakeFunctionGlobal,
    SourceRef,
    UserValvesChanged,
    Valves,
    change_user_valves,
    decide,
    evolve,
    evolve_user_valves,
    require_active,
)

OLD, NEW = SourceRef("aa", 2), SourceRef("bb", 3)
CREATED = FunctionCreated("f", "filter", "A filter", OLD, {"description": "d"})
CREATE = CreateFunction(function_id="f", kind="filter", name="A filter", source=OLD, meta={"description": "d"})
CHANGE = ChangeFunction(function_id="f", kind="filter", name="A filter", source=OLD, meta={"description": "d"})


def given(*facts: Any) -> FunctionState:
    state = NO_FUNCTION
    for version, fact in enumerate(facts, 1):
        state = evolve(state, Event(None, fact), version)
    return state


def decided(state: FunctionState, command: FunctionCommand) -> Sequence[Any]:
    return [event.data for event in decide(state, command)]


def test_a_new_function_is_off_and_for_no_model() -> None:
    assert decided(NO_FUNCTION, CREATE) == [CREATED]
    state = given(CREATED)
    assert (state.exists, state.active, state.everywhere, state.valves) == (True, False, False, NO_VALVES)


def test_one_of_the_folder_is_on_and_for_every_model_at_once() -> None:
    facts = decided(NO_FUNCTION, replace(CREATE, origin="folder", active=True, everywhere=True))
    assert facts == [replace(CREATED, origin="folder"), FunctionEnabled(), FunctionMadeGlobal()]


def test_a_second_one_of_the_same_id_is_refused() -> None:
    with pytest.raises(FunctionExists):
        decide(given(CREATED), CREATE)


def test_one_that_was_deleted_is_made_again_without_what_it_had() -> None:
    state = given(CREATED, FunctionEnabled(), FunctionValvesChanged({"a": 1}), FunctionDeleted())
    assert not state.exists
    assert decided(state, CREATE) == [CREATED]
    again = evolve(state, Event(None, CREATED), 5)
    assert (again.active, again.valves, again.created_version) == (False, NO_VALVES, 5)


@pytest.mark.parametrize("function_id", ["", "A", "1a", "a.b", "a-b", "é", "x" * 129])
def test_an_id_that_is_no_identifier_is_refused(function_id: str) -> None:
    with pytest.raises(BadRequest):
        decide(NO_FUNCTION, replace(CREATE, function_id=function_id))


@pytest.mark.parametrize("change", [{"name": ""}, {"name": "x" * 201}, {"meta": {"x": "y" * 70_000}}])
def test_a_name_or_meta_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        decide(NO_FUNCTION, replace(CREATE, **change))
    with pytest.raises(BadRequest):
        decide(given(CREATED), replace(CHANGE, **change))


def test_a_change_says_what_is_new_and_nothing_else() -> None:
    assert decided(given(CREATED), replace(CHANGE, source=NEW)) == [FunctionChanged(source=NEW)]
    assert decided(given(CREATED), replace(CHANGE, name="Other", kind="pipe")) == [FunctionChanged("pipe", "Other")]
    changed = evolve(given(CREATED), Event(None, FunctionChanged(source=NEW)), 2)
    assert (changed.source, changed.name, changed.updated_version, changed.created_version) == (NEW, "A filter", 2, 1)
    assert FunctionChanged().source is UNSET


def test_an_equal_one_is_no_change() -> None:
    assert decided(given(CREATED), CHANGE) == []


def test_what_is_not_there_cannot_be_changed() -> None:
    commands: list[FunctionCommand] = [
        CHANGE,
        EnableFunction(function_id="f"),
        MakeFunctionGlobal(function_id="f"),
        ChangeValves(function_id="f", valves=Valves({"a": 1})),
        DeleteFunction(function_id="f"),
    ]
    for state in (NO_FUNCTION, given(CREATED, FunctionDeleted())):
        for command in commands:
            with pytest.raises(FunctionNotFound):
                decide(state, command)


def test_the_source_of_a_file_is_changed_by_the_folder_alone() -> None:
    of_folder = given(replace(CREATED, origin="folder"))
    with pytest.raises(FunctionReadOnly):
        decide(of_folder, replace(CHANGE, source=NEW))
    assert decided(of_folder, replace(CHANGE, source=NEW, origin="folder")) == [FunctionChanged(source=NEW)]
    assert decided(of_folder, replace(CHANGE, name="Other")) == [FunctionChanged(name="Other")]
    with pytest.raises(FunctionExists):
        decide(given(CREATED), replace(CHANGE, source=NEW, origin="folder"))


def test_it_is_switched_on_and_off() -> None:
    on = given(CREATED, FunctionEnabled())
    assert decided(given(CREATED), EnableFunction(function_id="f")) == [FunctionEnabled()]
    assert decided(on, EnableFunction(function_id="f")) == [FunctionDisabled()]
    assert decided(on, EnableFunction(function_id="f", active=True)) == []
    assert not given(CREATED, FunctionEnabled(), FunctionDisabled()).active
    assert require_active(on, "f") is on
    with pytest.raises(FunctionInactive):
        require_active(given(CREATED), "f")


def test_it_is_for_every_model_or_not() -> None:
    everywhere = given(CREATED, FunctionMadeGlobal())
    assert decided(given(CREATED), MakeFunctionGlobal(function_id="f")) == [FunctionMadeGlobal()]
    assert decided(everywhere, MakeFunctionGlobal(function_id="f")) == [FunctionMadeLocal()]
    assert decided(everywhere, MakeFunctionGlobal(function_id="f", everywhere=True)) == []
    assert not given(CREATED, FunctionMadeGlobal(), FunctionMadeLocal()).everywhere


def test_valves_are_all_that_is_set() -> None:
    valves = Valves({"a": 1}, ["key"], "kept")
    assert decided(given(CREATED), ChangeValves(function_id="f", valves=valves)) == [FunctionValvesChanged({"a": 1}, ["key"], "kept")]
    state = given(CREATED, FunctionValvesChanged({"a": 1}, ["key"], "kept"))
    assert state.valves == valves
    assert decided(state, ChangeValves(function_id="f", valves=valves)) == []
    with pytest.raises(BadRequest):
        decide(state, ChangeValves(function_id="f", valves=Valves({"a": "x" * 70_000})))


def test_it_is_deleted() -> None:
    assert decided(given(CREATED), DeleteFunction(function_id="f")) == [FunctionDeleted()]


def test_a_person_has_valves_of_each_function_and_the_account_does_not_change() -> None:
    (event,) = change_user_valves({}, "f", Valves({"a": 1}))
    assert event.data == UserValvesChanged("f", {"a": 1})
    known = evolve_user_valves({"g": Valves({"b": 2})}, event, 1)
    assert known == {"f": Valves({"a": 1}), "g": Valves({"b": 2})}
    assert change_user_valves(known, "f", Valves({"a": 1})) == []
    assert evolve_user(NO_ACCOUNT, event, 1) == NO_ACCOUNT
    with pytest.raises(BadRequest):
        change_user_valves({}, "f", Valves({"a": "x" * 70_000}))


def test_events_of_other_things_are_passed_over() -> None:
    assert evolve(given(CREATED), Event(None, UserValvesChanged("f")), 2) == given(CREATED)
    assert evolve_user_valves({}, Event(None, CREATED), 1) == {}
