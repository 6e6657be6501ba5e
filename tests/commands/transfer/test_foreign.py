"""Exports of other systems: what was said is kept, whole, in its tree, with its times and models, and nothing else is taken for it."""

from typing import Any

import pytest

from commands.transfer.foreign import recognised
from commands.transfer.open_webui import whole_chat
from domain.chat.whole_chat import WholeChat, steps_of
from tests.commands.transfer.test_open_webui import row
from tests.domain.histories import OWNER

CHATGPT = {
    "conversation_id": "c1",
    "title": "Cats",
    "create_time": 1700000000.5,
    "update_time": 1700000100.0,
    "current_node": "a2",
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["s"]},
        "s": {
            "id": "s",
            "message": {"author": {"role": "system"}, "content": {"content_type": "text", "parts": [""]}},
            "parent": "root",
            "children": ["q"],
        },
        "q": {
            "id": "q",
            "message": {
                "author": {"role": "user"},
                "create_time": 1700000001,
                "content": {
                    "content_type": "multimodal_text",
                    "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1"}, "What is this?"],
                },
            },
            "parent": "s",
            "children": ["call", "a2"],
        },
        "call": {
            "id": "call",
            "message": {
                "author": {"role": "assistant"},
                "recipient": "browser",
                "content": {"content_type": "code", "text": "search(cat)"},
            },
            "parent": "q",
            "children": ["tool"],
        },
        "tool": {
            "id": "tool",
            "message": {"author": {"role": "tool"}, "content": {"content_type": "text", "parts": ["found"]}},
            "parent": "call",
            "children": ["a1"],
        },
        "a1": {
            "id": "a1",
            "message": {
                "author": {"role": "assistant"},
                "recipient": "all",
                "content": {"content_type": "text", "parts": ["A ", "cat."]},
                "metadata": {"model_slug": "gpt-4o"},
            },
            "parent": "tool",
            "children": [],
        },
        "a2": {
            "id": "a2",
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": ["A dog."]},
                "metadata": {"model_slug": "o3"},
            },
            "parent": "q",
            "children": [],
        },
    },
}
CLAUDE = {
    "uuid": "c1",
    "name": "Cats",
    "created_at": "2023-11-14T22:13:20.500000Z",
    "updated_at": "2023-11-14T22:15:00Z",
    "account": {"uuid": "u"},
    "chat_messages": [
        {
            "uuid": "q",
            "sender": "human",
            "text": "What is this?",
            "content": [{"type": "text", "text": "What is this?"}],
            "created_at": "2023-11-14T22:13:21Z",
            "attachments": [{"file_name": "notes.txt", "extracted_content": "a"}],
            "files": [{"file_name": "cat.png"}],
        },
        {
            "uuid": "a1",
            "sender": "assistant",
            "text": "(placeholder)",
            "created_at": "2023-11-14T22:13:22Z",
            "parent_message_uuid": "q",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A cat."}, {"type": "tool_use", "name": "x"}],
        },
        {
            "uuid": "a2",
            "sender": "assistant",
            "text": "A dog.",
            "created_at": "2023-11-14T22:13:23Z",
            "parent_message_uuid": "q",
            "content": [],
        },
    ],
}
LIBRECHAT = {
    "conversationId": "c1",
    "title": "Cats",
    "exportAt": "22:15:00 GMT+0000",
    "options": {"model": "gpt-4o"},
    "messages": [
        {
            "messageId": "q",
            "parentMessageId": "00000000-0000-0000-0000-000000000000",
            "isCreatedByUser": True,
            "sender": "User",
            "text": "What is this?",
            "createdAt": "2023-11-14T22:13:21.000Z",
        },
        {
            "messageId": "a1",
            "parentMessageId": "q",
            "isCreatedByUser": False,
            "sender": "GPT",
            "model": "gpt-4o",
            "text": "",
            "content": [{"type": "think", "think": "hm"}, {"type": "text", "text": {"value": "A cat."}}],
        },
        {"messageId": "a2", "parentMessageId": "q", "isCreatedByUser": False, "sender": "o3", "model": "o3", "text": "A dog."},
    ],
}
QWEN = {
    "id": "c1",
    "title": "Cats",
    "chat": {
        "history": {
            "currentId": "a2",
            "messages": {
                "q": {
                    "id": "q",
                    "parentId": None,
                    "childrenIds": ["a1", "a2"],
                    "role": "user",
                    "content": "What is this?",
                    "timestamp": 1700000001,
                },
                "a1": {
                    "id": "a1",
                    "parentId": "q",
                    "childrenIds": [],
                    "role": "assistant",
                    "content": "",
                    "model": "qwen3",
                    "content_list": [{"phase": "think", "content": "hm"}, {"phase": "answer", "content": "A cat."}],
                },
                "a2": {"id": "a2", "parentId": "q", "childrenIds": [], "role": "assistant", "content": "A dog.", "model": "qwen3"},
            },
        }
    },
}
EXPORTS = {"chatgpt": CHATGPT, "claude": CLAUDE, "librechat": LIBRECHAT, "qwen": QWEN}


def read(export: Any) -> WholeChat:
    source, known = recognised(export)
    return whole_chat(known, OWNER, name="number 1", source=source)


def tree(chat: WholeChat) -> list[tuple[Any, ...]]:
    names = {one.message_id: one.client_id for one in chat.messages}
    return [(one.client_id, names.get(one.parent_id) if one.parent_id else None, one.role, one.content) for one in chat.messages]


@pytest.mark.parametrize("source", EXPORTS)
def test_what_was_said_is_kept_in_its_tree(source: str) -> None:
    chat = read(EXPORTS[source])
    assert (chat.origin.source, chat.origin.source_id, chat.title) == (source, "c1", "Cats")
    assert tree(chat) == [
        ("q", None, "user", "What is this?"),
        ("a1", "q", "assistant", "A \ncat." if source == "chatgpt" else "A cat."),
        ("a2", "q", "assistant", "A dog."),
    ]
    assert chat.current_id == chat.messages[-1].message_id
    assert chat.messages[0].fields["timestamp"] == 1700000001
    assert steps_of(chat) == steps_of(read(EXPORTS[source])), "the same each time"


@pytest.mark.parametrize(
    ("source", "models"), [("chatgpt", ["gpt-4o", "o3"]), ("librechat", ["gpt-4o", "o3"]), ("qwen", ["qwen3", "qwen3"])]
)
def test_each_answer_names_its_model(source: str, models: list[str]) -> None:
    assert [one.fields["model"] for one in read(EXPORTS[source]).messages[1:]] == models


def test_files_are_kept_by_name() -> None:
    assert [one["name"] for one in read(CHATGPT).messages[0].fields["files"]] == ["file-1"]
    assert [one["name"] for one in read(CLAUDE).messages[0].fields["files"]] == ["notes.txt", "cat.png"]


def test_what_nobody_was_shown_is_kept_beside_the_chat() -> None:
    hidden = read(CHATGPT).fields["original"]["hidden_messages"]
    assert [one["author"]["role"] for one in hidden] == ["system", "assistant", "tool"]
    assert read(CLAUDE).messages[1].fields["original"]["content"][0] == {"type": "thinking", "thinking": "hm"}


def test_what_an_answer_hangs_on_that_is_hidden_hangs_on_what_is_shown_above() -> None:
    circle = {**CHATGPT, "mapping": {**CHATGPT["mapping"], "call": {"parent": "tool", "message": None}}}  # type: ignore[dict-item]
    assert ("a1", None, "assistant", "A \ncat.") in tree(read(circle))


def test_librechats_tree_of_children_is_read_as_its_list() -> None:
    question, one, two = LIBRECHAT["messages"]  # type: ignore[misc]
    nested = {**LIBRECHAT, "messages": [{**question, "children": [{**one, "children": []}, two]}]}  # type: ignore[dict-item]
    assert tree(read(nested)) == tree(read(LIBRECHAT))


def test_one_of_open_webui_is_left_as_it_is() -> None:
    assert recognised(row()) == ("open-webui", row())


@pytest.mark.parametrize(
    "export",
    [
        {"mapping": {}},
        {"mapping": {"a": None, "b": {"message": {"author": 5}}}},
        {"mapping": {"a": {"message": {"author": {"role": "user"}, "content": 5}}}},
        {"chat_messages": []},
        {"chat_messages": [{"sender": "human"}], "uuid": "x"},
        {"conversationId": "x", "messages": []},
        {"conversationId": "x", "messages": [5, {"text": 7}]},
    ],
)
def test_odd_ones_are_empty_and_no_tracebacks(export: Any) -> None:
    assert all(one.content == "" for one in read(export).messages)
