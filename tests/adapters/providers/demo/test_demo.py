import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.demo.demo import DemoProvider
from adapters.providers.demo.demo_text import answer_text, essay
from commands.providers.provider import Finish, ProviderRequest, Reasoning, Text, ToolCall, Usage
from domain.errors import ModelNotFound
from tests.adapters.providers.asking import STOP, ask, heard, heard_until_failure, reasoning, text

pytestmark = pytest.mark.anyio
AT_ONCE = DemoProvider(words_per_s=0, slow_start_s=0)


async def test_every_listed_model_answers_and_the_same_question_gets_the_same_answer() -> None:
    for model in await AT_ONCE.models():
        assert AT_ONCE.accepts(model.id)
        if model.id != "demo:fail":
            parts = await heard(AT_ONCE, ask(model.id, "Hello?"))
            assert parts == await heard(AT_ONCE, ask(model.id, "Hello?"))
            assert isinstance(parts[-2], Usage)
            assert isinstance(parts[-1], Finish)


@pytest.mark.parametrize("words", [1, 7, 1000, 2345])
async def test_a_number_is_a_number_of_words(words: int) -> None:
    parts = await heard(AT_ONCE, ask(f"demo:{words}"))
    assert len(text(parts).split()) == words
    [usage] = [part.usage for part in parts if isinstance(part, Usage)]
    assert usage["output_tokens"] == words


@given(st.integers(1, 500), st.text(max_size=20))
def test_an_essay_has_exactly_its_words(words: int, said: str) -> None:
    assert len(essay(words, [{"role": "user", "content": said}]).split()) == words


@pytest.mark.parametrize("model", ["demo:0", "demo:-5", "demo:1000000", "demo:100001", "demo:x", "other", "demo:"])
async def test_what_is_no_demo_is_not_found(model: str) -> None:
    assert not AT_ONCE.accepts(model)
    with pytest.raises(ModelNotFound):
        await heard(AT_ONCE, ask(model))


async def test_it_fails_in_mid_answer_when_asked_to() -> None:
    parts, failure = await heard_until_failure(AT_ONCE, ask("demo:fail", "Hello"))
    assert failure.code == "provider_error"
    whole = text(await heard(AT_ONCE, ask("demo", "Hello")))
    assert 0 < len(text(parts)) < len(whole)
    assert whole.startswith(text(parts))


async def test_reasoning_comes_before_the_answer() -> None:
    parts = await heard(AT_ONCE, ask("demo:reasoning"))
    kinds = [type(part) for part in parts]
    assert kinds == sorted(kinds, key=[Reasoning, Text, Usage, Finish].index)
    assert reasoning(parts)
    assert text(parts)


async def test_a_tool_is_called_and_its_result_is_answered() -> None:
    parts = await heard(AT_ONCE, ask("demo:tools", "the weather", tools=[{"type": "function", "function": {"name": "weather"}}]))
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert calls[0].name == "weather"
    assert calls[0].id
    assert "".join(call.arguments for call in calls) == '{"query": "the weather"}'
    assert parts[-1] == Finish("tool_calls")
    result = ProviderRequest(model="demo:tools", messages=[{"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"}])
    answered = await heard(AT_ONCE, result)
    assert "sunny" in text(answered)
    assert answered[-1] == STOP


async def test_a_bound_on_the_tokens_ends_the_answer_there() -> None:
    parts = await heard(AT_ONCE, ask("demo:100", max_tokens=5))
    assert len(text(parts).split()) == 5
    assert parts[-1] == Finish("length")


async def test_words_that_are_due_come_together_after_a_stall() -> None:
    async with aclosing(DemoProvider(words_per_s=200).stream(ask("demo:20"))) as answer:
        first = await anext(answer)
        await asyncio.sleep(0.2)  # the reader was away for all the time that the answer takes
        second = await anext(answer)
    assert len(first) + len(second) == 20


def test_it_remembers_what_was_said_before() -> None:
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    assert "your name is Ada" in answer_text(said)
    assert "My name is Ada." in answer_text(said)


@pytest.mark.parametrize(
    ("said", "heard_words"),
    [("Hello!", "demo model"), ("What is Stenograph?", "log"), ("help", "1."), ("I like rain.", "“I like rain.”"), ("", "nothing")],
)
def test_it_answers_sensibly(said: str, heard_words: str) -> None:
    assert heard_words in answer_text([{"role": "user", "content": said}])


@given(st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text() | st.none()})))
def test_it_has_an_answer_to_everything(messages: list[dict[str, str]]) -> None:
    assert answer_text(messages).strip()
