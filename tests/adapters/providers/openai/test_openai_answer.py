"""The reader on its own: any bytes, cut anywhere."""

import json
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.providers.answers.text import PIECE_CHARS_MAX
from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Part, Reasoning, RefusalText, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed
from tests.adapters.providers.asking import STOP, text
from tests.adapters.providers.scripted import DONE, END, event, said

Outcome = tuple[list[Part], str | None]
EVENT_BYTES_MAX = 2_000


def read(*chunks: bytes) -> Outcome:
    """What a connection that brought these reads and then ended gives."""
    numbers = count(1)
    reader = OpenAIReader(event_bytes_max=EVENT_BYTES_MAX, new_call_id=lambda: f"call_{next(numbers)}")
    parts: list[Part] = []
    try:
        for data in chunks:
            parts += reader.feed(data)
            if reader.done or reader.failure is not None:
                break
        else:
            parts += reader.finish()
    except ProviderFailed as failure:
        return parts, failure.code
    return parts, None if reader.failure is None else reader.failure.code


def cut_at(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


FRAGMENTS = st.sampled_from(
    [
        said("plain"),
        said("größer 🦊 \u2028"),
        said("a\u0000b"),
        said("half \ud83e"),
        said("\udd8a rest"),
        said(reasoning_content="hm"),
        said(tool_calls=[{"id": "x", "function": {"name": "f", "arguments": {"a": 1}}}]),
        said(tool_calls=[{"function": {"arguments": "{}"}}]),
        said(finish_reason="length"),
        event({"choices": [], "usage": {"prompt_tokens": 1}}),
        said("crlf").replace(b"\n", b"\r\n"),
        said("cr").replace(b"\n", b"\r"),
        said("no space").replace(b"data: ", b"data:"),
        b": comment\n\n",
        b"event: ping\nid: 7\nretry: 10\n",
        b'data: {"choices":\ndata: [{"delta": {"content": "two lines"}}]}\n\n',
        b"data: {broken\n\n",
        b'data: {"choices": [{"delta": {"content": "\xff\xc3"}}]}\n\n',
        b"stray\n",
        b"\n",
        b"\r",
        b"data\n\n",
        b"data: ",
        b'{"error": "raw"}\n',
        b"event: error\n",
        DONE,
    ]
)
BODIES = st.one_of(st.lists(FRAGMENTS, max_size=12).map(b"".join), st.binary(max_size=200))
PLACES = st.lists(st.integers(0, 10_000), max_size=40)


@given(BODIES, PLACES)
def test_any_cutting_of_the_same_bytes_gives_the_same_parts(body: bytes, places: list[int]) -> None:
    assert read(*cut_at(body, places)) == read(body)


@given(st.lists(FRAGMENTS, max_size=8).map(b"".join))
def test_byte_by_byte_is_no_other_answer(body: bytes) -> None:
    assert read(*(body[at : at + 1] for at in range(len(body)))) == read(body)


@given(BODIES, PLACES)
def test_every_part_can_be_stored_and_every_end_has_a_name(body: bytes, places: list[int]) -> None:
    parts, failure = read(*cut_at(body, places))
    for part in parts:
        said_text = part.text if isinstance(part, Text | Reasoning) else part.arguments if isinstance(part, ToolCall) else ""
        assert "\0" not in said_text
        said_text.encode()
    if failure is None:
        assert parts[-1] == STOP or type(parts[-1]) is type(STOP)
    else:
        assert failure in ("provider_garbage", "provider_error", "provider_broke_off", "provider_empty")


@given(st.lists(st.text(min_size=1, max_size=30), max_size=20), PLACES, st.booleans())
def test_no_character_is_lost_or_changed(texts: list[str], places: list[int], escaped: bool) -> None:
    texts = [word for word in texts if "\0" not in word]
    assume(len(texts) < 2 or not texts[1].startswith(texts[0]))  # what repeats all before it may be no new text (test_flow.py)
    events = [json.dumps({"choices": [{"delta": {"content": word}}]}, ensure_ascii=escaped) for word in texts]
    body = b"".join(f"data: {one}\n\n".encode() for one in events) + END
    parts, failure = read(*cut_at(body, places))
    assert failure is None
    assert [part.text for part in parts if isinstance(part, Text)] == texts


def test_null_characters_and_lone_surrogates_are_stripped() -> None:
    parts, failure = read(said("a\0b"), said("\ud83e"), said("c"), said("d\udd8ae"), said("\0"), END)
    assert (parts, failure) == ([Text("ab"), Text("c"), Text("de"), STOP], None)


def test_a_surrogate_pair_that_was_cut_in_two_is_joined() -> None:
    assert read(said("x\ud83e"), said("\udd8ay"), END)[0] == [Text("x"), Text("🦊y"), STOP]


def test_broken_utf_8_is_replaced_and_not_dropped() -> None:
    assert read(b'data: {"choices": [{"delta": {"content": "a\xffb"}}]}\n\n', END)[0] == [Text("a\ufffdb"), STOP]


def test_a_byte_order_mark_is_no_text() -> None:
    assert read(b"\xef\xbb\xbf" + said("a") + END)[0] == [Text("a"), STOP]


def test_events_without_blank_lines_between_them_are_understood() -> None:
    assert read((said("a") + said("b") + END).replace(b"\n\n", b"\n"))[0] == [Text("a"), Text("b"), STOP]


def test_the_last_event_needs_no_blank_line() -> None:
    assert read(said("a") + b"data: [DONE]")[0] == [Text("a"), STOP]


def test_nothing_after_the_end_mark_counts() -> None:
    assert read(said("a") + END + said("b") + event({"error": "late"}))[0] == [Text("a"), STOP]


def test_an_empty_answer_with_an_end_is_an_answer() -> None:
    assert read(DONE) == ([STOP], None)


def test_an_empty_body_is_broken_off() -> None:
    assert read() == ([], "provider_broke_off")


def test_content_in_parts_is_text_and_reasoning() -> None:
    content: Any = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "so"}, "!"]
    assert read(said(content), END)[0] == [Reasoning("hm"), Text("so!"), STOP]


def test_a_refusal_is_no_content() -> None:
    assert read(said(refusal="I would "), said(refusal="rather not."), END)[0] == [
        RefusalText("I would "),
        RefusalText("rather not."),
        STOP,
    ]


def test_of_several_choices_one_is_read() -> None:
    both = event({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]})
    parts, _ = read(both, END)
    assert [part for part in parts if not isinstance(part, Skipped)] == [Text("a"), STOP]


def test_text_and_usage_in_the_same_chunk_both_count_and_the_last_usage_is_told_once() -> None:
    pieces = [event({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 1, "completion_tokens": n}}) for n in (1, 2)]
    parts, _ = read(*pieces, END)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert parts == [Text("a"), Text("a"), Usage(usage), STOP]


def test_the_timings_of_llama_cpp_are_usage() -> None:
    parts, _ = read(event({"choices": [], "timings": {"prompt_n": 4, "cache_n": 6, "predicted_n": 5}}), END)
    [usage] = [part.usage for part in parts if isinstance(part, Usage)]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (10, 5, 15)


def test_text_that_is_larger_than_an_event_may_be_is_cut() -> None:
    reader = OpenAIReader()
    parts = reader.feed(said("x" * (2 * PIECE_CHARS_MAX + 1)))
    assert [len(part.text) for part in parts if isinstance(part, Text)] == [PIECE_CHARS_MAX, PIECE_CHARS_MAX, 1]


def call(call_id: str | None = None, name: str | None = None, arguments: object = None, **more: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param(
            [call("a", "f", "{}"), call("b", "g", "[]")], [ToolCall(0, "{}", "a", "f"), ToolCall(1, "[]", "b", "g")], id="no index"
        ),
        pytest.param(
            [call("a", "f", "{}", index=0), call("b", "g", "[]", index=0)],
            [ToolCall(0, "{}", "a", "f"), ToolCall(1, "[]", "b", "g")],
            id="every index 0",
        ),
        pytest.param(
            [call("a", "f", "{", index=0), call("other", None, "}", index=0)],
            [ToolCall(0, "{", "a", "f"), ToolCall(0, "}")],
            id="another id with every piece",
        ),
        pytest.param(
            [call("a", "f", "{"), call(None, None, "}")], [ToolCall(0, "{", "a", "f"), ToolCall(0, "}")], id="pieces without index"
        ),
        pytest.param([call("a", "f", "{"), call("a", "f", "}")], [ToolCall(0, "{", "a", "f"), ToolCall(0, "}")], id="name repeated"),
        pytest.param([call(None, "f", "{}")], [ToolCall(0, "{}", "call_1", "f")], id="no id"),
        pytest.param([call("a", "f", {"x": "ü"})], [ToolCall(0, '{"x": "ü"}', "a", "f")], id="arguments as an object"),
        pytest.param([call("a", "f", "{}", index=3)], [ToolCall(0, "{}", "a", "f")], id="index with a gap"),
    ],
)
def test_tool_calls_are_told_apart(calls: list[dict[str, Any]], expected: list[Part]) -> None:
    parts, failure = read(*(said(tool_calls=[one]) for one in calls), said(finish_reason="tool_calls"))
    assert failure is None
    assert parts[:-1] == expected


def test_an_answer_that_ends_in_calls_without_saying_so_ends_in_calls() -> None:
    parts, _ = read(said(tool_calls=[call("a", "f", "{}")]), DONE)
    assert parts[-1] != STOP


def test_deeply_nested_json_is_skipped() -> None:
    deep = b"data: " + b"[" * 900 + b"]" * 900 + b"\n\n"
    parts, failure = read(said("a"), deep, END)
    assert failure is None
    assert text(parts) == "a"
