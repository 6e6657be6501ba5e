import asyncio
import json
from contextlib import aclosing

import httpx
import msgspec
import pytest

from adapters.providers.http.client import ProviderClients, provider_client
from adapters.providers.http.http import Patience
from adapters.providers.http.lines import EVENT_BYTES_MAX
from adapters.providers.openai.openai import OpenAIProvider
from commands.providers.provider import Finish, ProviderRequest, Reasoning, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed
from tests.adapters.providers.asking import STOP, ask, closed_port, heard, heard_until_failure, nobody_accepts, text
from tests.adapters.providers.scripted import DONE, END, LAST, SSE_HEAD, Peer, answering, chunk, event, said, serving, whole

pytestmark = pytest.mark.anyio
KEY = "sk-very-secret"


async def test_an_answer_streams_in_the_pieces_of_the_provider(client: httpx.AsyncClient) -> None:
    async with serving(answering(said("Hel", role="assistant"), said("lo"), said("!"), END)) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("Hel"), Text("lo"), Text("!"), STOP]


async def test_the_request_is_openais_and_carries_the_callers_parameters_but_not_our_own(client: httpx.AsyncClient) -> None:
    async with serving(answering(END)) as server:
        asked = ask("gpt", "Hi", temperature=0.5, stream=False, n=3, stream_options={"x": 1})
        await heard(OpenAIProvider(client, f"{server.url}/v1/", KEY, headers={"x-org": "me"}), asked)
    [request] = server.asked
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-org"] == "me"
    assert request.json == {
        "model": "gpt",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True, "x": 1},
    }


async def test_settings_that_openai_does_not_have_are_not_sent(client: httpx.AsyncClient) -> None:
    options = {"temperature": 0.5, "num_ctx": 4096, "mirostat": 1, "keep_alive": "5m", "max_tokens": 5}
    async with serving(answering(END)) as server:
        await heard(OpenAIProvider(client, server.url), msgspec.structs.replace(ask(max_tokens=7, num_ctx=8), options=options))
    sent = server.asked[0].json
    assert {name: sent.get(name) for name in options} == {
        "temperature": 0.5,
        "num_ctx": 8,
        "mirostat": None,
        "keep_alive": None,
        "max_tokens": 7,
    }


@pytest.mark.parametrize("refusal", [b'{"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]}', b"unknown key include_usage"])
async def test_a_server_that_refuses_to_be_asked_for_usage_is_not_asked_again(client: httpx.AsyncClient, refusal: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if "stream_options" in asked.json:
                await peer.send(whole(refusal, "422 Unprocessable"))
            else:
                await peer.send(SSE_HEAD, chunk(said("a") + END), LAST)

    async with serving(script) as server:
        provider = OpenAIProvider(client, server.url)
        assert [await heard(provider), await heard(provider)] == [[Text("a"), STOP]] * 2
    assert ["stream_options" in asked.json for asked in server.asked] == [True, False, False]


async def test_any_other_refusal_is_not_asked_again(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.send(whole(b"no such model", "400 Bad Request"))

    async with serving(script) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (failure.code, len(server.asked)) == ("provider_status", 1)


@pytest.mark.parametrize("path", ["models", "chat"])
async def test_a_redirect_is_not_followed_but_its_target_is_named(client: httpx.AsyncClient, path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(
            b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://u:secret@other.example/v1?key=1\r\ncontent-length: 0\r\n\r\n"
        )

    async with serving(script) as server:
        provider = OpenAIProvider(client, server.url, KEY)
        with pytest.raises(ProviderFailed) as failed:
            await (provider.models() if path == "models" else heard(provider))
    assert str(failed.value) == "HTTP 308: redirects to [address] (set that as the provider's address)"
    assert "https://other.example/v1" in failed.value.private, "for the operator alone"
    assert "secret" not in failed.value.private
    assert len(server.asked) == 1


async def test_without_a_key_no_key_is_sent(client: httpx.AsyncClient) -> None:
    async with serving(answering(END)) as server:
        await heard(OpenAIProvider(client, server.url))
    assert "authorization" not in server.asked[0].headers


async def test_events_of_one_read_are_yielded_together(client: httpx.AsyncClient) -> None:
    async with serving(answering(said("a") + said("b") + said("c"), END)) as server:
        reads = [read async for read in OpenAIProvider(client, server.url).stream(ask())]
    assert reads[0][:3] == [Text("a"), Text("b"), Text("c")]


async def test_an_event_may_be_cut_at_any_byte(client: httpx.AsyncClient) -> None:
    body = said("größer ") + event({"choices": [{"delta": {"content": "🦊"}}]}).replace(b"\\ud83e\\udd8a", "🦊".encode()) + END
    async with serving(answering(*(body[at : at + 1] for at in range(len(body))))) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("größer "), Text("🦊"), STOP]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_has_parts_of_its_own(client: httpx.AsyncClient, key: str) -> None:
    async with serving(answering(said(**{key: "hm"}), said("so"), END)) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Reasoning("hm"), Text("so"), STOP]


async def test_usage_comes_before_the_finish_although_it_is_sent_after_the_finish_reason(client: httpx.AsyncClient) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    async with serving(answering(said("a"), said(finish_reason="length"), event({"choices": [], "usage": usage}), DONE)) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [
            Text("a"),
            Usage({**usage, "input_tokens": 3, "output_tokens": 2}),
            Finish("length"),
        ]


async def test_a_finish_reason_is_enough_of_an_end(client: httpx.AsyncClient) -> None:
    async with serving(answering(said("a", finish_reason="stop"))) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("a"), STOP]


async def test_an_answer_with_a_finish_reason_is_whole_even_if_the_connection_is_cut_then(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a", finish_reason="stop")))
        peer.cut()

    async with serving(script) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("a"), STOP]


async def test_a_server_that_never_closes_after_the_end_mark_does_not_hold_the_finish_back(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a") + END))
        await peer.left()

    async with serving(script) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("a"), STOP]
        await asyncio.wait_for(server.left.wait(), 60)


async def test_a_stream_without_any_end_is_broken_off_and_keeps_what_came(client: httpx.AsyncClient) -> None:
    async with serving(answering(said("half an"))) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (parts, failure.code) == ([Text("half an")], "provider_broke_off")


async def test_a_cut_connection_is_broken_off_and_keeps_what_came(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("half")))
        await arrived.wait()
        peer.cut()

    arrived = asyncio.Event()
    parts = []
    async with serving(script) as server:
        with pytest.raises(ProviderFailed) as failed:
            async for read in OpenAIProvider(client, server.url).stream(ask()):
                parts += read
                arrived.set()
    assert (parts, failed.value.code) == ([Text("half")], "provider_broke_off")


async def test_a_server_that_hangs_up_on_the_request_broke_off(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()

    async with serving(script) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (parts, failure.code) == ([], "provider_broke_off")


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ({"error": {"message": "out of memory", "type": "server_error", "code": None}}, "out of memory (server_error)"),
        ({"error": "out of memory"}, "out of memory"),
        ({"object": "error", "message": "out of memory", "code": 500}, "out of memory"),
    ],
)
async def test_an_error_frame_in_mid_stream_is_the_failure(client: httpx.AsyncClient, error: object, detail: str) -> None:
    async with serving(answering(said("a") + event(error) + said("never"))) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (parts, failure.code, str(failure)) == ([Text("a")], "provider_error", detail)


@pytest.mark.parametrize(
    "frame",
    [b'{"error": {"message": "boom"}}\n', b'event: error\ndata: {"message": "boom"}\n\n', b"event: error\ndata: boom\n\n"],
)
async def test_an_error_that_is_no_ordinary_frame_is_the_failure_too(client: httpx.AsyncClient, frame: bytes) -> None:
    async with serving(answering(said("a"), frame)) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (parts, failure.code, str(failure)) == ([Text("a")], "provider_error", "boom")


async def test_a_refusal_gives_its_status_and_its_words_but_never_the_key(client: httpx.AsyncClient) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}).encode()
    async with serving(lambda peer: _once(peer, whole(body, "401 Unauthorized"))) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url, KEY))
    assert (failure.code, str(failure)) == ("provider_status", "HTTP 401: Incorrect API key provided: *** (invalid_api_key)")


async def test_the_body_of_a_refusal_is_read_and_told_within_bounds(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.send(chunk(b"x" * 10_000))

    async with serving(script) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert failure.code == "provider_status"
    assert str(failure).startswith("HTTP 500: xxx")
    assert len(str(failure)) < 2_000


async def test_malformed_chunks_are_skipped_and_the_answer_goes_on(client: httpx.AsyncClient) -> None:
    bad = [b"data: {oops\n\n", b"data: 17\n\n", b'data: {"choices": "none"}\n\n', b"data: {}\n\n", b"rubbish\n"]
    async with serving(answering(said("a"), *bad, said("b"), END)) as server:
        parts = await heard(OpenAIProvider(client, server.url))
    assert [part for part in parts if not isinstance(part, Skipped)] == [Text("a"), Text("b"), STOP]
    assert sum(isinstance(part, Skipped) for part in parts) == len(bad)


@pytest.mark.parametrize(
    "body", [b"<html><body>Welcome</body></html>\n", b"data: what\n\ndata: is\n\n", b"data: this\n\n" + DONE, b"\xff\xfe\x00"]
)
async def test_nothing_but_garbage_is_garbage(client: httpx.AsyncClient, body: bytes) -> None:
    async with serving(answering(body)) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert failure.code == "provider_garbage"


async def test_garbage_without_end_is_given_up(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD)
        while True:
            await peer.send(chunk(b"data: nonsense\n\n" * 100))

    async with serving(script) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert failure.code == "provider_garbage"


@pytest.mark.parametrize("piece", [b"x", b"data: y\n", b"\n{ z"])
async def test_an_event_without_end_fails_instead_of_filling_the_memory(client: httpx.AsyncClient, piece: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD)
        block = piece * (500_000 // len(piece))
        while True:
            await peer.send(chunk(block))

    async with serving(script) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert failure.code == "provider_garbage"
    assert str(EVENT_BYTES_MAX) in str(failure)


async def test_a_whole_json_answer_to_a_streaming_request_is_accepted(client: httpx.AsyncClient) -> None:
    completion = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    for body in (json.dumps(completion), json.dumps(completion, indent=2)):
        async with serving(lambda peer, body=body: _once(peer, whole(body.encode()))) as server:  # type: ignore[misc]
            parts = await heard(OpenAIProvider(client, server.url))
        assert text(parts) == "Hello"
        assert isinstance(parts[1], Usage)
        assert parts[-1] == STOP


async def test_a_whole_json_error_with_status_200_is_an_error(client: httpx.AsyncClient) -> None:
    body = json.dumps({"error": {"message": "model is loading"}}, indent=1).encode()
    async with serving(lambda peer: _once(peer, whole(body))) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (failure.code, str(failure)) == ("provider_error", "model is loading")


async def test_an_answer_without_length_ends_with_its_connection(client: httpx.AsyncClient) -> None:
    async with serving(lambda peer: _once(peer, b"HTTP/1.1 200 OK\r\n\r\n" + said("a") + END)) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [Text("a"), STOP]


async def test_tool_calls_come_in_pieces_and_side_by_side(client: httpx.AsyncClient) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "listen", "arguments": "{}"}}
    body = [
        said(tool_calls=[first]),
        said(tool_calls=[{"index": 0, "function": {"arguments": '{"at":'}}]),
        said(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}, second]),
        said(finish_reason="tool_calls") + DONE,
    ]
    async with serving(answering(*body)) as server:
        assert await heard(OpenAIProvider(client, server.url)) == [
            ToolCall(0, "", "c1", "look"),
            ToolCall(0, '{"at":'),
            ToolCall(0, "1}"),
            ToolCall(1, "{}", "c2", "listen"),
            Finish("tool_calls"),
        ]


async def test_a_provider_that_nobody_listens_for_is_unreachable(client: httpx.AsyncClient) -> None:
    _, failure = await heard_until_failure(OpenAIProvider(client, closed_port(), KEY))
    assert failure.code == "provider_unreachable"


async def test_a_connection_that_takes_too_long_is_unreachable(client: httpx.AsyncClient) -> None:
    with nobody_accepts() as url:
        _, failure = await heard_until_failure(OpenAIProvider(client, url, patience=Patience(connect_s=0.2)))
    assert failure.code == "provider_unreachable"
    assert "0.2 s" in str(failure)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "nonsense", "http://"])
async def test_an_address_that_is_none_is_unreachable(client: httpx.AsyncClient, url: str) -> None:
    _, failure = await heard_until_failure(OpenAIProvider(client, url))
    assert failure.code == "provider_unreachable"


@pytest.mark.parametrize("key", ["sk-line\r\nx-evil: 1", "sk-ключ"])
async def test_a_key_that_no_header_can_hold_is_refused_without_being_told(client: httpx.AsyncClient, key: str) -> None:
    async with serving(answering(END)) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url, key))
    assert failure.code == "provider_unreachable"
    assert key not in str(failure)
    assert server.asked == []


async def test_silence_before_the_first_byte_is_idle(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.left()

    async with serving(script) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url, patience=Patience(first_token_s=0.2)))
        assert failure.code == "provider_idle"
        assert "STENO_PROVIDER_FIRST_TOKEN_TIMEOUT_S" in str(failure)
        await asyncio.wait_for(server.left.wait(), 60)


async def test_silence_in_mid_answer_is_idle_and_keeps_what_came(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a")))
        await peer.left()

    async with serving(script) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url, patience=Patience(idle_s=0.2)))
        assert (parts, failure.code) == ([Text("a")], "provider_idle")
        assert "STENO_PROVIDER_IDLE_TIMEOUT_S" in str(failure)
        await asyncio.wait_for(server.left.wait(), 60)


async def test_comments_are_no_first_token(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD)
        while True:
            await peer.send(chunk(b": still thinking\n\n"))
            await asyncio.sleep(0.01)

    async with serving(script) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url, patience=Patience(first_token_s=0.3, idle_s=60)))
    assert (parts, failure.code) == ([], "provider_idle")


async def test_a_first_token_may_take_longer_than_the_ones_after_it(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await asyncio.sleep(0.5)
        await peer.send(SSE_HEAD)
        await asyncio.sleep(0.5)
        await peer.send(chunk(said("a") + END), LAST)

    async with serving(script) as server:
        assert await heard(OpenAIProvider(client, server.url, patience=Patience(first_token_s=60, idle_s=0.3))) == [Text("a"), STOP]


async def test_a_provider_behind_a_proxy_is_asked_through_it() -> None:
    async with serving(answering(said("a") + END)) as proxy:
        clients = ProviderClients()
        async with clients.client(proxy.url) as client:
            assert await heard(OpenAIProvider(client, "http://nowhere.example/v1")) == [Text("a"), STOP]
        assert clients.client(proxy.url) is client
    assert proxy.asked[0].path == "http://nowhere.example/v1/chat/completions"


async def test_a_slow_but_steady_answer_is_not_idle(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD)
        for _ in range(8):  # in total longer than the bound
            await asyncio.sleep(0.1)
            await peer.send(chunk(b": still here\n\n"))
        await peer.send(chunk(said("a") + END), LAST)

    async with serving(script) as server:
        assert await heard(OpenAIProvider(client, server.url, patience=Patience(idle_s=0.6))) == [Text("a"), STOP]


async def test_closing_the_answer_closes_the_connection(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a")))
        await peer.left()

    async with serving(script) as server:
        async with aclosing(OpenAIProvider(client, server.url).stream(ask())) as answer:
            assert await anext(answer) == [Text("a")]
        await asyncio.wait_for(server.left.wait(), 60)


async def test_cancelling_a_reader_that_waits_closes_the_connection(client: httpx.AsyncClient) -> None:
    heard_first = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a")))
        await peer.left()

    async def read(url: str) -> None:
        async with aclosing(OpenAIProvider(client, url).stream(ask())) as answer:
            async for _ in answer:
                heard_first.set()

    async with serving(script) as server:
        task = asyncio.create_task(read(server.url))
        await asyncio.wait_for(heard_first.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 60)


async def test_several_hundred_answers_at_once_have_a_connection_each() -> None:
    everybody_is_here = asyncio.Barrier(300)

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("a")))
        await everybody_is_here.wait()
        await peer.send(chunk(END), LAST)

    async with serving(script) as server, provider_client() as client:
        provider = OpenAIProvider(client, server.url)
        answers = await asyncio.wait_for(asyncio.gather(*(heard(provider) for _ in range(300))), 60)
    assert all(answer == [Text("a"), STOP] for answer in answers)


async def test_the_models_are_listed_and_what_has_no_id_is_left_out(client: httpx.AsyncClient) -> None:
    body = json.dumps({"data": [{"id": "a", "created": 7, "owned_by": "me"}, {"name": "b"}, {"nothing": 1}, 3]}).encode()
    async with serving(lambda peer: _once(peer, whole(body))) as server:
        models = await OpenAIProvider(client, f"{server.url}/v1", KEY).models()
    assert [(model.id, model.name, model.owned_by, model.created) for model in models] == [("a", "a", "openai", 7), ("b", "b", "openai", 0)]
    assert server.asked[0].path == "/v1/models"
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (whole(b"<html>"), "provider_garbage"),
        (whole(b"7"), "provider_garbage"),
        (whole(b'{"data":' * 100_000), "provider_garbage"),
        (whole(b"no", "404 Not Found"), "provider_status"),
    ],
)
async def test_a_list_of_models_that_is_none_is_a_failure(client: httpx.AsyncClient, answer: bytes, code: str) -> None:
    async with serving(lambda peer: _once(peer, answer)) as server:
        with pytest.raises(ProviderFailed) as failed:
            await OpenAIProvider(client, server.url).models()
    assert failed.value.code == code


async def test_what_is_asked_may_hold_any_text(client: httpx.AsyncClient) -> None:
    async with serving(answering(END)) as server:
        await heard(OpenAIProvider(client, server.url), ProviderRequest(model="m", messages=[{"role": "user", "content": 'ü🦊"\n\u2028'}]))
    assert server.asked[0].json["messages"][0]["content"] == 'ü🦊"\n\u2028'


async def _once(peer: Peer, answer: bytes) -> None:
    await peer.asked()
    await peer.send(answer)
