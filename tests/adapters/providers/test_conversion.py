"""What goes in comes out: questions on their way to Ollama, and the same answer by either protocol, however it was cut."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.ollama.ollama import request_of
from adapters.providers.ollama.ollama_answer import OllamaReader
from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Finish, Part, ProviderRequest, Reasoning, Text, ToolCall, Usage
from tests.adapters.providers.scripted import DONE, event, said
from tests.domain.histories import UNHURRIED

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
ARGUMENTS = st.dictionaries(TEXTS, st.recursive(TEXTS | st.integers() | st.booleans() | st.none(), st.lists, max_leaves=4), max_size=3)
BASE64 = st.text("ABCDabcd0189+/", min_size=4, max_size=12)

# ------------------------------------------------------------------------------------------------------------- questions

TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
IMAGE_PARTS = st.builds(lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}, BASE64)
CALLS = st.builds(
    lambda call_id, name, arguments: {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}},
    NAMES,
    NAMES,
    ARGUMENTS,
)
MESSAGES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(TEXT_PARTS | IMAGE_PARTS, max_size=4)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS, "reasoning_content": TEXTS.filter(bool)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none(), "tool_calls": st.lists(CALLS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"role": st.just("tool"), "content": TEXTS, "tool_call_id": NAMES}),
)


def back(message: dict[str, Any]) -> dict[str, Any]:
    """An Ollama message as what it says, in OpenAI's form."""
    calls = [
        {"id": call["id"], "type": "function", "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {
        "role": message["role"],
        "text": message["content"],
        "images": message.get("images", []),
        "thought": message.get("thinking"),
        "calls": calls,
        "answers": message.get("tool_call_id"),
    }


def meant(message: dict[str, Any]) -> dict[str, Any]:
    """The same of an OpenAI message."""
    content = message["content"]
    parts = content if isinstance(content, list) else []
    text = "".join(part["text"] for part in parts if part["type"] == "text").strip() if isinstance(content, list) else content or ""
    return {
        "role": message["role"],
        "text": text,
        "images": [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"],
        "thought": message.get("reasoning_content"),
        "calls": message.get("tool_calls", []),
        "answers": message.get("tool_call_id"),
    }


@given(st.lists(MESSAGES, max_size=6))
def test_every_message_says_to_ollama_what_it_said(messages: list[dict[str, Any]]) -> None:
    sent = request_of(ProviderRequest(model="m", messages=messages))["messages"]
    assert [back(message) for message in sent] == [meant(message) for message in messages]


@given(st.lists(MESSAGES, max_size=4), ARGUMENTS)
def test_what_is_sent_is_json_and_the_question_stays_as_it_was(messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    before = json.dumps([messages, options])
    sent = request_of(ProviderRequest(model="m", messages=messages, params={"options": options, "stop": "x"}))
    json.dumps(sent)
    assert json.dumps([messages, options]) == before


# --------------------------------------------------------------------------------------------------------------- answers

STEPS = st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), TEXTS) | st.tuples(st.just("call"), NAMES, ARGUMENTS), max_size=8)
Step = Any


def numbered(steps: Sequence[Step]) -> list[Step]:
    """Each piece begins as no other, so that none looks like all before it once more."""
    return [(kind, f"{place}|{text}", *more) if kind != "call" else (kind, text, *more) for place, (kind, text, *more) in enumerate(steps)]


def as_ollama(steps: Sequence[Step]) -> bytes:
    lines: list[dict[str, Any]] = []
    for step in steps:
        match step:
            case ("text", text):
                lines.append({"message": {"role": "assistant", "content": text}, "done": False})
            case ("reasoning", text):
                lines.append({"message": {"role": "assistant", "content": "", "thinking": text}, "done": False})
            case ("call", name, arguments):
                call = {"function": {"name": name, "arguments": arguments}}
                lines.append({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False})
    counts = {"prompt_eval_count": 3, "eval_count": 4}
    lines.append({"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **counts})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def as_openai(steps: Sequence[Step], spelling: str) -> bytes:
    events: list[bytes] = []
    calls = 0
    for step in steps:
        match step:
            case ("text", text):
                events.append(said(text))
            case ("reasoning", text) if spelling == "reasoning_details":
                events.append(said(reasoning_details=[{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}]))
            case ("reasoning", text):
                events.append(said(**{spelling: text}))
            case ("call", name, arguments):
                function = {"name": name, "arguments": ""}
                events.append(said(tool_calls=[{"index": calls, "id": f"call_{calls}", "type": "function", "function": function}]))
                whole = json.dumps(arguments, ensure_ascii=False)
                for piece in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
                    events.append(said(tool_calls=[{"index": calls, "function": {"arguments": piece}}]))
                calls += 1
    events += [said(finish_reason="tool_calls" if calls else "stop"), event({"choices": [], "usage": USAGE}), DONE]
    return b"".join(events)


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def read(reader: OllamaReader | OpenAIReader, body: bytes, places: Sequence[int]) -> list[Part]:
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    parts: list[Part] = []
    for start, end in pairwise(edges):
        parts += reader.feed(body[start:end])
    if not reader.done:
        parts += reader.finish()
    assert reader.failure is None, reader.failure
    return parts


def summary(parts: Sequence[Part]) -> dict[str, Any]:
    """What an answer said: texts and reasoning in their order, calls with their arguments, the end, the counts."""
    flow: list[list[str]] = []
    calls: dict[int, list[str]] = {}
    usage: dict[str, Any] = {}
    for part in parts:
        match part:
            case Text(text) | Reasoning(text):
                kind = type(part).__name__
                if flow and flow[-1][0] == kind:
                    flow[-1][1] += text
                else:
                    flow.append([kind, text])
            case ToolCall():
                call = calls.setdefault(part.index, [part.name or "", ""])
                call[1] += part.arguments
                if part.name:  # its first piece
                    flow.append(["call", str(part.index)])
            case Usage():
                usage = {name: part.usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")}
            case _:
                pass
    arguments = {index: (name, json.loads(text or "{}")) for index, (name, text) in calls.items()}
    return {"flow": flow, "calls": arguments, "end": parts[-1], "usage": usage}


def expected(steps: Sequence[Step]) -> dict[str, Any]:
    parts: list[Part] = []
    for step in steps:
        match step:
            case ("text", text):
                parts.append(Text(text))
            case ("reasoning", text):
                parts.append(Reasoning(text))
            case ("call", name, arguments):
                index = sum(isinstance(part, ToolCall) for part in parts)
                parts.append(ToolCall(index, json.dumps(arguments), f"call_{index}", name))
    usage = Usage({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
    return summary([*parts, usage, Finish("tool_calls" if any(step[0] == "call" for step in steps) else "stop")])


@UNHURRIED
@given(STEPS.map(numbered), st.lists(st.integers(0, 5_000), max_size=20))
def test_an_answer_of_ollama_is_what_it_said(steps: list[Step], places: list[int]) -> None:
    assert summary(read(OllamaReader(), as_ollama(steps), places)) == expected(steps)


@pytest.mark.parametrize("spelling", ["reasoning_content", "reasoning", "thinking", "reasoning_details"])
@UNHURRIED
@given(steps=STEPS.map(numbered), places=st.lists(st.integers(0, 5_000), max_size=20))
def test_an_answer_of_openai_is_what_it_said_however_it_spells_reasoning(spelling: str, steps: list[Step], places: list[int]) -> None:
    assert summary(read(OpenAIReader(), as_openai(steps, spelling), places)) == expected(steps)
