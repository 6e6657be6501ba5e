"""What the command line shows, from events to text: pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from api.commandline.lanes import Lanes
from api.commandline.place import Failed
from api.commandline.replay import Pace
from api.commandline.screen import RECONNECTING, Screen, Wrap
from api.commandline.tail import line_of as tail_line
from api.commandline.talk import Talk
from api.commandline.transfer import fold, line_of
from client import Event, State, User

AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
ANN = User("0190aaaa-0000-7000-8000-00000000000a", "Ann", "user")
A, B, Q = "0190aaaa-0000-7000-8000-0000000000a1", "0190aaaa-0000-7000-8000-0000000000b2", "0190aaaa-0000-7000-8000-0000000000c3"


def happened(*facts: tuple[str, str | None, dict[str, Any]]) -> list[Event]:
    return [
        Event("chat/c", "e", number, number, AT + timedelta(seconds=number), ANN, message_id, kind, data)
        for number, (kind, message_id, data) in enumerate(facts, 1)
    ]


def start(message_id: str, model: str = "demo") -> tuple[str, str, dict[str, Any]]:
    return "message_start", message_id, {"parent_id": Q, "model": model}


def block(message_id: str, index: int = 0, kind: str = "text", **more: Any) -> tuple[str, str, dict[str, Any]]:
    return "content_block", message_id, {"index": index, "type": kind, **more}


def delta(message_id: str, text: str, index: int = 0) -> tuple[str, str, dict[str, Any]]:
    return "message_delta", message_id, {"index": index, "text": text}


def end(message_id: str, content: str = "") -> tuple[str, str, dict[str, Any]]:
    return "message_end", message_id, {"content": content, "finish_reason": "stop", "deltas": 1, "timings": {"total_ms": 1500.0}}


def talked(*facts: tuple[str, str | None, dict[str, Any]]) -> tuple[Talk, list[tuple[str, str]]]:
    talk = Talk({A})
    return talk, [(piece.style, piece.text) for event in happened(*facts) for piece in talk.feed(event)]


# ---------------------------------------------------------------------------------------------------------------- chat


def test_an_answer_is_its_pieces() -> None:
    talk, pieces = talked(start(A), block(A), delta(A, "Hel"), delta(A, "lo"), end(A))
    assert pieces == [("text", "Hel"), ("text", "lo")]
    assert (talk.over, talk.outcome) == (True, "message_end")


def test_reasoning_and_tool_calls_look_different() -> None:
    _, pieces = talked(
        start(A),
        block(A, 0, "reasoning"),
        delta(A, "Hm"),
        block(A, 1, "tool_call", name="look_up"),
        delta(A, "{}", 1),
        block(A, 2),
        delta(A, "So", 2),
    )
    assert pieces == [("reasoning", "Hm"), ("note", "\n"), ("tool", "→ look_up "), ("tool", "{}"), ("note", "\n"), ("text", "So")]


def test_another_answer_in_the_chat_is_not_shown() -> None:
    assert talked(start(B), block(B), delta(B, "No"), end(B))[1] == []


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("error", {"code": "provider_idle", "detail": "silent for 120 s"}, "provider_idle: silent for 120 s"),
        ("cancelled", {"by": None}, "stopped"),
        ("interrupted", {"node_id": "n"}, "/retry asks again"),
    ],
)
def test_an_answer_that_breaks_off_says_why(kind: str, data: dict[str, Any], shown: str) -> None:
    talk, pieces = talked(start(A), block(A), delta(A, "Hel"), (kind, A, data))
    assert shown in pieces[-1][1]
    assert talk.outcome == kind


def test_the_note_goes_away_when_the_sentence_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=False)
    for piece in Talk({A}).feed(happened(delta(A, "The"))[0]):
        screen.show(piece)
    screen.connection(State(False, "gone", 1.0))
    screen.connection(State(False, "gone", 2.0))  # a second attempt adds nothing
    screen.connection(State(True))
    shown = capsys.readouterr().out
    assert shown.count(RECONNECTING.strip()) == 1
    assert shown.endswith(RECONNECTING + "\b" * len(RECONNECTING))  # and the code that clears the line, which click keeps for terminals


def test_words_are_not_broken_at_the_edge() -> None:
    wrap = Wrap(lambda: 10)
    assert "".join(wrap.of(piece) for piece in ["one", " two", " three", " fo", "ur", " 5678", " x"]) == "one two\nthree four\n5678 x"


def test_a_line_that_is_exactly_full_is_ended_before_the_next_word() -> None:
    wrap = Wrap(lambda: 10)
    assert "".join(wrap.of(piece) for piece in ["12345", " 7890", " next"]) == "12345 7890\nnext"


# -------------------------------------------------------------------------------------------------------------- replay


def written(*facts: tuple[str, str | None, dict[str, Any]]) -> str:
    lanes = Lanes()
    return "".join(part.text for event in happened(*facts) for part in lanes.feed(event)) + "".join(part.text for part in lanes.rest())


def test_one_answer_comes_token_by_token() -> None:
    text = written(start(A), block(A), delta(A, "Hel"), delta(A, "lo"), end(A))
    assert text == "── demo 00a1 answers\nHello\n── demo 00a1 has ended (stop, 1 tokens, 1.5 s)\n"


def test_two_answers_at_once_never_share_a_line() -> None:
    text = written(
        start(A), start(B, "other"), block(A), block(B), *[delta(one, f" {one[-2:]}{n}") for n in range(40) for one in (A, B)], end(A)
    )
    lines = [line for line in text.splitlines() if "│" in line]
    assert all(("a1" in line) != ("b2" in line) for line in lines)
    for mark, number in (("a1", 0), ("b2", 1)):
        said = " ".join(line.partition("│ ")[2].strip() for line in lines if line.startswith(f"{number} "))
        assert said.split() == [f"{mark}{n}" for n in range(40)]


def test_edits_deletes_and_ends_are_shown() -> None:
    text = written(
        ("chat_created", None, {"title": "T"}),
        ("message_added", Q, {"role": "user", "content": [{"type": "text", "text": "Why?"}, {"type": "image_url"}]}),
        start(A),
        ("cancelled", A, {"by": None}),
        ("message_edited", Q, {"fields": {"content": "How?"}}),
        ("message_deleted", Q, {}),
    )
    for said in (
        "Ann began “T”",
        "Ann: Why? [image_url]",
        "demo 00a1 was stopped",
        "edited Ann's message 00c3: How?",
        "deleted Ann's message 00c3",
    ):
        assert said in text


def test_the_pace_is_the_original_one() -> None:
    pace = Pace(1.0, 2.0)
    assert [pace.of(event) for event in happened(start(A), block(A), delta(A, "x"))] == [0, 1, 2]


def test_the_pace_can_be_faster_and_no_wait_is_longer_than_the_bound() -> None:
    first, second = happened(start(A), end(A))
    late = msgspec.structs.replace(second, at=first.at + timedelta(hours=1))
    faster, bounded, none = Pace(4.0, 1e9), Pace(1.0, 2.0), Pace(0.0, 2.0)
    assert [pace.of(event) for pace in (faster, bounded, none) for event in (first, late)] == [0, 900, 0, 2, 0, 0]


# ---------------------------------------------------------------------------------------------------------------- tail


def test_a_line_of_tail_says_who_and_what() -> None:
    line = tail_line(happened(("message_added", Q, {"parent_id": None, "role": "user", "content": "Hello"}))[0])
    assert "Ann" in line
    assert "message_added" in line
    assert 'role="user"  content="Hello"' in line


# ------------------------------------------------------------------------------------------------------ export, import


def exported(events: Sequence[Event]) -> list[bytes]:
    befores = [None, *(event.at for event in events)]
    return [msgspec.json.encode(line_of(event, before)) + b"\n" for event, before in zip(events, befores, strict=False)]


def test_an_export_holds_the_intervals() -> None:
    lines = [msgspec.json.decode(line) for line in exported(happened(start(A), end(A)))]
    assert [line["interval_s"] for line in lines] == [0.0, 1.0]


def test_a_chat_is_folded_to_what_it_was_at_the_end() -> None:
    imported = fold(
        exported(
            happened(
                ("chat_created", None, {"title": "Old", "owner_id": "u", "models": ["demo"]}),
                ("chat_renamed", None, {"title": "New"}),
                ("message_added", Q, {"parent_id": None, "role": "user", "content": "Why?", "mood": "curious"}),
                start(A),
                block(A),
                delta(A, "Bec"),
                ("interrupted", A, {"content": "Because", "node_id": "n"}),
                ("message_rated", A, {"rating": 1, "comment": "yes"}),
                start(B),
                ("message_edited", A, {"content": "Therefore"}),
                ("message_deleted", B, {}),
            )
        )
    )
    assert (imported.title, imported.keys, imported.current_id) == ("New", {"models": ["demo"]}, Q)
    question, answer = imported.kept()
    assert (question.content, question.fields) == ("Why?", {"mood": "curious"})
    assert (answer.role, answer.content, answer.rating, answer.parent_id) == ("assistant", "Therefore", (1, "yes"), Q)
    assert answer.fields["state"] == "interrupted"


def test_what_hung_below_a_deleted_message_hangs_below_the_next_one_up() -> None:
    imported = fold(
        exported(
            happened(
                ("message_added", Q, {"parent_id": None, "role": "user", "content": "1"}),
                ("message_added", A, {"parent_id": Q, "role": "assistant", "content": "2"}),
                ("message_added", B, {"parent_id": A, "role": "user", "content": "3"}),
                ("message_deleted", A, {}),
            )
        )
    )
    assert [imported.parent_of(message) for message in imported.kept()] == [None, Q]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "empty"),
        ([b"{}\n"], "Line 1 is not an event"),
        ([b"no json\n"], "Line 1 is not an event"),
        (exported(happened(start(A), end(A)))[1:], "expected version 1, found 2"),
    ],
)
def test_a_file_of_something_else_is_refused_in_words(lines: list[bytes], said: str) -> None:
    with pytest.raises(Failed) as failed:
        fold(lines)
    assert said in failed.value.message
