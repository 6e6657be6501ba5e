"""The two forms that filters see, a body and a chunk: what goes in comes out, and what was changed is told exactly."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, strategies

from commands.filters.filtered_body import Seen, asked_by, replaced, request_body
from commands.filters.filtered_stream import ChunkForm, Said, parts_of
from commands.providers.provider import (
    Audio,
    Extras,
    File,
    Finish,
    Logprobs,
    Part,
    ProviderRequest,
    Reasoning,
    RefusalText,
    Skipped,
    Source,
    Text,
    ToolCall,
    Usage,
)
from tests.domain.histories import UNHURRIED

TEXTS = strategies.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text)
IDS = strategies.none() | strategies.just("id")
PARTS: strategies.SearchStrategy[Part] = strategies.one_of(
    strategies.builds(Text, TEXTS),
    strategies.builds(Reasoning, TEXTS),
    strategies.builds(RefusalText, TEXTS),
    strategies.builds(Audio, TEXTS, IDS),
    strategies.builds(ToolCall, index=strategies.integers(0, 2), arguments=TEXTS, id=IDS, name=IDS),
    strategies.just(File({"type": "image", "url": "data:,"})),
    strategies.just(Usage({"total_tokens": 1})),
    strategies.builds(Finish, strategies.just("length")),
    strategies.just(Skipped("x")),
    strategies.just(Source({"source": {"name": "x"}})),
    strategies.just(Extras({}, ())),
)
VALUES = strategies.integers(0, 3) | strategies.just(["x"])
MESSAGES = strategies.lists(
    strategies.fixed_dictionaries({"role": strategies.just("user"), "content": strategies.sampled_from(["a", "b", "c"])}), max_size=5
)
BODIES = strategies.builds(
    lambda keys, messages: {**keys, "model": "m", "messages": messages},
    strategies.dictionaries(strategies.sampled_from(["seed", "stop", "top_k"]), VALUES),
    MESSAGES,
)


@UNHURRIED
@given(strategies.lists(PARTS, max_size=8))
def test_chunks_say_the_parts_that_they_are_made_of(parts: Sequence[Part]) -> None:
    chunks = ChunkForm({"id": "1"}).chunks(parts)
    assert [part for _, said in chunks for part in said] == list(parts)
    for chunk, said in chunks:
        assert chunk is None or parts_of(chunk) == said


def test_log_probabilities_stand_in_the_chunk_of_their_text() -> None:
    ((chunk, said),) = ChunkForm({}).chunks([Text("a"), Logprobs({"content": [1]})])
    assert chunk is not None
    assert parts_of(chunk) == said == [Text("a"), Logprobs({"content": [1]})]


def test_of_a_chunk_that_is_none_nothing_is_said() -> None:
    odd: list[dict[str, Any]] = [
        {"choices": None},
        {"choices": [1]},
        {"choices": [{"delta": "x", "finish_reason": 1}]},
        {"choices": [{"delta": {"content": 3, "tool_calls": [{"index": "0"}, 7], "images": [{}], "audio": "x"}}], "usage": 5},
    ]
    assert [parts_of(chunk) for chunk in odd] == [[], [], [], []]


def test_blocks_are_told_as_the_answers_own() -> None:
    said = Said()
    said.add(
        [Reasoning("a"), Reasoning("b"), Text("c"), ToolCall(0, "{", "i", "n"), ToolCall(1, "", None, "m"), ToolCall(0, "}"), Text("d")]
    )
    assert said.encoded() == (
        b'[{"type":"reasoning","text":"ab"},{"type":"text","text":"c"},{"type":"tool_call","name":"n","id":"i","text":"{}"},'
        b'{"type":"tool_call","name":"m","id":null,"text":""},{"type":"text","text":"d"}]'
    )


@UNHURRIED
@given(BODIES, BODIES)
def test_what_was_replaced_puts_the_body_together_again(before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = replaced(Seen(before), Seen(after))
    made = {**after, **kept}
    if "messages" in kept:
        start, was = kept["messages_from"], kept["messages"]
        end = len(after["messages"]) - (len(before["messages"]) - start - len(was))
        made["messages"] = [*after["messages"][:start], *was, *after["messages"][end:]]
    made.pop("messages_from", None)
    assert {name: value for name, value in made.items() if value is not None} == before
    assert (kept == {}) == (before == after)


def test_equal_bodies_have_one_sum_whatever_the_order_of_their_keys_and_their_metadata() -> None:
    one = {"model": "m", "messages": [{"role": "user", "content": "x"}], "metadata": {"a": 1}}
    assert Seen(one).sha256 == Seen(dict(reversed(one.items())) | {"metadata": None}).sha256


def test_a_request_that_no_filter_changes_is_the_same_again() -> None:
    ask = ProviderRequest(
        model="up",
        messages=[{"role": "user", "content": "x"}],
        params={"seed": 1, "metadata": {"own": 1}, "temperature": 0},
        options={"temperature": 1, "num_ctx": 5},
    )
    body = request_body(ask, "public", {"files": [1]}, {"chat_id": "c"})
    assert body["metadata"] == {"own": 1, "chat_id": "c"}
    assert (body["model"], body["temperature"], body["stream"]) == ("public", 0, True)
    again = asked_by(body, ask, {"files": [1]})
    assert (again.model, again.messages, again.params) == (ask.model, ask.messages, ask.params)
    assert again.options == {"num_ctx": 5}, "what the params say counts above them"
    body["messages"][0]["content"] = "changed"
    assert ask.messages[0]["content"] == "x"
