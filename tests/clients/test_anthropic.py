"""``/v1/messages`` by Anthropic's own client, from a model of another provider: whole, streamed, with tools, refused."""

from __future__ import annotations  # the clients' classes are not loaded for the sake of a signature

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import END, SSE_HEAD, Asked, Peer, chunk, event, said
from tests.api.completions.support import MODEL, Answer, refusing, server_asking, streaming
from tests.api.conftest import Running, User
from tests.clients.packages import anthropic

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
HELLO: Any = [{"role": "user", "content": "Hello"}]
TOOL: Any = {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object"}}


def call(index: int, call_id: str, arguments: str = "") -> bytes:
    function = {"name": "look_up", "arguments": arguments}
    return said(tool_calls=[{"index": index, "id": call_id, "type": "function", "function": function}])


def more(index: int, arguments: str) -> bytes:
    return said(tool_calls=[{"index": index, "function": {"arguments": arguments}}])


CALLED = said(finish_reason="tool_calls") + event("[DONE]")


@contextlib.asynccontextmanager
async def client_of(user: User, server: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """It authenticates by ``x-api-key``."""
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=user.token, max_retries=0) as client:
        yield client


@contextlib.asynccontextmanager
async def asking(settings: Settings, answer: Answer) -> AsyncIterator[tuple[anthropic.AsyncAnthropic, Any]]:
    async with server_asking(settings, answer) as (server, upstream), client_of(await server.sign_up(), server) as client:
        yield client, upstream


@pytest.fixture
async def client(server: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with client_of(await server.sign_up(), server) as made:
        yield made


async def raw_events(client: anthropic.AsyncAnthropic, **asked: Any) -> list[Any]:
    given = {"model": MODEL, "max_tokens": 100, "messages": HELLO, **asked}
    return [one async for one in await client.messages.create(stream=True, **given)]


def assert_ordered(events: list[Any]) -> dict[int, str]:
    """One block after the other, each closed before the next opens; what each said."""
    assert events[0].type == "message_start"
    assert [one.type for one in events[-2:]] == ["message_delta", "message_stop"]
    said_by: dict[int, str] = {}
    open_at: int | None = None
    for one in events[1:-2]:
        match one.type:
            case "content_block_start":
                assert open_at is None and one.index == len(said_by)
                open_at = one.index
                said_by[one.index] = ""
            case "content_block_delta":
                assert one.index == open_at
                delta = one.delta
                said_by[one.index] += next(getattr(delta, key) for key in ("text", "partial_json", "thinking") if hasattr(delta, key))
            case "content_block_stop":
                assert one.index == open_at
                open_at = None
            case _:
                pytest.fail(f"an event {one.type}")
    assert open_at is None
    return said_by


async def test_a_message_whole(settings: Settings) -> None:
    answer = streaming(said(reasoning_content="Hm."), said("Hello "), said("again"), event({"choices": [], "usage": USAGE}), END)
    async with asking(settings, answer) as (client, upstream):
        message = await client.messages.create(
            model=MODEL,
            max_tokens=50,
            system=[{"type": "text", "text": "Be brief."}],
            messages=HELLO,
            extra_body={"temperature": 0.5, "top_k": 5},  # this version has no arguments for them
            stop_sequences=["."],
            tools=[TOOL],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            metadata={"user_id": "u-1"},
        )
        assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
        assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello again"}]
        usage = message.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 3, 7)
        sent = upstream.asked[-1].json
        assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
        assert (sent["max_completion_tokens"], sent["temperature"], sent["top_k"], sent["stop"], sent["user"]) == (50, 0.5, 5, ["."], "u-1")
        assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
        function = {"name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}
        assert sent["tools"] == [{"type": "function", "function": function}]
        assert not sent.keys() & {"max_tokens", "system", "stop_sequences", "metadata", "thinking"}


async def test_text_thinking_and_tools_are_streamed_block_by_block(settings: Settings) -> None:
    answer = streaming(
        said(reasoning_content="Let me "),
        said(reasoning_content="think."),
        said("I will "),
        said("look."),
        call(0, "call_1"),
        more(0, '{"query": '),
        call(1, "call_2", '{"a"'),  # side by side: the pieces of both come by turns
        more(0, '"x'),
        more(1, ": 1}"),
        more(0, '"}'),
        call(2, "call_3"),
        event({"choices": [], "usage": USAGE}),
        CALLED,
    )
    async with asking(settings, answer) as (client, _):
        events = await raw_events(client, thinking={"type": "enabled", "budget_tokens": 1024})
        said_by = assert_ordered(events)
        assert list(said_by.values()) == ["Let me think.", "I will look.", '{"query": "x"}', '{"a": 1}', ""]
        assert events[-2].delta.stop_reason == "tool_use"
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
            final = await stream.get_final_message()
        whole = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
        shown: list[Any] = [
            {"type": "text", "text": "I will look."},
            {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"query": "x"}},
            {"type": "tool_use", "id": "call_2", "name": "look_up", "input": {"a": 1}},
            {"type": "tool_use", "id": "call_3", "name": "look_up", "input": {}},
        ]
        # Reasoning comes to those alone who ask for it.
        for message in (final, whole):
            assert [block.to_dict() for block in message.content] == shown
            assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 8, 7)


async def test_each_block_is_streamed_before_the_next_has_ended(settings: Settings) -> None:
    """A call is complete with its JSON: the next one need not wait for the end of the answer."""

    async def answer(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(call(0, "call_1", '{"a": 1}')), chunk(call(1, "call_2", '{"b')))
        await peer.left()  # the answer goes on until the client leaves

    async with server_asking(settings, answer) as (server, _), client_of(await server.sign_up(), server) as client:
        stream = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)
        seen: list[Any] = []
        async for one in stream:
            seen.append(one)
            if one.type == "content_block_delta" and one.index == 1:
                break
        await stream.close()
        types = [(one.type, one.index) for one in seen if one.type.startswith("content_block")]
        opened, said_, closed = "content_block_start", "content_block_delta", "content_block_stop"
        assert types == [(opened, 0), (said_, 0), (closed, 0), (opened, 1), (said_, 1)]


async def test_results_of_tools_and_pictures_are_sent_as_providers_take_them(settings: Settings) -> None:
    async with asking(settings, streaming(said("Found."), END)) as (client, upstream):
        messages: Any = [
            {"role": "user", "content": [{"type": "text", "text": "Where "}, {"type": "text", "text": "is it?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"query": "ä"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "on the table"}]},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                    {"type": "text", "text": "And this?"},
                ],
            },
        ]
        await client.messages.create(model=MODEL, max_tokens=50, messages=messages)
        assert upstream.asked[-1].json["messages"] == [
            {"role": "user", "content": "Where is it?"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"query":"ä"}'}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "on the table"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                    {"type": "text", "text": "And this?"},
                ],
            },
        ]


async def test_the_built_in_models_answer_too(client: anthropic.AsyncAnthropic) -> None:
    for model in ("demo:20", "demo:reasoning", "demo:tools"):
        async with client.messages.stream(model=model, max_tokens=1000, messages=HELLO, tools=[TOOL]) as stream:
            final = await stream.get_final_message()
        assert final.content
    cut = await client.messages.create(model="demo:20", max_tokens=3, messages=HELLO)
    assert cut.stop_reason == "max_tokens"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        ("400 Bad Request", "BadRequestError", "invalid_request_error"),
        ("429 Too Many Requests", "RateLimitError", "rate_limit_error"),
        ("503 Service Unavailable", "InternalServerError", "overloaded_error"),
    ],
)
async def test_a_providers_refusal_keeps_its_status_in_anthropics_shape(
    settings: Settings, status: str, expected: str, kind: str, stream: bool
) -> None:
    async with asking(settings, refusing(status, message="not like this")) as (client, _):
        with pytest.raises(getattr(anthropic, expected)) as raised:
            await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO, stream=stream)
        assert raised.value.body == {"type": "error", "error": {"type": kind, "message": "not like this"}}
        assert raised.value.request_id


async def test_a_provider_that_breaks_off_ends_the_stream_with_an_error(settings: Settings) -> None:
    async def answer(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(said("Half an ")), chunk(event({"error": {"message": "out of memory"}})))
        peer.cut()

    async with asking(settings, answer) as (client, _):
        seen: list[Any] = []
        with pytest.raises(anthropic.APIStatusError) as raised:
            async for one in await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO, stream=True):
                seen.append(one)  # what came before the error counts
        assert [one.type for one in seen] == ["message_start", "content_block_start", "content_block_delta", "content_block_stop"]
        assert isinstance(raised.value.body, dict) and "out of memory" in raised.value.body["error"]["message"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}, "messages[0].content[0]"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tool_choice": {"type": "some"}}, "tool_choice"),
        ({"system": [{"type": "image"}]}, "system[0]"),
    ],
)
async def test_what_cannot_be_asked_is_named(server: Running, wrong: dict[str, Any], named: str) -> None:
    user = await server.sign_up()
    refused = await user.post("/v1/messages", {"model": "demo:3", "max_tokens": 10, "messages": HELLO, **wrong})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{named}: ")


async def test_every_refusal_has_anthropics_shape(client: anthropic.AsyncAnthropic, server: Running) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(model="nobody/at:all", max_tokens=10, messages=HELLO)
    with pytest.raises(anthropic.NotFoundError) as no_route:
        await client.messages.count_tokens(model="demo", messages=HELLO)
    with pytest.raises(anthropic.NotFoundError) as no_model:
        await client.models.retrieve("nobody")
    with pytest.raises(anthropic.AuthenticationError) as wrong_key:
        await client.with_options(api_key="sk-wrong").messages.create(model="demo", max_tokens=10, messages=HELLO)
    kinds = [json.loads(json.dumps(raised.value.body))["error"]["type"] for raised in (unknown, no_route, no_model, wrong_key)]
    assert kinds == ["not_found_error", "not_found_error", "not_found_error", "authentication_error"]
    async with server.client() as stranger:
        no_key = await stranger.post("/v1/messages", json={})
        no_json = await stranger.post("/v1/messages", content=b"{", headers={"x-api-key": client.api_key or ""})
        no_method = await stranger.delete("/v1/messages")
    assert [one.status_code for one in (no_key, no_json, no_method)] == [401, 400, 405]
    assert {one.json()["type"] for one in (no_key, no_json, no_method)} == {"error"}


async def test_models_are_listed_in_anthropics_form(client: anthropic.AsyncAnthropic) -> None:
    listed = [model async for model in client.models.list()]
    assert "demo" in [model.id for model in listed]
    assert (await client.models.retrieve("demo")).display_name == "Demo"
