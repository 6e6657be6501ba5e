"""What can happen to folders: given these events, when this command, then those events. Each rule three times where it applies:
it happens, it is refused, it is already so."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies

from domain.accounts.user.evolve import evolve as evolve_account
from domain.accounts.user.facts import ChatListed, LastReadAt, SettingsChanged, UserCreated
from domain.accounts.user.state import NO_ACCOUNT
from domain.chat.folder import (
    DEPTH_MAX,
    FOLDER_BYTES_MAX,
    FOLDER_NAME_CHARACTERS_MAX,
    FOLDERS_BYTES_MAX,
    FOLDERS_MAX,
    NO_FOLDERS,
    ChangeFolder,
    CreateFolder,
    DeleteFolder,
    ExpandFolder,
    FolderCollapsed,
    FolderCommand,
    FolderConfigured,
    FolderCreated,
    FolderDeleted,
    FolderEvent,
    FolderExpanded,
    FolderMoved,
    FolderRenamed,
    Folders,
    MoveFolder,
    decide,
    depth_of,
    evolve,
    fold,
    folder_ids_named,
    same_name,
)
from domain.errors import BadRequest, FolderCycle, FolderExists, FolderNameTaken, FolderNotFound, Forbidden, Refusal
from domain.log.codec import decode, encode
from domain.log.event import Emitted, Event
from tests.domain.given import Decider, happened
from tests.domain.histories import JSON, TEXTS, UNHURRIED

ME = UUID(int=0xA0)
A, B, C, D, E = (UUID(int=number) for number in range(1, 6))


def folded(*facts: Any) -> Folders:
    return fold(NO_FOLDERS, enumerate(map(happened, facts), 1))


given = Decider(NO_FOLDERS, evolve, decide)


def create(folder_id: UUID = A, name: str = "Work", parent_id: UUID | None = None, **more: Any) -> CreateFolder:
    return CreateFolder(user_id=ME, folder_id=folder_id, name=name, parent_id=parent_id, **more)


def change(folder_id: UUID = A, **more: Any) -> ChangeFolder:
    return ChangeFolder(user_id=ME, folder_id=folder_id, **more)


def move(folder_id: UUID, parent_id: UUID | None) -> MoveFolder:
    return MoveFolder(user_id=ME, folder_id=folder_id, parent_id=parent_id)


def expand(expanded: bool) -> ExpandFolder:
    return ExpandFolder(user_id=ME, folder_id=A, expanded=expanded)


WORK = FolderCreated(A, "Work")
PLANS_IN_WORK = FolderCreated(B, "Plans", A)
LATER_IN_PLANS = FolderCreated(C, "Later", B)


# ------------------------------------------------------------------------------------------------------------- creating


def test_a_folder_is_made() -> None:
    given().when(create(data={"system_prompt": "Be brief."}, meta={"icon": "🦉"}, client_id="mine")).then(
        FolderCreated(A, "Work", None, "mine", {"system_prompt": "Be brief."}, {"icon": "🦉"})
    )
    given(WORK).when(create(B, "Plans", A)).then(FolderCreated(B, "Plans", A))


def test_a_folder_is_made_once() -> None:
    given(WORK).when(create(name="Other")).then_raises(FolderExists)


def test_the_folder_that_it_is_in_must_be_there() -> None:
    given(WORK).when(create(C, "Plans", B)).then_raises(FolderNotFound)
    given(WORK, FolderDeleted(A)).when(create(B, "Plans", A)).then_raises(FolderNotFound)


def test_a_name_is_trimmed() -> None:
    given().when(create(name="  Work \t")).then(WORK)
    given(WORK).when(change(name=" Work ")).then()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "\u202eevil", "\u200b", "x" * (FOLDER_NAME_CHARACTERS_MAX + 1)])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    given().when(create(name=name)).then_raises(BadRequest)
    given(WORK).when(change(name=name)).then_raises(BadRequest)


@pytest.mark.parametrize("name", ["Work", "work", " WORK "])
def test_two_folders_beside_each_other_have_two_names(name: str) -> None:
    given(WORK).when(create(B, name)).then_raises(FolderNameTaken)
    given(WORK, FolderCreated(B, "Home")).when(change(B, name=name)).then_raises(FolderNameTaken)
    given(WORK, FolderCreated(B, "Home"), FolderCreated(C, name.strip(), B)).when(move(C, None)).then_raises(FolderNameTaken)


def test_one_name_may_stand_in_two_places() -> None:
    given(WORK).when(create(B, "Work", A)).then(FolderCreated(B, "Work", A))
    given(WORK, FolderDeleted(A)).when(create(B)).then(FolderCreated(B, "Work"))
    given(WORK, FolderRenamed(A, "Home")).when(create(B)).then(FolderCreated(B, "Work"))


def test_a_name_written_in_two_ways_is_one() -> None:
    given(FolderCreated(A, "Caf\u00e9")).when(create(B, "CAFE\u0301")).then_raises(FolderNameTaken)


def test_an_account_holds_a_bounded_number_of_folders() -> None:
    made = [FolderCreated(UUID(int=1000 + number), f"{number}") for number in range(FOLDERS_MAX)]
    given(*made[1:]).when(create()).then(WORK)
    given(*made).when(create()).then_raises(Forbidden)
    given(*made, FolderDeleted(UUID(int=1000))).when(create()).then(WORK)


# ------------------------------------------------------------------------------------------------------------- changing


def test_a_folder_is_renamed() -> None:
    given(WORK).when(change(name="Home")).then(FolderRenamed(A, "Home"))
    given(WORK).when(change(name="WORK")).then(FolderRenamed(A, "WORK"))
    given(WORK).when(change(name="Work")).then()
    given(WORK).when(change(B, name="Home")).then_raises(FolderNotFound)


def test_keys_are_merged_and_only_what_changes_is_told() -> None:
    had = FolderConfigured(A, {"system_prompt": "x", "files": [1]}, {"icon": "a"})
    given(WORK, had).when(change(data={"system_prompt": "x", "files": [2]}, meta={"icon": "a"})).then(FolderConfigured(A, {"files": [2]}))
    given(WORK, had).when(change(data={"files": [1]}, meta={"icon": "a"})).then()
    given(WORK, had).when(change(name="Home", meta={"colour": 7})).then(FolderRenamed(A, "Home"), FolderConfigured(A, {}, {"colour": 7}))
    kept = folded(WORK, had, FolderConfigured(A, {"files": None}, {"colour": 7})).by_id[A]
    assert (kept.data, kept.meta) == ({"system_prompt": "x", "files": None}, {"icon": "a", "colour": 7})


def test_keys_are_bounded_in_one_folder_and_in_all() -> None:
    too_much = {"x": "y" * FOLDER_BYTES_MAX}
    given().when(create(data=too_much)).then_raises(BadRequest)
    given(WORK, FolderConfigured(A, {"x": "y" * (FOLDER_BYTES_MAX // 2)})).when(
        change(meta={"x": "y" * (FOLDER_BYTES_MAX // 2)})
    ).then_raises(BadRequest)
    many = [
        FolderCreated(UUID(int=1000 + number), f"{number}", None, None, {"x": "y" * (FOLDER_BYTES_MAX // 2)})
        for number in range(2 * FOLDERS_BYTES_MAX // FOLDER_BYTES_MAX - 1)
    ]
    half = {"x": "y" * (FOLDER_BYTES_MAX // 2)}
    given(*many).when(create(data=half)).then_raises(BadRequest)
    given(*many).when(create()).then(WORK)
    given(*many, FolderConfigured(UUID(int=1000), {"x": ""})).when(create(data=half)).then(FolderCreated(A, "Work", None, None, half))


def test_a_folder_is_opened_and_closed() -> None:
    given(WORK).when(expand(True)).then(FolderExpanded(A))
    given(WORK).when(expand(False)).then()
    given(WORK, FolderExpanded(A)).when(expand(True)).then()
    given(WORK, FolderExpanded(A)).when(expand(False)).then(FolderCollapsed(A))
    given().when(expand(True)).then_raises(FolderNotFound)


# --------------------------------------------------------------------------------------------------------------- moving


def test_a_folder_is_moved_with_what_is_in_it() -> None:
    home = FolderCreated(D, "Home")
    given(WORK, PLANS_IN_WORK, home).when(move(B, D)).then(FolderMoved(B, D))
    given(WORK, PLANS_IN_WORK).when(move(B, None)).then(FolderMoved(B, None))
    given(WORK, PLANS_IN_WORK).when(move(B, A)).then()
    moved = folded(WORK, PLANS_IN_WORK, LATER_IN_PLANS, home, FolderMoved(B, D))
    assert (moved.subtree(A), moved.subtree(D)) == ([A], [D, B, C])


def test_a_folder_is_moved_to_where_there_is_one() -> None:
    given(WORK).when(move(A, B)).then_raises(FolderNotFound)
    given(WORK).when(move(B, A)).then_raises(FolderNotFound)


def test_a_folder_is_never_in_itself() -> None:
    tree = (WORK, PLANS_IN_WORK, LATER_IN_PLANS)
    for folder_id in (A, B, C):
        given(*tree).when(move(A, folder_id)).then_raises(FolderCycle)
    given(*tree).when(move(C, A)).then(FolderMoved(C, A))


def chain(length: int, first: int) -> list[FolderCreated]:
    """So many folders, each in the one before."""
    return [FolderCreated(UUID(int=first + n), f"{n}", UUID(int=first + n - 1) if n else None) for n in range(length)]


def test_a_tree_has_a_bounded_depth() -> None:
    deepest = UUID(int=1000 + DEPTH_MAX - 1)
    given(*chain(DEPTH_MAX, 1000)).when(create(A, "Work", deepest)).then_raises(BadRequest)
    given(*chain(DEPTH_MAX - 1, 1000)).when(create(A, "Work", UUID(int=1000 + DEPTH_MAX - 2))).then(
        FolderCreated(A, "Work", UUID(int=1000 + DEPTH_MAX - 2))
    )
    given(*chain(DEPTH_MAX - 1, 1000), WORK, PLANS_IN_WORK).when(move(A, UUID(int=1000 + DEPTH_MAX - 2))).then_raises(BadRequest)
    given(*chain(DEPTH_MAX - 2, 1000), WORK, PLANS_IN_WORK).when(move(A, UUID(int=1000 + DEPTH_MAX - 3))).then(
        FolderMoved(A, UUID(int=1000 + DEPTH_MAX - 3))
    )


# ------------------------------------------------------------------------------------------------------------- deleting


def test_a_folder_goes_with_everything_below_it() -> None:
    tree = (WORK, PLANS_IN_WORK, LATER_IN_PLANS, FolderCreated(D, "Home"))
    given(*tree).when(DeleteFolder(user_id=ME, folder_id=A)).then(FolderDeleted(A))
    assert list(folded(*tree, FolderDeleted(A)).by_id) == [D]
    given(*tree, FolderDeleted(A)).when(DeleteFolder(user_id=ME, folder_id=B)).then_raises(FolderNotFound)


# ------------------------------------------------------------------------------------------------------------- searching


def test_a_search_names_folders_and_means_what_is_below_them() -> None:
    folders = folded(FolderCreated(A, "To Do"), FolderCreated(B, "Plans", A), FolderCreated(C, "Home"), FolderCreated(D, "to_do", C))
    for name in ("To Do", "to_do", "TO_DO", "to  do", " to_do "):
        assert sorted(folder_ids_named(folders, name)) == [A, B, D], name
    assert folder_ids_named(folders, "plans") == [B]
    for name in ("", "to", "do", "todo", "*", "nothing"):
        assert folder_ids_named(folders, name) == [], name


def test_a_folder_that_is_below_another_of_its_name_is_found_once() -> None:
    assert folder_ids_named(folded(FolderCreated(A, "x"), FolderCreated(B, "X", A)), "x") == [A, B]


# -------------------------------------------------------------------------------------------------------------- history


def test_other_events_of_a_person_change_no_folder_and_folders_change_no_account() -> None:
    others = [UserCreated("Ada", "a@b.c", "user"), SettingsChanged({"a": 1}), ChatListed(A), LastReadAt("chat/7", 1), Emitted("x", 1)]
    assert folded(*others) is NO_FOLDERS
    account = NO_ACCOUNT
    for fact in (WORK, FolderRenamed(A, "x"), FolderMoved(A, B), FolderConfigured(A), FolderExpanded(A), FolderCollapsed(A)):
        account = evolve_account(account, happened(fact), 1)
    assert evolve_account(account, happened(FolderDeleted(A)), 1) == NO_ACCOUNT


def test_history_is_never_refused() -> None:
    odd = [FolderRenamed(B, "x"), FolderMoved(B, A), FolderExpanded(B), FolderConfigured(B), FolderDeleted(B), FolderCollapsed(B)]
    assert folded(WORK, *odd) == folded(WORK)
    circle = folded(WORK, PLANS_IN_WORK, FolderMoved(A, B))
    assert set(circle.subtree(A)) == {A, B}
    assert depth_of(circle, A) > DEPTH_MAX, "and it ends"
    assert folded(WORK, PLANS_IN_WORK, FolderMoved(A, B), FolderDeleted(A)) == folded(WORK, FolderDeleted(A))


def test_a_folder_knows_since_when_it_is_as_it_is() -> None:
    folder = folded(WORK, FolderCreated(B, "Home"), FolderExpanded(A)).by_id[A]
    assert (folder.created_version, folder.updated_version) == (1, 3)


IDS = strategies.sampled_from([A, B, C, D, E])
NAMES = strategies.sampled_from(["x", "X", "y", " y ", "to do", ""])
KEYS = strategies.dictionaries(TEXTS, JSON, max_size=2)
COMMANDS: strategies.SearchStrategy[Any] = strategies.one_of(
    *[strategies.builds(create, IDS, NAMES, strategies.none() | IDS, data=KEYS, meta=KEYS)] * 2,
    strategies.builds(
        lambda one, name, data, meta: change(one, name=name, data=data, meta=meta), IDS, strategies.none() | NAMES, KEYS, KEYS
    ),
    *[strategies.builds(move, IDS, strategies.none() | IDS)] * 2,
    strategies.builds(expand, strategies.booleans()),
    strategies.builds(lambda one: DeleteFolder(user_id=ME, folder_id=one), IDS),
)


@UNHURRIED
@for_all(strategies.lists(COMMANDS, max_size=40))
def test_whatever_is_asked_for_folders_stay_a_tree(commands: list[FolderCommand]) -> None:
    folders, events = NO_FOLDERS, list[FolderEvent]()
    for command in commands:
        try:
            decided = decide(folders, command)
        except Refusal:
            continue
        for event in decided:
            events.append(Event(None, decode("user", *encode(event.data))))
            folders = evolve(folders, event, len(events))
        if not isinstance(command, CreateFolder | DeleteFolder):
            assert decide(folders, command) == [], "the same once more changes nothing"
        places = [(folder.parent_id, same_name(folder.name)) for folder in folders.by_id.values()]
        assert len(set(places)) == len(places), "two of one name beside each other"
        for folder_id, folder in folders.by_id.items():
            assert folder.parent_id is None or folder.parent_id in folders.by_id, "in one that is gone"
            assert depth_of(folders, folder_id) <= len(folders.by_id), "in itself"
    assert fold(NO_FOLDERS, enumerate(events, 1)) == folders, "folded at once, and as it was read back from the log"
