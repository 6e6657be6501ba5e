"""A chat as its reader sees it, at every version of every history."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, strategies

from domain.chat.facts import (
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatMoved,
    ChatRenamed,
    ChatShared,
    ChatTagged,
    ChatUnshared,
    ChatUntagged,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.generation import BlockOpened, GenerationCancelled, GenerationFailed, GenerationInterrupted, MessageDelta, MessageStarted
from domain.log.codec import encode, encode_actor
from domain.log.event import Actor, Emitted, Event, StoredEvent
from domain.log.stream import chat_stream
from projections.chat import ChatView, view
from tests.domain.histories import CHAT, FEW, NODE, OWNER, READER, History, ended, histories

Q, A, B, Q2 = (UUID(int=number) for number in range(1, 5))
START = datetime(2026, 1, 1, tzinfo=UTC)
ME = Actor(OWNER, "Me", "user")


def stored(events: Sequence[Event[Any]]) -> list[StoredEvent]:
    rows = []
    for version, event in enumerate(events, 1):
        name, data = encode(event.data)
        at = START + timedelta(seconds=version)
        rows.append(StoredEvent(version + 100, chat_stream(CHAT), version, name, event.message_id, encode_actor(ME), data, at))
    return rows


def seen(*events: Event[Any]) -> ChatView:
    return view(stored(events))


def message(chat: ChatView, message_id: UUID) -> Any:
    """As it is shown, through JSON and back."""
    return msgspec.json.decode(msgspec.json.encode(chat.to_json()))["chat"]["history"]["messages"][str(message_id)]


CREATED: Event[Any] = Event(None, ChatCreated(OWNER, "a title", fields={"models": ["demo"]}))
ASKED: Event[Any] = Event(Q, MessageAdded(None, "user", "hello", None, {"foo": 1}))
STARTED: Event[Any] = Event(A, MessageStarted(Q, "demo", "demo", UUID(int=9), NODE))
OPENED: Event[Any] = Event(A, BlockOpened(0, "text"))
STREAMING = (CREATED, ASKED, STARTED, OPENED, Event(A, MessageDelta(0, "Hel")))


def said(message_id: UUID, text: str, index: int = 0) -> Event[Any]:
    return Event(message_id, MessageDelta(index, text))


def emit(name: str, data: Any, message_id: UUID = Q) -> Event[Any]:
    return Event(message_id, Emitted(name, data))


# ------------------------------------------------------------------------------------------------------ whatever happens


def assert_whole(chat: ChatView) -> None:
    """What is shown is a tree, and can be sent."""
    for message_id, shown in chat.messages.items():
        if shown["parentId"] is not None:
            assert chat.messages[shown["parentId"]]["childrenIds"].count(message_id) == 1
        assert shown["childrenIds"] == sorted(shown["childrenIds"], key=chat.ordinals.__getitem__)
        assert all(chat.messages[child]["parentId"] == message_id for child in shown["childrenIds"])
    assert chat.current_id is None or chat.current_id in chat.messages
    msgspec.json.encode(chat.to_json())


@FEW
@given(histories())
def test_a_chat_can_be_seen_at_every_version(history: History) -> None:
    chat = ChatView()
    for event in stored(history.events):
        chat.apply(event)
        assert_whole(chat)
        assert (chat.version, chat.position) == (event.version, event.position)


@FEW
@given(histories(), strategies.data())
def test_a_view_of_a_prefix_goes_on_to_the_same_view(history: History, data: strategies.DataObject) -> None:
    events = stored(history.events)
    at = data.draw(strategies.integers(0, len(events)))
    chat = view(events[:at])
    chat.to_json()  # looking at it changes nothing
    for event in events[at:]:
        chat.apply(event)
    assert chat.to_json() == view(events).to_json()


@FEW
@given(histories())
def test_a_reader_sees_the_chat_that_decisions_are_made_on(history: History) -> None:
    chat, state = view(stored(history.events)), history.state
    assert chat.current_id == (str(state.current_id) if state.current_id is not None else None)
    assert (chat.title, chat.pinned, chat.archived, chat.deleted) == (state.title, state.pinned, state.archived, state.deleted)
    assert (chat.owner_id, chat.folder_id, sorted(chat.tags)) == (state.owner_id, state.folder_id, sorted(state.tags))
    assert chat.grants == {str(user_id): grant.permission for user_id, grant in state.grants.items()}
    known = {}
    for message_id in state.messages:
        node = state.messages.get(message_id)
        assert node is not None
        if not node.deleted:
            known[str(message_id)] = (str(node.parent_id) if node.parent_id else None, [str(child) for child in node.children])
    assert {one: (shown["parentId"], shown["childrenIds"]) for one, shown in chat.messages.items()} == known
    streaming = {one for one, shown in chat.messages.items() if shown.get("state") == "streaming"}
    assert streaming == {str(message_id) for message_id in state.open_generations}


@FEW
@given(histories())
def test_a_message_that_is_being_said_is_complete_to_its_last_token(history: History) -> None:
    said_so_far: dict[UUID | None, str] = {}
    types: dict[tuple[UUID | None, int], str] = {}
    for version, event in enumerate(history.events, 1):
        match event.data:
            case MessageStarted():
                said_so_far[event.message_id] = ""
            case BlockOpened(index=index, type=type_):
                types[event.message_id, index] = type_
            case MessageDelta(index=index, text=text):
                if types[event.message_id, index] == "text":
                    said_so_far[event.message_id] += text
                shown = message(view(stored(history.events[:version])), event.message_id or Q)
                if not any(isinstance(one.data, Emitted) and one.message_id == event.message_id for one in history.events[:version]):
                    assert shown["content"] == said_so_far[event.message_id]
                assert not shown["done"]
            case _:
                pass


# -------------------------------------------------------------------------------------------------------------- the chat


def test_a_chat_shows_what_is_known_of_it() -> None:
    folder = UUID(int=7)
    chat = seen(
        CREATED,
        Event(None, ChatRenamed("new")),
        Event(None, ChatConfigured({"params": {"t": 1}, "title": "not this one"})),
        Event(None, ChatTagged("x")),
        Event(None, ChatTagged("y")),
        Event(None, ChatUntagged("x")),
        Event(None, ChatMoved(folder)),
        Event(None, ChatArchived()),
        Event(None, ChatShared(READER, "read")),
    )
    shown = chat.to_json()
    assert (shown["title"], shown["chat"]["title"], shown["chat"]["models"]) == ("new", "new", ["demo"])
    assert (shown["chat"]["params"], shown["meta"], shown["folder_id"]) == ({"t": 1}, {"tags": ["y"]}, str(folder))
    assert (shown["archived"], shown["pinned"], shown["access"]) == (True, False, {str(READER): "read"})
    assert (shown["created_at"], shown["updated_at"]) == (int(START.timestamp()) + 1, int(START.timestamp()) + 9)
    chat.apply(stored([Event(None, ChatUnshared(READER))])[0])
    assert chat.to_json()["access"] == {}


def test_the_messages_are_those_of_the_branch_that_is_looked_at() -> None:
    events = [CREATED, ASKED, Event(A, MessageAdded(Q, "assistant", "a")), Event(B, MessageAdded(Q, "assistant", "b"))]
    chat = seen(*events)
    assert [one["content"] for one in chat.to_json()["chat"]["messages"]] == ["hello", "b"]
    back = seen(*events, Event(A, BranchSelected()))
    assert [one["content"] for one in back.to_json()["chat"]["messages"]] == ["hello", "a"]
    assert message(back, Q)["childrenIds"] == [str(A), str(B)]


def test_a_message_shows_its_keys_its_time_and_who_said_it() -> None:
    shown = message(seen(CREATED, ASKED), Q)
    assert shown == {
        "id": str(Q),
        "parentId": None,
        "childrenIds": [],
        "role": "user",
        "content": "hello",
        "done": True,
        "foo": 1,
        "user_id": str(OWNER),
        "timestamp": int(START.timestamp()) + 2,
    }


def test_a_keys_name_gives_no_power_over_the_tree() -> None:
    forged = {"id": "x", "parentId": "x", "childrenIds": ["x"], "role": "system", "content": "forged", "timestamp": 0}
    shown = message(seen(CREATED, Event(Q, MessageAdded(None, "user", "hello", None, forged))), Q)
    assert (shown["id"], shown["parentId"], shown["childrenIds"], shown["role"], shown["content"]) == (str(Q), None, [], "user", "hello")


# ---------------------------------------------------------------------------------------------------------- generations


def test_an_answer_grows_block_by_block() -> None:
    chat = seen(
        *STREAMING,
        Event(A, BlockOpened(1, "reasoning")),
        said(A, "hm", 1),
        said(A, "lo"),
        Event(A, BlockOpened(2, "text")),
        said(A, "!", 2),
    )
    shown = message(chat, A)
    assert (shown["content"], shown["done"], shown["state"], shown["model"]) == ("Hello!", False, "streaming", "demo")
    assert [(block["type"], block["text"]) for block in shown["blocks"]] == [("text", "Hello"), ("reasoning", "hm"), ("text", "!")]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (ended("Hello"), "done"),
        (GenerationFailed("provider_idle", "silent", "Hello"), "error"),
        (GenerationCancelled(OWNER, "Hello"), "cancelled"),
        (GenerationInterrupted(NODE, "Hello"), "interrupted"),
    ],
)
def test_an_answer_that_is_over_says_how(outcome: Any, state: str) -> None:
    shown = message(seen(*STREAMING, Event(A, outcome)), A)
    assert (shown["state"], shown["done"], shown["content"]) == (state, True, "Hello")
    assert "blocks" not in shown, "one block of text says no more than the content"
    assert shown.get("error") == ({"content": "silent", "code": "provider_idle"} if state == "error" else None)
    if state == "done":
        assert (shown["usage"], shown["finish_reason"]) == ({"total_tokens": 3}, "stop")


def test_a_large_answer_shows_the_reference_to_its_content() -> None:
    reference = {"blob": "00", "size_bytes": 200_000}
    chat = seen(*STREAMING, Event(A, GenerationCancelled(None, reference)))
    assert message(chat, A)["content"] == reference


def test_tokens_of_a_message_that_is_not_there_change_nothing() -> None:
    assert seen(CREATED, ASKED, said(B, "x"), Event(B, BlockOpened(0, "text")), Event(B, ended("x"))).messages.keys() == {str(Q)}


# ----------------------------------------------------------------------------------------------------- edits and deletes


def test_an_edit_changes_the_keys_it_names_and_no_others() -> None:
    shown = message(seen(CREATED, ASKED, Event(Q, MessageEdited({"content": "new", "bar": [1]}))), Q)
    assert (shown["content"], shown["foo"], shown["bar"], shown["role"]) == ("new", 1, [1], "user")
    assert shown["edited_at"] == int(START.timestamp()) + 3


def test_an_edit_of_an_answer_is_what_is_shown_and_of_its_blocks_only_the_text_is_gone() -> None:
    thought = (Event(A, BlockOpened(1, "reasoning")), said(A, "hm", 1))
    shown = message(seen(*STREAMING, *thought, Event(A, ended("Hel")), Event(A, MessageEdited({"content": "better"}))), A)
    assert (shown["content"], [block["text"] for block in shown["blocks"]]) == ("better", ["", "hm"])


def test_the_newest_rating_counts() -> None:
    chat = seen(CREATED, ASKED, Event(Q, MessageRated(1)), Event(Q, MessageRated(-1, "no")))
    assert message(chat, Q)["annotation"] == {"rating": -1, "comment": "no"}


def test_a_deleted_message_is_gone_and_what_stood_below_it_moves_up() -> None:
    tree = (CREATED, ASKED, Event(A, MessageAdded(Q, "assistant", "a")), Event(B, MessageAdded(Q, "assistant", "b")))
    chat = seen(*tree, Event(Q2, MessageAdded(A, "user", "next")), Event(A, MessageDeleted()))
    assert str(A) not in chat.messages
    assert message(chat, Q2)["parentId"] == str(Q)
    assert message(chat, Q)["childrenIds"] == [str(B), str(Q2)], "siblings stand in the order in which they were added"
    assert chat.current_id == str(Q2)


def test_of_a_chat_without_messages_nothing_is_looked_at() -> None:
    chat = seen(CREATED, ASKED, Event(Q, MessageDeleted()), Event(Q, MessageDeleted()))
    assert (chat.messages, chat.messages_count, chat.current_id, chat.to_json()["chat"]["messages"]) == ({}, 0, None, [])


# ------------------------------------------------------------------- what filters, actions and pipes emit (reference §1.6)


def test_a_status_is_added_to_the_history_of_states() -> None:
    first, second = {"description": "searching", "done": False}, {"description": "found", "done": True}
    assert message(seen(CREATED, ASKED, emit("status", first), emit("status", second)), Q)["statusHistory"] == [first, second]


def test_a_message_is_added_to_the_text_and_a_replace_replaces_it() -> None:
    assert message(seen(CREATED, ASKED, emit("message", {"content": " there"})), Q)["content"] == "hello there"
    assert message(seen(CREATED, ASKED, emit("replace", {"content": "bye"})), Q)["content"] == "bye"


@pytest.mark.parametrize("key", ["files", "embeds"])
def test_new_files_and_embeds_stand_before_the_old_ones(key: str) -> None:
    chat = [CREATED, ASKED, emit(key, {key: ["a", "b"]}), emit(key, {key: ["c"]})]
    assert message(seen(*chat), Q)[key] == ["c", "a", "b"]
    assert message(seen(*chat, emit(key, {key: ["d"], "replace": True})), Q)[key] == ["d"]


@pytest.mark.parametrize("name", ["source", "citation"])
def test_a_source_is_added_unless_it_has_a_type_of_its_own(name: str) -> None:
    first, second = {"source": {"name": "a"}}, {"source": {"name": "b"}, "type": None}
    chat = [CREATED, ASKED, emit(name, first), emit(name, second), emit(name, {"type": "code_execution"})]
    assert message(seen(*chat), Q)["sources"] == [first, second]


@pytest.mark.parametrize("name", ["log", "notification", "chat:title", "chat:completion", "x.y"])
def test_what_nobody_knows_changes_nothing(name: str) -> None:
    assert message(seen(CREATED, ASKED, emit(name, {"content": "x", "files": ["x"]})), Q) == message(seen(CREATED, ASKED), Q)


def test_what_is_emitted_about_a_message_that_is_gone_changes_nothing() -> None:
    chat = seen(CREATED, ASKED, Event(Q, MessageDeleted()), emit("status", {}), emit("files", {"files": ["x"]}))
    assert chat.messages == {}


NONSENSE: list[Any] = [None, 5, "x", [], {}, {"files": 5}, {"files": None}, {"embeds": "x"}, {"content": 5}, {"content": None}, {"type": 5}]


def test_no_emitted_nonsense_makes_a_chat_unreadable() -> None:
    for name in ("status", "message", "delta", "replace", "files", "embeds", "source", "citation", "follow_ups"):
        for data in NONSENSE:
            assert_whole(seen(*STREAMING, emit(name, data), emit(name, data, A), emit(name, {name: ["x"], "content": "y"})))


def test_no_key_of_a_message_makes_a_chat_unreadable() -> None:
    names = ("status", "message", "files", "embeds", "source")
    emitted = [emit(name, {name: ["x"], "content": "y"}, one) for one in (Q, Q2) for name in names]
    for key in ("blocks", "statusHistory", "files", "embeds", "sources", "content", "childrenIds", "parentId", "id"):
        for value in (None, 5, "x", ["x"], {"x": 1}):
            asked = Event(Q2, MessageAdded(Q, "user", "hi", None, {key: value}))
            started = Event(A, MessageStarted(Q, "demo", "demo", UUID(int=9), NODE, fields={key: value}))
            edited = [Event(one, MessageEdited({key: value})) for one in (Q, Q2)]
            assert_whole(seen(CREATED, ASKED, asked, started, OPENED, said(A, "x"), Event(A, ended("x")), *emitted))
            assert_whole(seen(CREATED, ASKED, asked, started, *edited, *emitted, Event(Q2, MessageDeleted())))


def test_content_in_parts_takes_more_text() -> None:
    parts = [{"type": "text", "text": "hello"}]
    assert_whole(seen(CREATED, Event(Q, MessageAdded(None, "user", parts)), emit("message", {"content": " there"})))
