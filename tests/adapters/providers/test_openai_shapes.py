"""Answers as providers really give them: each kind with its smallest input."""

from typing import Any

import pytest

from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Audio, Extras, File, Finish, Logprobs, Part, Reasoning, RefusalText, Skipped, Source, Text, ToolCall
from domain.errors import ProviderFailed
from tests.adapters.providers.asking import reasoning, text
from tests.adapters.providers.scripted import DONE, END, event, said

ANSWER = "The answer is 42."
PIECES = ("The", " answer", " is 42.")
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def read(*chunks: bytes) -> tuple[list[Part], ProviderFailed | None]:
    reader = OpenAIReader(new_call_id=lambda: "call_new")
    parts: list[Part] = []
    for data in chunks:
        parts += reader.feed(data)
    if not reader.done and reader.failure is None:
        parts += reader.finish()
    return parts, reader.failure


def whole(finish_reason: str | None = "stop", **message: Any) -> bytes:
    return event({"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def choice(**keys: Any) -> bytes:
    return event({"choices": [{"index": 0, **keys}]})


def only(kind: type[Part], parts: list[Part]) -> list[Any]:
    return [part for part in parts if isinstance(part, kind)]


# ------------------------------------------------------------------------------------------------- whole messages and deltas


@pytest.mark.parametrize("last", [whole(content=ANSWER), whole(None, content=ANSWER), whole(content=ANSWER + "\n")])
def test_a_whole_message_after_its_pieces_says_nothing_twice(last: bytes) -> None:
    parts, failure = read(*map(said, PIECES), last, DONE)
    assert (text(parts).strip(), failure) == (ANSWER, None)


def test_the_whole_reasoning_after_its_pieces_is_not_said_twice() -> None:
    pieces = [said(reasoning_content=piece) for piece in ("Let me", " think")]
    parts, _ = read(*pieces, said("42"), whole(content="42", reasoning_content="Let me think"), DONE)
    assert (reasoning(parts), text(parts)) == ("Let me think", "42")


def test_a_whole_message_may_add_what_no_piece_said() -> None:
    parts, _ = read(said("The"), whole(content=ANSWER), DONE)
    assert text(parts) == ANSWER


def test_a_whole_message_with_other_words_is_named_and_left_out() -> None:
    parts, _ = read(said("One"), said(" thing"), whole(content="Another thing"), DONE)
    assert text(parts) == "One thing"
    assert only(Skipped, parts)


def test_a_last_piece_that_is_the_whole_text_is_not_said_twice() -> None:
    parts, _ = read(*map(said, PIECES), said(ANSWER, "stop"), DONE)
    assert text(parts) == ANSWER


@pytest.mark.parametrize("key", ["content", "reasoning_content"])
def test_pieces_that_hold_all_before_them_are_said_once(key: str) -> None:
    pieces = [said(**{key: piece}) for piece in ("The", "The answer", ANSWER, ANSWER)]
    parts, failure = read(*pieces, END)
    assert (text(parts) + reasoning(parts), failure) == (ANSWER, None)


def test_messages_instead_of_deltas_are_the_text_so_far() -> None:
    parts, failure = read(*(choice(message={"content": piece}) for piece in ("The", "The answer", ANSWER)), END)
    assert (text(parts), failure) == (ANSWER, None)


def test_a_whole_message_with_its_calls_calls_nothing_twice() -> None:
    piece = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"at":'}}
    full = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    parts, _ = read(said(tool_calls=[piece]), whole("tool_calls", content=None, tool_calls=[full]), DONE)
    assert parts == [ToolCall(0, '{"at":', "c1", "look"), ToolCall(0, " 1}"), Finish("tool_calls")]


# ------------------------------------------------------------------------------------------------------ parts of an answer


@pytest.mark.parametrize(
    "delta",
    [
        {"thinking": "hm"},
        {"reasoning": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"content": [{"type": "thinking", "thinking": "hm"}]},
    ],
)
def test_reasoning_has_many_names(delta: dict[str, Any]) -> None:
    parts, failure = read(said(**delta), said("so"), END)
    assert (parts, failure) == ([Reasoning("hm"), Text("so"), Finish("stop")], None)


def test_the_signature_of_a_thought_is_kept() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": "s1g"}
    parts, _ = read(said(reasoning_details=[detail]), said("so"), END)
    [extras] = only(Extras, parts)
    assert extras == Extras({"message": {"reasoning_details": [{"type": "reasoning.text", "signature": "s1g"}]}}, [])


def test_the_text_of_the_older_completions_is_text() -> None:
    assert read(choice(text="42"), choice(text="", finish_reason="stop"), DONE) == ([Text("42"), Finish("stop")], None)


def test_a_function_call_is_a_tool_call() -> None:
    pieces = [said(function_call={"name": "look", "arguments": ""}), said(function_call={"arguments": "{}"})]
    parts, _ = read(*pieces, said(finish_reason="function_call"), DONE)
    assert parts == [ToolCall(0, "{}", "call_new", "look"), Finish("tool_calls")]


@pytest.mark.parametrize(
    "delta",
    [
        {"images": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"images": [{"b64_json": "iVBORw0KGgo="}]},
    ],
)
def test_an_image_is_a_file_once(delta: dict[str, Any]) -> None:
    parts, failure = read(said(**delta), said(**delta), END)
    assert (parts, failure) == ([File({"type": "image", "url": PIXEL}), Finish("stop")], None)


@pytest.mark.parametrize(
    ("chunk", "source"),
    [
        (
            event({"citations": ["https://a"], "choices": [{"delta": {"content": "x"}}]}),
            {"source": {"name": "https://a", "url": "https://a"}},
        ),
        (
            event(
                {
                    "citations": ["https://a"],
                    "search_results": [{"title": "A", "url": "https://a"}],
                    "choices": [{"delta": {"content": "x"}}],
                }
            ),
            {"source": {"name": "A", "url": "https://a"}},
        ),
        (
            said(
                "x",
                annotations=[
                    {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 1}}
                ],
            ),
            {"source": {"name": "A", "url": "https://a"}, "metadata": [{"source": "https://a", "start_index": 0, "end_index": 1}]},
        ),
    ],
)
def test_a_citation_is_a_source_once(chunk: bytes, source: dict[str, Any]) -> None:
    parts, _ = read(chunk, chunk, END)
    assert only(Source, parts) == [Source(source)]


def test_audio_is_its_data_and_its_transcript() -> None:
    parts, _ = read(said(audio={"id": "a1", "transcript": "Hi"}), said(audio={"data": "AAAA"}), END)
    assert parts == [Text("Hi"), Audio("AAAA", "a1"), Finish("stop")]


def test_log_probabilities_follow_their_text() -> None:
    probabilities = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    parts, _ = read(choice(delta={"content": "a"}, logprobs=probabilities), END)
    assert parts == [Text("a"), Logprobs(probabilities), Finish("stop")]


def test_what_is_not_known_is_kept_and_named_once() -> None:
    chunk = event({"provider": "P", "choices": [{"delta": {"content": "x", "mood": "gl", "empty": None}, "stop_reason": 7}]})
    parts, failure = read(chunk, chunk, END)
    extras = Extras({"choice": {"stop_reason": 7}, "message": {"mood": "glgl"}, "chunk": {"provider": "P"}}, ["delta.mood"])
    assert ([part for part in parts if not isinstance(part, Text)], failure) == ([extras, Finish("stop")], None)


def test_what_is_not_known_is_kept_within_bounds() -> None:
    parts, _ = read(*(said("x", blob=letter * 30_000) for letter in "ab"), END)
    [extras] = only(Extras, parts)
    assert len(extras.fields["message"]["blob"]) == 30_000
    assert extras.unknown == ["delta.blob", "message.blob (too large to keep)"]


def test_an_answer_of_which_nothing_is_understood_fails_and_says_what_it_held() -> None:
    parts, failure = read(said(hologram={"x": 1}), said(content=None, smell="rose"), END)
    assert failure is not None
    assert failure.code == "provider_garbage"
    assert "delta.hologram, delta.smell" in str(failure)
    assert not only(Finish, parts)


# ---------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize("reason", ["error", "MALFORMED_FUNCTION_CALL", "network_error", "abort"])
@pytest.mark.parametrize("content", ["half an", None])
def test_an_end_that_is_an_error_is_a_failure(reason: str, content: str | None) -> None:
    parts, failure = read(said(content), said(finish_reason=reason), DONE)
    assert failure is not None
    assert (text(parts), failure.code) == (content or "", "provider_error")
    assert repr(reason) in str(failure)


def test_a_model_that_fails_behind_an_ordinary_end_is_a_failure() -> None:
    _, failure = read(choice(delta={"content": ""}, finish_reason="stop", native_finish_reason="MALFORMED_FUNCTION_CALL"), DONE)
    assert failure is not None
    assert "MALFORMED_FUNCTION_CALL" in str(failure)


@pytest.mark.parametrize(
    ("reason", "code"), [("content_filter", "provider_filtered"), ("SAFETY", "provider_filtered"), ("length", "provider_empty")]
)
def test_an_answer_that_was_cut_off_before_its_first_word_is_a_failure(reason: str, code: str) -> None:
    _, failure = read(said(""), said(finish_reason=reason), DONE)
    assert failure is not None
    assert failure.code == code


@pytest.mark.parametrize(
    ("reason", "classified"),
    [
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("end_turn", "stop"),
        ("tool_use", "tool_calls"),
    ],
)
def test_an_answer_that_was_cut_off_is_one_as_far_as_it_goes(reason: str, classified: str) -> None:
    assert read(said("half an"), said(finish_reason=reason), DONE) == ([Text("half an"), Finish(classified)], None)


def test_a_refusal_is_an_answer() -> None:
    assert read(said(refusal="No."), END) == ([RefusalText("No."), Finish("stop")], None)


# ---------------------------------------------------------------------------------------------------------- names of calls


def call(**keys: Any) -> bytes:
    return said(tool_calls=[{"index": 0, **keys}])


def test_a_name_that_comes_after_the_first_arguments_is_told_with_them() -> None:
    pieces = [call(id="c1"), call(function={"arguments": '{"at":'}), call(function={"name": "look", "arguments": " 1"})]
    parts, _ = read(*pieces, call(function={"arguments": "}"}), said(finish_reason="tool_calls"), DONE)
    assert parts == [
        ToolCall(0, '{"at":', "c1", "look"),
        ToolCall(0, " 1"),
        ToolCall(0, "}"),
        Finish("tool_calls"),
    ]


def test_an_id_that_comes_after_the_name_is_the_call_s() -> None:
    parts, _ = read(call(function={"name": "look"}), call(id="c1", function={"arguments": "{}"}), said(finish_reason="tool_calls"), DONE)
    assert parts == [ToolCall(0, "{}", "c1", "look"), Finish("tool_calls")]


def test_a_call_that_is_never_named_is_told_at_the_end_whatever_the_end_is() -> None:
    for end in (said(finish_reason="tool_calls") + DONE, event({"error": "boom"}), b""):
        parts, _ = read(call(id="c1", function={"arguments": "{}"}), end)
        assert only(ToolCall, parts) == [ToolCall(0, "{}", "c1", None)]
