"""What of a chat a model is sent, and what no provider takes."""

from typing import Any

import pytest

from commands.generation.context import as_said, is_only_a_question, sendable, with_branch, without_stored_keys

USER, SYSTEM = {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}
REFUSED = {"role": "assistant", "content": None, "refusal": "No."}
PIXEL = "data:image/png;base64,QQ=="
EMPTY = {"role": "assistant", "content": ""}


def calling(*ids: str, content: str | None = None) -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "7"}


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([USER, EMPTY, USER], [USER, USER]),
        ([USER, {"role": "assistant", "content": " \n"}, USER], [USER, USER]),
        ([USER, {"role": "assistant", "content": None}, USER], [USER, USER]),
        ([USER, {"role": "assistant", "content": "half an"}, USER], [USER, {"role": "assistant", "content": "half an"}, USER]),
        ([USER, calling("a"), USER], [USER, USER]),
        ([USER, calling("a", content="Let me see"), USER], [USER, {"role": "assistant", "content": "Let me see"}, USER]),
        ([USER, calling("a"), result("a"), USER], [USER, calling("a"), result("a"), USER]),
        ([USER, calling("a", "b"), result("a"), USER], [USER, calling("a"), result("a"), USER]),
        ([USER, calling("a"), result("a"), result("z")], [USER, calling("a"), result("a")]),
        ([USER, result("a"), USER], [USER, USER]),
        ([USER, calling("a"), USER, result("a")], [USER, USER]),
        (
            [USER, {"role": "assistant", "content": None, "refusal": "No."}],
            [USER, {"role": "assistant", "content": None, "refusal": "No."}],
        ),
        ([SYSTEM, USER], [SYSTEM, USER]),
    ],
)
def test_what_no_provider_takes_is_left_out(messages: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    assert sendable(messages) == sent


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": "Hi", "id": "1", "timestamp": 7, "usage": {}}, USER),
        ({"role": "assistant", "content": "", "state": "error", "error": {"content": "boom"}}, None),
        ({"role": "assistant", "content": "half an", "state": "error"}, {"role": "assistant", "content": "half an"}),
        ({"role": "assistant", "blocks": [{"type": "reasoning", "text": ["hm"]}]}, None),
        (
            {
                "role": "user",
                "content": "See",
                "files": [{"type": "image", "url": PIXEL}, {"type": "file", "id": "f"}],
            },
            {
                "role": "user",
                "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
            },
        ),
    ],
)
def test_of_a_stored_message_role_and_content_are_sent(message: dict[str, Any], said: dict[str, Any] | None) -> None:
    assert as_said(message) == said


def test_what_clients_keep_with_a_message_is_not_sent() -> None:
    kept = {"id": "1", "parentId": None, "childrenIds": [], "timestamp": 7, "models": ["m"], "usage": {}, "done": True}
    assert without_stored_keys([{**USER, **kept, "name": "Ada"}]) == [{**USER, "name": "Ada"}]


def test_a_question_alone_is_told_from_a_history() -> None:
    assert is_only_a_question([])
    assert is_only_a_question([SYSTEM])
    assert is_only_a_question([SYSTEM, USER])
    assert not is_only_a_question([USER, USER])
    assert not is_only_a_question([USER, {"role": "assistant", "content": "x"}])


def test_the_branch_stands_between_the_system_prompt_and_the_question() -> None:
    branch = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    assert with_branch([SYSTEM, USER], branch) == [SYSTEM, *branch, USER]
