"""Chats as Open WebUI exports them: trees, siblings, times and unknown keys are kept, and what is broken is named by its key."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import pytest

from commands.transfer.open_webui import decoded, whole_chat
from domain.chat.facts import BranchSelected, ChatTagged, MessageAdded, MessageRated
from domain.chat.whole_chat import WholeChat, steps_of
from domain.errors import ImportRefused
from tests.domain.histories import OWNER

QUESTION = {
    "id": "q",
    "parentId": None,
    "childrenIds": ["b", "a"],
    "role": "user",
    "content": "why?",
    "timestamp": 1_700_000_000,
    "models": ["m"],
}
ANSWER = {
    "id": "a",
    "parentId": "q",
    "childrenIds": [],
    "role": "assistant",
    "content": "so",
    "model": "m",
    "done": True,
    "usage": {"total_tokens": 3},
    "sources": [{"source": {"name": "n"}}],
    "statusHistory": [{"description": "d", "done": True}],
    "annotation": {"rating": -1, "comment": "bad", "reason": "r", "tags": ["t"]},
}
OTHER = {"id": "b", "parentId": "q", "childrenIds": [], "role": "assistant", "content": [{"type": "text", "text": "x"}], "model": "n"}


def history(*messages: dict[str, Any], current: Any = "a") -> dict[str, Any]:
    return {"messages": {one["id"]: dict(one) for one in messages}, "currentId": current}


def row(**chat: Any) -> dict[str, Any]:
    inner = {"title": "inner", "models": ["m"], "params": {"t": 1}, "history": history(QUESTION, ANSWER, OTHER), "tags": ["Inner"], **chat}
    return {
        "id": "c1",
        "user_id": "u",
        "title": "Why",
        "chat": inner,
        "created_at": 1_600_000_000,
        "updated_at": 1_600_000_100,
        "share_id": None,
        "archived": False,
        "pinned": True,
        "meta": {"tags": ["one_tag", "inner"]},
        "folder_id": "f1",
    }


def read(given: Any) -> WholeChat:
    return whole_chat(decoded(json.dumps(given).encode(), "number 1"), OWNER, name="number 1")


def added(chat: WholeChat) -> list[MessageAdded]:
    return [step.event.data for step in steps_of(chat) if isinstance(step.event.data, MessageAdded)]


def test_a_chat_is_read_with_all_that_it_says() -> None:
    chat = read(row())
    assert (chat.title, chat.pinned, chat.archived, chat.folder_id) == ("Why", True, False, None)
    assert (chat.origin.source, chat.origin.source_id) == ("open-webui", "c1")
    assert chat.origin.created_at == datetime.fromtimestamp(1_600_000_000, UTC)
    assert chat.origin.updated_at == datetime.fromtimestamp(1_600_000_100, UTC)
    assert chat.fields["params"] == {"t": 1}
    assert chat.fields["original"] == {"user_id": "u", "folder_id": "f1", "meta": {"tags": ["one_tag", "inner"]}}
    facts = [step.event.data for step in steps_of(chat)]
    assert [fact.name for fact in facts if isinstance(fact, ChatTagged)] == ["one_tag", "inner"]
    assert MessageRated(-1, "bad") in facts


def test_unknown_keys_of_a_message_are_kept() -> None:
    answer = next(one for one in added(read(row())) if one.client_id == "a")
    for key in ("model", "usage", "sources", "statusHistory", "annotation", "done"):
        assert answer.fields[key] == ANSWER[key]
    assert {"id", "parentId", "childrenIds"}.isdisjoint(answer.fields)


def test_siblings_stand_in_the_order_of_their_parent() -> None:
    assert [one.client_id for one in added(read(row()))] == ["q", "b", "a"]
    turned = row(history=history({**QUESTION, "childrenIds": ["a", "b"]}, OTHER, ANSWER, current="b"))
    assert [one.client_id for one in added(read(turned))] == ["q", "a", "b"]


def test_the_branch_that_was_looked_at_is_looked_at() -> None:
    chat = read(row(history=history(QUESTION, ANSWER, OTHER, current="b")))
    selected = [step.event.message_id for step in steps_of(chat) if isinstance(step.event.data, BranchSelected)]
    assert selected == [uuid5(chat.chat_id, "b")]


def test_the_chat_alone_is_read_too_and_is_known_by_its_content_where_it_has_no_id() -> None:
    alone = row()["chat"]
    chat = read(alone)
    assert (chat.title, len(chat.messages)) == ("inner", 3)
    assert chat.origin.source_id.startswith("sha256:")
    assert read(alone).chat_id == chat.chat_id
    assert read({**alone, "title": "another"}).chat_id != chat.chat_id
    assert read({**alone, "id": "c9"}).origin.source_id == "c9"


def test_an_old_export_with_a_list_of_messages_is_read() -> None:
    old = {"id": "c1", "title": "t", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "id": "x"}]}
    messages = read(old).messages
    assert [(one.role, one.client_id) for one in messages] == [("user", "0"), ("assistant", "x")]
    assert [one.parent_id for one in messages] == [None, messages[0].message_id]


def test_a_message_that_only_its_parent_names_stands_below_it() -> None:
    orphan = {key: value for key, value in OTHER.items() if key != "parentId"}
    chat = read(row(history=history(QUESTION, ANSWER, orphan)))
    assert [one.parent_id for one in chat.messages if one.client_id == "b"] == [uuid5(chat.chat_id, "q")]


def test_an_answer_that_stands_in_its_items_only_has_their_text() -> None:
    output = [
        {"type": "reasoning", "content": [{"type": "output_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "one"}, {"type": "output_text", "text": "two"}]},
    ]
    chat = read(row(history=history(QUESTION, {**ANSWER, "content": "", "output": output}, OTHER)))
    [answer] = [one for one in chat.messages if one.client_id == "a"]
    assert (answer.content, answer.fields["output"]) == ("one\ntwo", output)


@pytest.mark.parametrize("value", [1_600_000_000, 1_600_000_000_000, 1_600_000_000 * 10**9, "2020-09-13T12:26:40Z", "2020-09-13T12:26:40"])
def test_times_are_understood_in_seconds_milliseconds_and_nanoseconds(value: Any) -> None:
    assert read({**row(), "created_at": value}).origin.created_at == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


def with_answer(**changes: Any) -> dict[str, Any]:
    return row(history=history(QUESTION, {**ANSWER, **changes}, OTHER))


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (7, "chat"),
        ({}, "chat"),
        ({"id": "c1", "chat": 7}, "chat"),
        (row(history=7), "history"),
        (row(history={"currentId": None}), "history.messages"),
        (row(history={"messages": {"q": 7}}), "history.messages.q"),
        (row(history={"messages": {"x": QUESTION}}), "history.messages.x.id"),
        (row(history=history(QUESTION, ANSWER, OTHER, current="z")), "history.currentId"),
        (row(history=history(QUESTION, ANSWER, OTHER, current=7)), "history.currentId"),
        (row(history=history({**QUESTION, "childrenIds": []}, {**ANSWER, "parentId": "z"})), "history.messages.a.parentId"),
        (with_answer(parentId=7), "history.messages.a.parentId"),
        (with_answer(parentId="a"), "history.messages.a.parentId"),
        (with_answer(role="tool"), "history.messages.a.role"),
        (with_answer(content=7), "history.messages.a.content"),
        (with_answer(childrenIds={"x": 1}), "history.messages.a.childrenIds"),
        (with_answer(annotation={"rating": "1"}), "history.messages.a.annotation.rating"),
        (with_answer(annotation={"rating": 5}), "history.messages.a.annotation.rating"),
        ({**row(), "title": 7}, "title"),
        ({**row(), "pinned": "yes"}, "pinned"),
        ({**row(), "meta": {"tags": [7]}}, "tags"),
        ({**row(), "id": "x" * 300}, "id"),
        ({"id": "c1", "messages": [{"id": "a"}, {"id": "a"}]}, "messages.1.id"),
        ({"id": "c1", "messages": ["hello"]}, "messages.0"),
    ],
)
def test_what_is_broken_is_refused_by_its_key(given: Any, key: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        steps_of(read(given))
    assert refused.value.key == key
    assert ("c1" in refused.value.chat or "number 1" in refused.value.chat) or key == "id"


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (with_answer(timestamp="now"), "time left out, which is none"),
        (with_answer(timestamp=1_700_000_000_000), "time kept in seconds"),
        (with_answer(timestamp="2023-11-14T22:13:20Z"), "time kept in seconds"),
        (with_answer(parentId=None), "message joined to the parent that names it among its children"),
        (with_answer(parentId="z"), "message joined to the parent that names it among its children"),
        (with_answer(content="a\0b"), "U+0000 or half of a surrogate pair left out"),
        (with_answer(content="a\ud800b"), "U+0000 or half of a surrogate pair left out"),
        ({**row(), "title": "x" * 1001}, "title cut to 1,000 characters"),
        ({**row(), "created_at": "yesterday"}, "time left out, which is none"),
        ({**row(), "updated_at": 10**40}, "time left out, which is none"),
    ],
)
def test_what_is_no_more_than_odd_is_put_right_and_said(given: Any, note: str) -> None:
    """A value that costs nobody a word refuses no chat."""
    chat = read(given)
    assert chat.notes == [note]
    answer = next(one for one in chat.messages if one.client_id == "a")
    assert answer.parent_id == next(one.message_id for one in chat.messages if one.client_id == "q")
    assert (answer.content, answer.fields.get("timestamp")) in [("so", None), ("so", 1_700_000_000), ("ab", None)]
    assert len(chat.title) <= 1000
    steps_of(chat)


def test_a_tree_that_only_its_children_lists_describe_is_read() -> None:
    messages = [{key: value for key, value in one.items() if key != "parentId"} for one in (QUESTION, ANSWER, OTHER)]
    chat = read(row(history=history(*messages)))
    assert [one.parent_id is None for one in chat.messages] == [True, False, False]
    assert chat.notes == []


def test_children_that_name_their_parents_as_their_children_lead_to_no_circle() -> None:
    chat = read(row(history=history({**QUESTION, "childrenIds": ["a"]}, {**ANSWER, "parentId": "q", "childrenIds": ["q"]})))
    assert [(one.client_id, one.parent_id is None) for one in chat.messages] == [("q", True), ("a", False)]
    steps_of(chat)


def test_an_empty_history_beside_a_full_list_is_read_from_the_list() -> None:
    chat = read(row(history={"messages": {}, "currentId": None}, messages=[{"role": "user", "content": "Hello"}]))
    assert [one.content for one in chat.messages] == ["Hello"]


@pytest.mark.parametrize(
    "message",
    [
        {"messageId": "1", "sender": "User", "text": "Hello", "isCreatedByUser": True},  # LibreChat
        {"uuid": "1", "sender": "human", "text": "Hello"},  # Claude
        {"author": {"role": "user"}, "parts": ["Hello"]},
    ],
)
def test_a_message_of_another_system_is_refused_and_not_emptied(message: Any) -> None:
    with pytest.raises(ImportRefused, match="expected content"):
        read({"title": "t", "messages": [message]})


def test_a_circle_is_refused() -> None:
    one, two = {**ANSWER, "parentId": "b"}, {**OTHER, "parentId": "a"}
    with pytest.raises(ImportRefused, match="circle"):
        steps_of(read(row(history=history(QUESTION, one, two))))


@pytest.mark.parametrize("indent", [None, 2])
def test_two_messages_of_one_id_are_refused(indent: int | None) -> None:
    text = json.dumps(row(), indent=indent).replace('"b": {', '"a": {')
    with pytest.raises(ImportRefused) as refused:
        decoded(text.encode(), "number 1")
    assert refused.value.key == "history.messages.a"
    decoded(json.dumps(row(), indent=indent).encode(), "number 1")


def test_what_is_no_json_is_refused_by_its_place() -> None:
    with pytest.raises(ImportRefused) as refused:
        decoded(b'{"id" 1}', "number 7, at byte 99")
    assert "number 7, at byte 99" in str(refused.value)


def test_a_lone_surrogate_is_found_later_by_its_key() -> None:
    given = decoded(json.dumps(row(title="\ud800")).encode(), "number 1")
    assert given["chat"]["title"] == "\ud800"
