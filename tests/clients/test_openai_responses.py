"""``/v1/responses`` by OpenAI's own client: whole, streamed, in the background, resumed, cancelled, deleted."""

from __future__ import annotations  # the clients' classes are not loaded for the sake of a signature

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import END, SSE_HEAD, Asked, Peer, chunk, event, said
from tests.api.completions.support import MODEL, refusing, server_asking, streaming
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two
from tests.clients.packages import openai

if TYPE_CHECKING:
    from openai.types.responses import Response, ResponseStreamEvent

pytestmark = pytest.mark.anyio

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
TOOL: Any = {"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}, "strict": True}


def arguments(piece: str, index: int = 0) -> bytes:
    return said(tool_calls=[{"index": index, "function": {"arguments": piece}}])


@contextlib.asynccontextmanager
async def client_of(user: User, server: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0, timeout=WAIT_S) as client:
        yield client


@contextlib.asynccontextmanager
async def asking(settings: Settings, *events: bytes) -> AsyncIterator[tuple[openai.AsyncOpenAI, Any]]:
    """A client, and the provider that gives ``events`` as its answer."""
    async with server_asking(settings, streaming(*events)) as (server, upstream), client_of(await server.sign_up(), server) as client:
        yield client, upstream


@pytest.fixture
async def client(server: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(await server.sign_up(), server) as made:
        yield made


async def ended(client: openai.AsyncOpenAI, response_id: str) -> Response:
    """Polls, as OpenAI's guide does."""
    async with asyncio.timeout(60):
        while (response := await client.responses.retrieve(response_id)).status in ("queued", "in_progress"):  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.01)
    return response


def as_json(events: list[ResponseStreamEvent]) -> list[Any]:
    return [one.to_dict() for one in events]


def assert_whole(events: list[ResponseStreamEvent]) -> Response:
    """Numbered without a gap, each delta within its item, and the last event holds what the deltas say."""
    assert [one.sequence_number for one in events] == list(range(len(events)))
    assert [one.type for one in events[:2]] == ["response.created", "response.in_progress"]
    texts: dict[tuple[str, str], str] = {}
    open_items: set[str] = set()
    for one in events:
        match one.type:
            case "response.output_item.added":
                open_items.add(str(one.item.id))
            case "response.output_item.done":
                open_items.remove(str(one.item.id))
            case (
                "response.output_text.delta"
                | "response.refusal.delta"
                | "response.reasoning_text.delta"
                | "response.function_call_arguments.delta"
            ):
                assert one.item_id in open_items
                texts[one.item_id, one.type] = texts.get((one.item_id, one.type), "") + one.delta
            case _:
                pass
    assert not open_items
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete", "response.failed")
    stated: dict[tuple[str, str], str] = {}
    for item in last.response.output:
        match item.type:
            case "message":
                for part in item.content:
                    if part.type == "output_text":
                        stated[item.id, "response.output_text.delta"] = part.text
                    else:
                        stated[item.id, "response.refusal.delta"] = part.refusal
            case "reasoning":
                assert item.content is not None
                stated[item.id, "response.reasoning_text.delta"] = item.content[0].text
            case "function_call":
                stated[str(item.id), "response.function_call_arguments.delta"] = item.arguments
            case _:
                pytest.fail(f"an item of type {item.type}")
    assert stated == texts
    return last.response


async def streamed(client: openai.AsyncOpenAI, **asked: Any) -> list[ResponseStreamEvent]:
    return [one async for one in await client.responses.create(stream=True, **asked)]


async def test_a_response_whole(settings: Settings) -> None:
    async with asking(settings, said("Hello "), said("again"), event({"choices": [], "usage": USAGE}), END) as (client, upstream):
        response = await client.responses.create(
            model=MODEL,
            input="Hello",
            instructions="Be brief.",
            max_output_tokens=50,
            temperature=0.5,
            metadata={"order": "7"},
            reasoning={"effort": "low"},
            text={"format": {"type": "json_schema", "name": "shape", "schema": {"type": "object"}, "strict": True}},
            tools=[TOOL],
            tool_choice={"type": "function", "name": "look_up"},
        )
        assert (response.status, response.output_text, response.error, response.incomplete_details) == (
            "completed",
            "Hello again",
            None,
            None,
        )
        assert (response.model, response.instructions, response.metadata) == (MODEL, "Be brief.", {"order": "7"})
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (11, 7, 18)
        assert response.usage.input_tokens_details.cached_tokens == 3
        assert response.usage.output_tokens_details.reasoning_tokens == 2
        assert await client.responses.retrieve(response.id) == response
        sent = upstream.asked[-1].json
        assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        assert (sent["max_completion_tokens"], sent["temperature"], sent["reasoning_effort"]) == (50, 0.5, "low")
        function = {name: TOOL[name] for name in ("name", "description", "parameters", "strict")}
        assert sent["tools"] == [{"type": "function", "function": function}]
        assert sent["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
        shape = {"name": "shape", "schema": {"type": "object"}, "strict": True}
        assert sent["response_format"] == {"type": "json_schema", "json_schema": shape}
        assert not sent.keys() & {"input", "instructions", "text", "metadata", "reasoning"}


async def test_text_reasoning_calls_and_refusals_are_streamed_item_by_item(settings: Settings) -> None:
    answer = (
        said(reasoning_content="Let me "),
        said(reasoning_content="think."),
        said("Well, "),
        said("no: "),
        said(refusal="I would "),
        said(refusal="rather not."),
        said(tool_calls=[CALL]),
        arguments('{"query": '),
        said(tool_calls=[{**CALL, "index": 1, "id": "call_2"}]),
        arguments("{}", 1),
        arguments('"x"}'),
        event({"choices": [], "usage": USAGE}),
        said(finish_reason="tool_calls"),
        event("[DONE]"),
    )
    async with asking(settings, *answer) as (client, _):
        events = await streamed(client, model=MODEL, input="Hello")
        response = assert_whole(events)
        kinds = [(item.type, item.status) for item in response.output if item.type in ("message", "reasoning", "function_call")]
        assert kinds == [(kind, "completed") for kind in ("reasoning", "message", "message", "function_call", "function_call")]
        calls = [(item.call_id, item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
        assert calls == [("call_1", "look_up", {"query": "x"}), ("call_2", "look_up", {})]
        refusal = next(
            part.refusal for item in response.output if item.type == "message" for part in item.content if part.type == "refusal"
        )
        assert refusal == "I would rather not."
        assert response.usage is not None and response.usage.total_tokens == 18
        assert await client.responses.retrieve(response.id) == response


async def test_the_clients_own_accumulation_ends_in_the_same_response(client: openai.AsyncOpenAI) -> None:
    tool: Any = {**TOOL}
    async with client.responses.stream(model="demo:tools", input="Where is it?", tools=[tool]) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call"]
    stored = await client.responses.retrieve(final.id)
    assert stored.output_text == final.output_text


async def test_a_tools_result_continues_the_conversation_by_previous_response_id(settings: Settings) -> None:
    async def answer(peer: Peer, asked: Asked) -> None:
        looked = any(message["role"] == "tool" for message in asked.json["messages"])
        call = said(tool_calls=[{**CALL, "function": {"name": "look_up", "arguments": "{}"}}])
        await streaming(*([said("Found.")] if looked else [said("Let me look."), call]), END)(peer, asked)

    async with server_asking(settings, answer) as (server, upstream), client_of(await server.sign_up(), server) as client:
        first = await client.responses.create(model=MODEL, input="Where is it?", tools=[TOOL], instructions="Only once.")
        result: Any = {"type": "function_call_output", "call_id": "call_1", "output": "on the table"}
        second = await client.responses.create(model=MODEL, input=[result], previous_response_id=first.id, tools=[TOOL])
        third = await client.responses.create(model=MODEL, input="Thanks.", previous_response_id=second.id)
        said_so_far: list[Any] = [
            {"role": "user", "content": "Where is it?"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "on the table"},
            {"role": "assistant", "content": "Found."},
            {"role": "user", "content": "Thanks."},
        ]
        # The instructions of a response are not carried over to the next.
        sent = [asked.json["messages"] for asked in upstream.asked if asked.method == "POST"]
        assert sent == [[{"role": "system", "content": "Only once."}, *said_so_far[:1]], said_so_far[:3], said_so_far]
        assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
        assert first.conversation is not None and second.conversation == third.conversation == first.conversation


async def test_an_answer_that_is_being_written_is_not_continued(client: openai.AsyncOpenAI) -> None:
    running = await client.responses.create(model="demo:1000", input="Tell me", background=True)
    assert running.conversation is not None
    further: list[dict[str, Any]] = [{"previous_response_id": running.id}, {"conversation": running.conversation.id}]
    for more in further:
        with pytest.raises(openai.ConflictError) as raised:
            await client.responses.create(model="demo:3", input="And?", **more)
        assert raised.value.code == "generation_open"
    await client.responses.cancel(running.id)
    for more in further:
        assert (await client.responses.create(model="demo:3", input="And?", **more)).status == "completed"


async def test_a_request_that_is_repeated_with_its_key_gets_the_same_response(client: openai.AsyncOpenAI) -> None:
    key = {"Idempotency-Key": "once"}
    first = await client.responses.create(model="demo:10", input="Tell me", background=True, extra_headers=key)
    again = await client.responses.create(model="demo:10", input="Tell me", background=True, extra_headers=key)
    assert again.id == first.id
    with pytest.raises(openai.UnprocessableEntityError):
        await client.responses.create(model="demo:10", input="Something else", background=True, extra_headers=key)


async def test_a_conversation_is_a_chat(client: openai.AsyncOpenAI, server: Running) -> None:
    first = await client.responses.create(model="demo:3", input="One")
    assert first.conversation is not None
    second = await client.responses.create(model="demo:3", input="Two", conversation=first.conversation.id)
    third = await client.responses.create(model="demo:3", input="Three", conversation={"id": first.conversation.id})
    assert second.conversation == third.conversation == first.conversation
    chat_id = first.conversation.id.removeprefix("conv_")
    chat = await server.system.chat_queries.chat(UUID(chat_id))
    assert [chat.messages[one]["role"] for one in chat.branch(chat.current_id)] == ["user", "assistant"] * 3


async def test_input_items_are_listed_in_pages(client: openai.AsyncOpenAI) -> None:
    given: Any = [
        {"role": "user", "content": "Where is it?"},
        {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "here"},
        {"role": "user", "content": [{"type": "input_text", "text": "And "}, {"type": "input_text", "text": "now?"}]},
    ]
    response = await client.responses.create(model="demo:3", input=given)
    listed = [item async for item in client.responses.input_items.list(response.id, order="asc", limit=3)]
    assert [item.type for item in listed] == ["message", "function_call", "function_call_output", "message"]
    assert len({item.id for item in listed}) == 4
    newest = await client.responses.input_items.list(response.id, limit=1)
    assert [item.id for item in newest.data] == [listed[-1].id]
    plain = await client.responses.create(model="demo:3", input="Just text")
    (only,) = (await client.responses.input_items.list(plain.id)).data
    assert only.type == "message" and only.content[0].type == "input_text" and only.content[0].text == "Just text"


@on_one_and_two
async def test_a_stream_cut_at_random_goes_on_after_the_last_number(client: openai.AsyncOpenAI) -> None:
    """Cut while the answer runs, again and again, then after its end from every number: each event comes once."""
    chance = random.Random(7)
    seen: list[ResponseStreamEvent] = []
    stream = await client.responses.create(model="demo:40", input="Tell me", stream=True, background=True)
    for _ in range(100):
        left = chance.randint(1, 9)
        async for one in stream:
            seen.append(one)
            left -= 1
            if not left:
                break
        await stream.close()
        if seen[-1].type == "response.completed":
            break
        response_id = seen[0].response.id if seen[0].type == "response.created" else ""
        stream = await client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
    response = assert_whole(seen)
    again = [one async for one in await client.responses.retrieve(response.id, stream=True)]
    assert as_json(again) == as_json(seen)
    for after in chance.sample(range(len(seen)), 8):
        rest = [one async for one in await client.responses.retrieve(response.id, stream=True, starting_after=after)]
        assert as_json(rest) == as_json(seen[after + 1 :])


async def test_an_answer_goes_on_when_its_asker_leaves(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(model="demo:30", input="Tell me", stream=True)
    first = await anext(aiter(stream))
    await stream.close()
    assert first.type == "response.created"
    assert (await ended(client, first.response.id)).status == "completed"


async def test_in_the_background_without_a_stream_the_answer_is_polled(client: openai.AsyncOpenAI) -> None:
    begun = await client.responses.create(model="demo:10", input="Tell me", background=True)
    assert (begun.status, begun.background) == ("in_progress", True)
    response = await ended(client, begun.id)
    assert (response.status, response.background, len(response.output_text.split())) == ("completed", True, 10)


@on_one_and_two
async def test_a_cancelled_response_keeps_what_it_said(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(model="demo:1000", input="Tell me", stream=True, background=True)
    seen = []
    async for one in stream:
        seen.append(one)
        if len(seen) == 12 and seen[0].type == "response.created":
            cancelled = await client.responses.cancel(seen[0].response.id)
            assert cancelled.status == "cancelled"
    response = assert_whole(seen)
    assert (response.status, seen[-1].type) == ("cancelled", "response.incomplete")
    assert response.output_text
    assert await client.responses.cancel(response.id) == response == await client.responses.retrieve(response.id)


async def test_a_deleted_response_is_gone_and_what_followed_stays(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="demo:3", input="One")
    second = await client.responses.create(model="demo:3", input="Two", previous_response_id=first.id)
    await client.responses.delete(first.id)
    for asked in (client.responses.retrieve(first.id), client.responses.delete(first.id), client.responses.input_items.list(first.id)):
        with pytest.raises(openai.NotFoundError):
            await asked
    with pytest.raises(openai.NotFoundError) as raised:
        await client.responses.create(model="demo:3", input="Three", previous_response_id=first.id)
    assert (raised.value.code, raised.value.param) == ("response_not_found", "previous_response_id")
    assert await client.responses.retrieve(second.id) == second
    third = await client.responses.create(model="demo:3", input="Three", previous_response_id=second.id)
    await client.responses.delete(third.id)
    running = await client.responses.create(model="demo:1000", input="Tell me", background=True)
    await client.responses.delete(running.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(running.id)


async def test_a_deleted_response_takes_its_question_with_it(client: openai.AsyncOpenAI, server: Running) -> None:
    first = await client.responses.create(model="demo:3", input="One")
    second = await client.responses.create(model="demo:3", input="Two", previous_response_id=first.id)
    other = await client.responses.create(model="demo:3", input="Or two", previous_response_id=first.id)
    await client.responses.delete(first.id)
    assert first.conversation is not None
    chat = await server.system.chat_queries.chat(UUID(first.conversation.id.removeprefix("conv_")))
    assert sorted(str(message["content"]) for message in chat.messages.values() if message["role"] == "user") == ["Or two", "Two"]
    assert await client.responses.retrieve(second.id) == second
    assert await client.responses.retrieve(other.id) == other


async def test_two_hundred_responses_at_once_in_one_process_are_not_mixed(settings: Settings) -> None:
    async def answer(peer: Peer, asked: Asked) -> None:
        """Says the question again, letter by letter."""
        question = asked.json["messages"][-1]["content"]
        await streaming(*(said(letter) for letter in question), END)(peer, asked)

    async with server_asking(settings, answer) as (server, _), client_of(await server.sign_up(), server) as client:

        async def ask(question: str) -> str:
            """Half of them are cut once, and resumed."""
            stream = await client.responses.create(model=MODEL, input=question, stream=True)
            seen: list[ResponseStreamEvent] = []
            async for one in stream:
                seen.append(one)
                if len(seen) == 7 and question.endswith(("1", "3", "5", "7", "9")):
                    break
            if seen[-1].type != "response.completed":
                await stream.close()
                assert seen[0].type == "response.created"
                rest = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
                seen += [one async for one in rest]
            return assert_whole(seen).output_text

        questions = [f"question {number}" for number in range(200)]
        assert await asyncio.gather(*map(ask, questions)) == questions


async def test_a_response_is_for_those_who_may_read_its_chat(server: Running) -> None:
    await server.sign_up("admin")
    ada, bob = await server.sign_up("ada"), await server.sign_up("bob")
    async with client_of(ada, server) as adas, client_of(bob, server) as bobs:
        response = await adas.responses.create(model="demo:3", input="One")
        assert response.conversation is not None
        refused: list[Any] = [
            bobs.responses.retrieve(response.id),
            bobs.responses.retrieve(response.id, stream=True),
            bobs.responses.cancel(response.id),
            bobs.responses.delete(response.id),
            bobs.responses.input_items.list(response.id),
            bobs.responses.create(model="demo:3", input="Two", previous_response_id=response.id),
            bobs.responses.create(model="demo:3", input="Two", conversation=response.conversation.id),
            bobs.responses.retrieve("resp_nothing"),
        ]
        for asked in refused:
            with pytest.raises(openai.NotFoundError) as raised:
                await asked
            assert raised.value.code == "response_not_found"
        assert await adas.responses.retrieve(response.id) == response


async def test_an_answer_that_ends_early_says_why(settings: Settings) -> None:
    async with asking(settings, said("Too "), said("long", finish_reason="length"), event("[DONE]")) as (client, _):
        events = await streamed(client, model=MODEL, input="Hello")
        response = assert_whole(events)
        assert (response.status, events[-1].type, response.output_text) == ("incomplete", "response.incomplete", "Too long")
        assert response.incomplete_details is not None and response.incomplete_details.reason == "max_output_tokens"


async def test_a_provider_that_breaks_off_gives_a_failed_response_with_what_it_said(settings: Settings) -> None:
    async def answer(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(said("Half an ")), chunk(event({"error": {"message": "out of memory"}})))
        peer.cut()

    async with server_asking(settings, answer) as (server, _), client_of(await server.sign_up(), server) as client:
        response = assert_whole(await streamed(client, model=MODEL, input="Hello"))
        whole = await client.responses.create(model=MODEL, input="Hello")
        for failed in (response, whole):
            assert failed.error is not None
            assert (failed.status, failed.error.code, failed.output_text) == ("failed", "server_error", "Half an ")
            assert "out of memory" in failed.error.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        ("400 Bad Request", "BadRequestError", "invalid_prompt"),
        ("429 Too Many Requests", "RateLimitError", "rate_limit_exceeded"),
        ("503 Service Unavailable", "InternalServerError", "server_error"),
    ],
)
async def test_a_providers_refusal_is_raised_and_in_the_background_stored(
    settings: Settings, status: str, expected: str, code: str, stream: bool
) -> None:
    refusal = refusing(status, message="not like this", code="their_code")
    async with server_asking(settings, refusal) as (server, _), client_of(await server.sign_up(), server) as client:
        with pytest.raises(getattr(openai, expected)) as raised:
            await client.responses.create(model=MODEL, input="Hello", stream=stream)
        assert raised.value.code == "their_code"
        begun = await client.responses.create(model=MODEL, input="Hello", background=True)
        failed = await ended(client, begun.id)
        assert failed.error is not None
        assert (failed.status, failed.error.code, failed.error.message) == ("failed", code, "not like this")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"background": "yes"}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
        ({"model": ""}, "model"),
    ],
)
async def test_what_cannot_be_asked_is_named(client: openai.AsyncOpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        await client.responses.create(**{"model": "demo:3", "input": "Hello", **wrong})
    assert raised.value.param == param
    assert raised.value.status_code == (404 if raised.value.code == "response_not_found" else 400)


async def test_an_input_that_no_event_can_hold_is_stored_beside_the_log(client: openai.AsyncOpenAI) -> None:
    long = "word " * 80_000
    first = await client.responses.create(model="demo:3", input=long, metadata={"kept": "yes"})
    (item,) = (await client.responses.input_items.list(first.id)).data
    assert item.type == "message" and item.content[0].type == "input_text" and item.content[0].text == long
    given: Any = [{"role": "user", "content": long}, {"role": "user", "content": "And?"}]
    second = await client.responses.create(model="demo:3", input=given, instructions=long, previous_response_id=first.id)
    assert second.instructions == long
    assert (await client.responses.retrieve(second.id)).instructions == long
    assert len((await client.responses.input_items.list(second.id)).data) == 2
    assert second.usage is not None and second.usage.input_tokens > 3 * 80_000


async def test_the_clients_own_stream_takes_up_a_response_by_its_id(client: openai.AsyncOpenAI) -> None:
    begun = await client.responses.create(model="demo:20", input="Tell me", background=True)
    async with client.responses.stream(response_id=begun.id, starting_after=4) as stream:
        numbers = [one.sequence_number async for one in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(5, 5 + len(numbers)))
    assert len(final.output_text.split()) == 20


async def test_every_refusal_of_a_response_has_openais_shape(server: Running) -> None:
    user = await server.sign_up()
    made = (await user.post("/v1/responses", {"model": "demo:3", "input": "Hello"})).json()["id"]
    async with server.client() as stranger:
        refused = {
            "no key": (await stranger.get(f"/v1/responses/{made}"), 401),
            "no such response": (await user.get("/v1/responses/resp_1"), 404),
            "no number": (await user.get(f"/v1/responses/{made}", stream=True, starting_after="x"), 400),
            "below any number": (await user.get(f"/v1/responses/{made}", stream=True, starting_after=-5), 400),
            "no order": (await user.get(f"/v1/responses/{made}/input_items", order="random"), 400),
            "no item": (await user.get(f"/v1/responses/{made}/input_items", after="msg_1"), 400),
            "no such route": (await user.post(f"/v1/responses/{made}/compact", {}), 404),
            "no object": (await user.post("/v1/responses", ["x"]), 400),
            "no method": (await user.http.put(f"/v1/responses/{made}"), 405),
        }
    for what, (answer, status) in refused.items():
        assert answer.status_code == status, what
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}, what
