import asyncio
import json
from itertools import count, pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.http.http import Patience
from adapters.providers.ollama.ollama import OllamaProvider, request_of
from adapters.providers.ollama.ollama_answer import OllamaReader
from commands.providers.provider import Extras, File, Finish, Part, ProviderRequest, Reasoning, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed
from tests.adapters.providers.asking import STOP, ask, closed_port, heard, heard_until_failure, text
from tests.adapters.providers.scripted import NDJSON_HEAD, Peer, answering, chunk, serving, whole


def line(content: str = "", *, done: bool = False, **more: Any) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    message |= {key: more.pop(key) for key in ("thinking", "tool_calls", "images", "mood", "smell") if key in more}
    return json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done, **more}).encode() + b"\n"


COUNTS: dict[str, Any] = {
    "total_duration": 3_725_000_000_000,
    "load_duration": 5,
    "prompt_eval_count": 10,
    "prompt_eval_duration": 3_000_000_000,
    "eval_count": 7,
    "eval_duration": 0,
}
END = line(done=True, done_reason="stop", **COUNTS)


@pytest.mark.anyio
async def test_an_answer_streams_with_its_thinking_and_its_counts(client: httpx.AsyncClient) -> None:
    async with serving(answering(line(thinking="hm"), line("Hel"), line("lo"), END, head=NDJSON_HEAD)) as server:
        *parts, usage, finish = await heard(OllamaProvider(client, server.url))
    assert parts == [Reasoning("hm"), Text("Hel"), Text("lo")]
    assert finish == STOP
    assert isinstance(usage, Usage)
    assert usage.usage == {
        "input_tokens": 10,
        "output_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "response_token/s": "N/A",
        "prompt_token/s": 3.33,
        "total_duration": 3_725_000_000_000,
        "load_duration": 5,
        "prompt_eval_count": 10,
        "prompt_eval_duration": 3_000_000_000,
        "eval_count": 7,
        "eval_duration": 0,
        "approximate_total": "1h2m5s",
        "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


@pytest.mark.anyio
async def test_tool_calls_get_an_index_an_id_and_their_arguments_as_text(client: httpx.AsyncClient) -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": "ü"}}}, {"id": "mine", "function": {"name": "g", "arguments": {}}}]
    async with serving(answering(line(tool_calls=calls), END, head=NDJSON_HEAD)) as server:
        first, second, _, finish = await heard(OllamaProvider(client, server.url))
    assert isinstance(first, ToolCall)
    assert (first.index, first.arguments, first.name) == (0, '{"a": "ü"}', "f")
    assert first.id is not None
    assert first.id.startswith("call_")
    assert second == ToolCall(1, "{}", "mine", "g")
    assert finish == Finish("tool_calls")


@pytest.mark.anyio
async def test_an_error_in_mid_stream_is_the_failure(client: httpx.AsyncClient) -> None:
    async with serving(answering(line("a"), b'{"error": "out of memory"}\n', head=NDJSON_HEAD)) as server:
        parts, failure = await heard_until_failure(OllamaProvider(client, server.url))
    assert (parts, failure.code, str(failure)) == ([Text("a")], "provider_error", "out of memory")


@pytest.mark.anyio
async def test_a_refusal_gives_its_status_and_its_words(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(b'{"error": "model \'m\' not found"}', "404 Not Found"))

    async with serving(script) as server:
        _, failure = await heard_until_failure(OllamaProvider(client, server.url))
    assert (failure.code, str(failure)) == ("provider_status", "HTTP 404: model 'm' not found")


@pytest.mark.anyio
async def test_an_answer_without_its_last_line_is_broken_off(client: httpx.AsyncClient) -> None:
    async with serving(answering(line("half"), head=NDJSON_HEAD)) as server:
        parts, failure = await heard_until_failure(OllamaProvider(client, server.url))
    assert (parts, failure.code) == ([Text("half")], "provider_broke_off")


@pytest.mark.anyio
async def test_malformed_lines_are_skipped_and_nothing_else_is_garbage(client: httpx.AsyncClient) -> None:
    async with serving(answering(line("a"), b"oops\n", b"[1]\n", b"{}\n", line("b"), END, head=NDJSON_HEAD)) as server:
        parts = await heard(OllamaProvider(client, server.url))
    assert text(parts) == "ab"
    assert sum(isinstance(part, Skipped) for part in parts) == 3
    async with serving(answering(b"<html>\n", head=NDJSON_HEAD)) as server:
        _, failure = await heard_until_failure(OllamaProvider(client, server.url))
    assert failure.code == "provider_garbage"


@pytest.mark.anyio
async def test_silence_is_idle_and_a_closed_port_is_unreachable(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(NDJSON_HEAD, chunk(line("a")))
        await peer.left()

    async with serving(script) as server:
        parts, failure = await heard_until_failure(OllamaProvider(client, server.url, patience=Patience(first_token_s=0.2, idle_s=0.2)))
        assert (parts, failure.code) == ([Text("a")], "provider_idle")
        await asyncio.wait_for(server.left.wait(), 60)
    _, failure = await heard_until_failure(OllamaProvider(client, closed_port()))
    assert failure.code == "provider_unreachable"


@pytest.mark.anyio
async def test_the_models_are_the_tags(client: httpx.AsyncClient) -> None:
    tags = {"models": [{"name": "Llama", "model": "llama3:8b", "modified_at": "2024-05-04T17:37:44.706015396-07:00", "size": 1}, {"x": 1}]}

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(json.dumps(tags).encode()))

    async with serving(script) as server:
        [model] = await OllamaProvider(client, server.url + "/").models()
    assert (model.id, model.name, model.owned_by, model.created) == ("llama3:8b", "Llama", "ollama", 1_714_869_464)
    assert server.asked[0].path == "/api/tags"


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"<html>", b'{"models":' * 100_000], ids=["no JSON", "nested too deeply"])
async def test_a_list_of_models_that_cannot_be_read_is_a_failure(client: httpx.AsyncClient, body: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(body))

    async with serving(script) as server:
        with pytest.raises(ProviderFailed) as failed:
            await OllamaProvider(client, server.url).models()
    assert failed.value.code == "provider_garbage"


@pytest.mark.anyio
async def test_the_request_goes_to_the_chat_route(client: httpx.AsyncClient) -> None:
    async with serving(answering(END, head=NDJSON_HEAD)) as server:
        await heard(OllamaProvider(client, server.url, "key"), ask("m", "Hi"))
    assert server.asked[0].path == "/api/chat"
    assert server.asked[0].headers["authorization"] == "Bearer key"
    assert server.asked[0].json == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@pytest.mark.parametrize(
    ("params", "request_part"),
    [
        ({"tools": [1], "metadata": {"a": 1}}, {"tools": [1], "metadata": {"a": 1}}),
        ({"max_tokens": 5, "stop": ["x"]}, {"options": {"num_predict": 5, "stop": ["x"]}}),
        ({"options": {"max_tokens": 5, "top_k": 3, "system": "be kind"}}, {"options": {"num_predict": 5, "top_k": 3}, "system": "be kind"}),
        ({"options": {"format": '{"type": "object"}', "keep_alive": "300"}}, {"format": {"type": "object"}, "keep_alive": 300}),
        ({"options": {"keep_alive": "5m", "think": 1}}, {"keep_alive": "5m", "think": True}),
        ({"keep_alive": -1, "format": "json", "think": "high"}, {"keep_alive": -1, "format": "json", "think": "high"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}}, {"format": {"a": 1}}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        ({"temperature": 0.5, "seed": 1, "options": {"seed": 2}}, {"options": {"temperature": 0.5, "seed": 2}}),
        ({"never_heard_of": 1, "stream": False}, {}),
        ({"stop": "x", "use_mmap": False}, {"options": {"stop": ["x"], "use_mmap": False}}),
        ({"options": {"stop": "x"}}, {"options": {"stop": ["x"]}}),
        ({"max_completion_tokens": 7, "options": {"num_predict": 9}}, {"options": {"num_predict": 7}}),
        ({"think": False, "max_tokens": None, "stop": None, "tools": None}, {"think": False}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_schema", "json_schema": None}}, {}),
    ],
)
def test_parameters_are_converted(params: dict[str, Any], request_part: dict[str, Any]) -> None:
    converted = request_of(ProviderRequest(model="m", messages=[], params=params))
    assert converted == {"model": "m", "messages": [], "stream": True, **request_part}


@pytest.mark.parametrize(
    ("message", "converted"),
    [
        ({"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "tool", "content": "4", "tool_call_id": "c"}, {"role": "tool", "content": "4", "tool_call_id": "c"}),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": " What is "},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "text", "text": "this? "},
                ],
            },
            {"role": "user", "content": "What is this?", "images": ["QUJD"]},
        ),
        (
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"index": 1, "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "assistant", "content": "", "tool_calls": [{"index": 1, "id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
        ),
        ({"role": "assistant", "content": "x", "reasoning_content": "hm"}, {"role": "assistant", "content": "x", "thinking": "hm"}),
        ({"role": "assistant", "content": "x", "reasoning": "hm"}, {"role": "assistant", "content": "x", "thinking": "hm"}),
        ({"role": "assistant", "content": "x", "thinking": "a", "reasoning": "b"}, {"role": "assistant", "content": "x", "thinking": "a"}),
        ({"role": "assistant", "content": "x", "reasoning": {"effort": "low"}}, {"role": "assistant", "content": "x"}),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/a.png"}]},
            {"role": "user", "content": "", "images": ["https://example.org/a.png"]},
        ),
        (
            {"role": "tool", "content": [{"type": "text", "text": "4"}], "tool_call_id": "c"},
            {"role": "tool", "content": "4", "tool_call_id": "c"},
        ),
    ],
)
def test_messages_are_converted(message: dict[str, Any], converted: dict[str, Any]) -> None:
    assert request_of(ProviderRequest(model="m", messages=[message]))["messages"] == [converted]


def test_settings_are_options_and_the_requests_own_count_above_them() -> None:
    options = {"temperature": 0.5, "num_ctx": 4096, "keep_alive": "5m", "max_tokens": 5}
    converted = request_of(ProviderRequest(model="m", messages=[], params={"temperature": 1.0}, options=options))
    expected = {"temperature": 1.0, "num_ctx": 4096, "num_predict": 5}
    assert converted == {"model": "m", "messages": [], "stream": True, "keep_alive": "5m", "options": expected}


def test_an_image_is_a_file_and_what_is_not_known_is_kept() -> None:
    parts, failure = read(line("see", images=["QUJD"], mood="glad"), END)
    assert failure is None
    assert File({"type": "image", "url": "data:image/png;base64,QUJD"}) in parts
    assert Extras({"message": {"mood": "glad"}}, ["message.mood"]) in parts


def test_an_answer_of_which_nothing_is_understood_fails() -> None:
    assert read(line("", smell="rose"), END)[1] == "provider_garbage"


@pytest.mark.parametrize(("content", "failure"), [("half", None), ("", "provider_empty")])
def test_an_answer_that_reached_its_limit_is_one_as_far_as_it_goes(content: str, failure: str | None) -> None:
    parts, failed = read(line(content), END.replace(b'"stop"', b'"length"'))
    assert failed == failure
    assert (Finish("length") in parts) == (failure is None)


FRAGMENTS = st.sampled_from(
    [
        line("plain"),
        line("größer 🦊"),
        line("a\0b\ud83e"),
        line("\udd8a"),
        line(thinking="hm"),
        line(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}]),
        b"garbage\n",
        b"\r\n",
        b'{"error": "x"}\n',
        END,
    ]
)


def read(*chunks: bytes) -> tuple[list[Part], str | None]:
    numbers = count(1)
    reader = OllamaReader(new_call_id=lambda: f"call_{next(numbers)}")
    parts: list[Part] = []
    for data in chunks:
        parts += reader.feed(data)
        if reader.done or reader.failure is not None:
            break
    else:
        parts += reader.finish()
    return parts, None if reader.failure is None else reader.failure.code


@given(st.lists(FRAGMENTS, max_size=10).map(b"".join), st.lists(st.integers(0, 10_000), max_size=40))
def test_any_cutting_of_the_same_bytes_gives_the_same_parts(body: bytes, places: list[int]) -> None:
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    assert read(*(body[start:end] for start, end in pairwise(edges))) == read(body)
