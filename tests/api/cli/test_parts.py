"""What the command line shows, from events to text: pure."""

import json
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import rich_click as click
from hypothesis import given, strategies

from api.cli.chat.answer_text import AnswerText, StyledPiece
from api.cli.chat.parallel_answers import ParallelAnswers
from api.cli.chat.replay import Pace, Point, play
from api.cli.chat.tail import json_of
from api.cli.chat.tail import line_of as tail_line
from api.cli.login import Failed
from api.cli.safe_text import safe, safe_json, safe_line
from api.cli.terminal import RECONNECTING, LineWrapper, Terminal
from stenograph_client import Event, State, User

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


def talked(*facts: tuple[str, str | None, dict[str, Any]]) -> tuple[AnswerText, list[tuple[str, str]]]:
    talk = AnswerText({A})
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


def test_a_continued_answer_goes_on_in_mid_sentence() -> None:
    _, pieces = talked(start(A), block(A, name="continued"), delta(A, "Hel"), block(A, 1), delta(A, "lo", 1), block(A, 2, "reasoning"))
    assert pieces == [("text", "Hel"), ("text", "lo")]


def test_another_answer_in_the_chat_is_not_shown() -> None:
    assert talked(start(B), block(B), delta(B, "No"), end(B))[1] == []


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("error", {"code": "provider_idle", "detail": "silent for 120 s"}, "provider_idle: silent for 120 s"),
        ("cancelled", {"by": None}, "stopped"),
        ("interrupted", {"node_id": "n"}, "What it had said is kept"),
    ],
)
def test_an_answer_that_breaks_off_says_why(kind: str, data: dict[str, Any], shown: str) -> None:
    talk, pieces = talked(start(A), block(A), delta(A, "Hel"), (kind, A, data))
    assert shown in pieces[-1][1]
    assert talk.outcome == kind


def test_what_the_continued_answer_had_said_is_not_said_again() -> None:
    facts = [start(A), block(A, name="continued"), delta(A, "Hel"), block(A, 1), delta(A, "lo", 1), end(A)]
    assert [text for style, text in talked(*facts)[1] if style == "text"] == ["Hel", "lo"]
    talk = AnswerText({A}, repeats=False)
    assert [(piece.style, piece.text) for event in happened(*facts) for piece in talk.feed(event)] == [("text", "lo")]
    assert talk.said == ["lo"]


@pytest.mark.parametrize(
    ("kind", "data", "is_cut_off"),
    [
        ("message_end", {"finish_reason": "stop"}, False),
        ("message_end", {"finish_reason": "length"}, True),
        ("interrupted", {}, True),
        ("cancelled", {}, True),
    ],
)
def test_what_ended_before_it_was_whole_can_be_continued(kind: str, data: dict[str, Any], is_cut_off: bool) -> None:
    assert talked(start(A), block(A), delta(A, "Hel"), (kind, A, data))[0].is_cut_off == is_cut_off


def test_the_note_goes_away_when_the_sentence_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Terminal(quiet=False)
    for piece in AnswerText({A}).feed(happened(delta(A, "The"))[0]):
        screen.show(piece)
    screen.connection(State(False, "gone", 1.0))
    screen.connection(State(False, "gone", 2.0))  # a second attempt adds nothing
    screen.connection(State(True))
    shown = capsys.readouterr().out
    assert shown.count(RECONNECTING.strip()) == 1
    assert shown.endswith(RECONNECTING + "\b" * len(RECONNECTING))  # and the code that clears the line, which click keeps for terminals


def test_words_are_not_broken_at_the_edge() -> None:
    wrap = LineWrapper(lambda: 10)
    assert "".join(wrap.of(piece) for piece in ["one", " two", " three", " fo", "ur", " 5678", " x"]) == "one two\nthree four\n5678 x"


def test_a_line_that_is_exactly_full_is_ended_before_the_next_word() -> None:
    wrap = LineWrapper(lambda: 10)
    assert "".join(wrap.of(piece) for piece in ["12345", " 7890", " next"]) == "12345 7890\nnext"


# -------------------------------------------------------------------------------------------------------------- replay


def written(*facts: tuple[str, str | None, dict[str, Any]]) -> str:
    answers = ParallelAnswers()
    return "".join(part.text for event in happened(*facts) for part in answers.feed(event)) + "".join(part.text for part in answers.rest())


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
        "edited Ann's message 00c3 (“Why? [image_url]”): How?",
        "deleted Ann's message 00c3 (“How?”); 1 below it moved up",
    ):
        assert said in text


def test_branches_are_shown_where_they_begin() -> None:
    other = "0190aaaa-0000-7000-8000-0000000000d4"
    text = written(
        ("message_added", Q, {"role": "user", "content": "Why?", "parent_id": None}),
        start(A),
        end(A),
        start(B, "other"),
        end(B),
        ("chat_branch_selected", A, {}),
        ("message_added", other, {"role": "user", "content": "And then?", "parent_id": A}),
    )
    assert "── other 00b2 answers, the 2nd below Ann's message 00c3 (“Why?”)\n" in text
    assert "── Ann turned to demo 00a1\n── Ann: And then?\n" in text


def test_a_replay_says_which_answer_is_continued_and_what_was_suggested() -> None:
    continuing = "message_start", B, {"parent_id": Q, "model": "other", "continues": A}
    suggested = "follow_ups", B, {"follow_ups": ["Why?", "When?"]}
    cut_off = start(A), block(A), delta(A, "Hel"), ("cancelled", A, {})
    text = written(*cut_off, continuing, block(B, name="continued"), delta(B, "Hel"), end(B), suggested)
    assert "other 00b2 answers" in text
    assert "going on from demo 00a1\n" in text
    assert "suggested: Why? / When?\n" in text


async def played(events: Sequence[Event], capsys: pytest.CaptureFixture[str], **points: Any) -> tuple[int, str]:
    async def given() -> AsyncIterator[Event]:
        for event in events:
            yield event

    shown = await play(given(), Pace(0, 0), **points)
    return shown, capsys.readouterr().out


TALK = (start(A), block(A), delta(A, "one "), delta(A, "two "), delta(A, "three"), end(A))


@pytest.mark.anyio
@pytest.mark.parametrize("until", [4, AT + timedelta(seconds=4), AT + timedelta(seconds=4.5)])
async def test_a_replay_ends_at_a_version_or_a_time(until: Point, capsys: pytest.CaptureFixture[str]) -> None:
    shown, text = await played(happened(*TALK), capsys, until=until)
    assert shown == 4
    assert "one two" in text
    assert "three" not in text


@pytest.mark.anyio
async def test_a_replay_shows_what_each_model_was_sent_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"parent_id": Q, "model": "demo", "payload_sha256": "ab", "payload": {"blob": "ab", "size_bytes": 30}}
    noted = {"parent_id": Q, "model": "demo", "payload_sha256": "cd"}
    events = happened(("message_start", A, kept), end(A), ("message_start", B, noted), end(B), start(Q), end(Q))
    _, text = await played(events, capsys, blobs={"ab": '{"model":"x\\u001b[2J"}'})
    assert "── it was sent this, with sha256 ab:\n{\n" in text
    assert "\x1b[2J" not in text
    assert "── it was sent a payload with sha256 cd, which was not kept\n" in text
    assert "── what it was sent is not noted, or hidden from you\n" in text
    assert "sent" not in (await played(events, capsys))[1]


@pytest.mark.anyio
@pytest.mark.parametrize("since", [4, AT + timedelta(seconds=4), AT + timedelta(seconds=3.5)])
async def test_a_replay_begins_at_a_version_or_a_time_and_says_who_is_writing(since: Point, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = await played(happened(*TALK), capsys, since=since)
    assert text == "── demo 00a1 is answering …\ntwo three\n── demo 00a1 has ended (stop, 1 tokens, 1.5 s)\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({"until": AT - timedelta(days=1)}, "The first event is version 1"),
        ({"since": 7}, "the last event is version 6"),
        ({"since": AT + timedelta(days=1)}, "the last event is version 6"),
        ({"since": 5, "until": 3}, "the last event is version 3"),
    ],
)
async def test_a_time_at_which_there_is_nothing_to_play(points: dict[str, Point], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failed) as failed:
        await played(happened(*TALK), capsys, **points)
    assert said in failed.value.message


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


# ------------------------------------------------------------------------------------------------------------ terminals

STEERING = "\x1b[2J\x1b]0;title\x07a\rb\x08c\x9b2Jd\x7fe\u202ef"
SHOWN = "␛[2J␛]0;title␇ab␈c<009b>2Jd␡e<202e>f"


def test_text_that_would_steer_a_terminal_shows_what_it_says() -> None:
    assert safe(STEERING) == SHOWN
    assert safe("a\tb\r\nc 👩\u200d🔬 é") == "a\tb\nc 👩\u200d🔬 é"
    assert safe_line("a\tb\r\nc\u2028d") == "a b c d"
    assert json.loads(safe_json(json.dumps(STEERING, ensure_ascii=False))) == STEERING


@given(strategies.text(), strategies.integers(0, 100))
def test_nothing_that_is_made_safe_steers(text: str, at: int) -> None:
    whole = safe(text)
    assert safe(whole) == whole
    assert safe(text[:at]) + safe(text[at:]) == whole
    assert all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in whole)


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("style", ["text", "reasoning", "tool", "note", "error"])
def test_an_answer_cannot_steer_the_terminal_that_it_is_shown_on(capsys: pytest.CaptureFixture[str], style: Any, quiet: bool) -> None:
    terminal = Terminal(quiet=quiet)
    for character in STEERING:
        terminal.show(StyledPiece(style, character))
    out, err = capsys.readouterr()
    assert not any(bad in out + err for bad in ("\x1b[2J", "\x1b]", "\x07", "\x08", "\x9b", "\u202e"))


@pytest.mark.anyio
async def test_a_replay_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    steering = {"role": "user", "content": STEERING, "parent_id": None}
    events = happened(
        ("chat_renamed", None, {"title": STEERING}), ("message_added", Q, steering), start(A, STEERING), block(A), delta(A, STEERING)
    )
    _, out = await played(events, capsys)
    assert SHOWN in out
    assert not any(bad in out for bad in ("\x1b[2J", "\x1b]", "\x07", "\x08", "\x9b", "\u202e"))


@pytest.mark.parametrize("line_of", [tail_line, json_of])
def test_a_line_of_tail_cannot_steer_the_terminal(line_of: Any) -> None:
    [event] = happened(("message_added", Q, {"role": "user", "content": STEERING}))
    line = click.unstyle(line_of(msgspec.structs.replace(event, user=User(ANN.id, STEERING, "user"))))
    assert not any(unicodedata.category(character) == "Cc" or character == "\u202e" for character in line)
