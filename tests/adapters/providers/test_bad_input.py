"""What providers send that is no answer, or a strange one: each is understood, or fails with a code and a text that says what came."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from adapters.providers.answers import answer_stream
from adapters.providers.http import retries
from adapters.providers.http.http import PATIENCE, Patience
from adapters.providers.http.lines import EVENT_BYTES_MAX
from adapters.providers.http.retries import RETRIES_MAX, WAITS_S_MAX, asked_wait_s
from adapters.providers.ollama.ollama import OllamaProvider
from adapters.providers.openai.openai import OpenAIProvider
from commands.providers.provider import Finish, Part, Skipped, Text, ToolCall, Waiting
from domain.errors import ProviderFailed
from tests.adapters.providers.asking import STOP, closed_port, heard, heard_until_failure, text
from tests.adapters.providers.scripted import (
    DONE,
    END,
    LAST,
    NDJSON_HEAD,
    SSE_HEAD,
    Peer,
    Script,
    answering,
    chunk,
    event,
    said,
    serving,
    whole,
)

pytestmark = pytest.mark.anyio

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; go on</title></head><body><h1>Hello</h1></body></html>"
MIB = 1024 * 1024
Api = type[OpenAIProvider] | type[OllamaProvider]
BOTH: Any = pytest.mark.parametrize("api", [OpenAIProvider, OllamaProvider])


def line(message: Any = None, **more: Any) -> bytes:
    """One line of an answer of Ollama."""
    return json.dumps({"model": "m", **({} if message is None else {"message": message}), "done": False, **more}).encode() + b"\n"


OLLAMA_END = line({"role": "assistant", "content": ""}, done=True, done_reason="stop")


def words(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if isinstance(part, Text | ToolCall | Finish)]


async def answer_to(api: Api, client: httpx.AsyncClient, script: Script, patience: Patience = PATIENCE) -> list[Part]:
    async with serving(script) as server:
        return await heard(api(client, server.url, patience=patience))


async def failure_of(api: Api, client: httpx.AsyncClient, script: Script, patience: Patience = PATIENCE) -> tuple[str, ProviderFailed]:
    """The text before the failure, and the failure."""
    async with serving(script) as server:
        parts, failure = await heard_until_failure(api(client, server.url, patience=patience))
    return text(parts), failure


# ------------------------------------------------------------------------------------------------------------- no answer


@BOTH
async def test_a_page_in_place_of_an_answer_is_named(client: httpx.AsyncClient, api: Api) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(PAGE, content_type="text/html"))

    _, failure = await failure_of(api, client, script)
    assert failure.code == "provider_garbage"
    assert str(failure).endswith("received an HTML page")


@BOTH
async def test_a_page_in_a_refusal_is_told_by_its_title(client: httpx.AsyncClient, api: Api) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(PAGE, "502 Bad Gateway", "text/html"))

    _, failure = await failure_of(api, client, script)
    assert (failure.code, str(failure)) == ("provider_status", "HTTP 502: an HTML page, 'Sign in & go on'")


@BOTH
async def test_a_page_in_place_of_the_list_of_models_is_named(client: httpx.AsyncClient, api: Api) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(PAGE, content_type="text/html"))

    async with serving(script) as server:
        with pytest.raises(ProviderFailed, match="received an HTML page, 'Sign in & go on'"):
            await api(client, server.url).models()


@BOTH
async def test_a_provider_that_is_down_is_unreachable(client: httpx.AsyncClient, api: Api) -> None:
    _, failure = await heard_until_failure(api(client, closed_port()))
    assert (failure.code, str(failure)) == ("provider_unreachable", "no connection")


# ------------------------------------------------------------------------------------------------------------- come later


def busy(*refusals: bytes, then: bytes, head: bytes) -> Script:
    """Refuses the first requests, then answers."""

    async def script(peer: Peer) -> None:
        waiting = list(refusals)
        while True:
            await peer.asked()
            await peer.send(waiting.pop(0) if waiting else head + chunk(then) + LAST)

    return script


def later(retry_after: str, status: str = "429 Too Many Requests") -> bytes:
    body = b'{"error": {"message": "slow down", "type": "rate_limit"}}'
    return f"HTTP/1.1 {status}\r\nretry-after: {retry_after}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_provider_that_says_when_is_asked_again(client: httpx.AsyncClient, status: str) -> None:
    script = busy(later("0", status), later("0", status), then=said("a") + END, head=SSE_HEAD)
    *waits, said_, end = await answer_to(OpenAIProvider, client, script)
    assert [type(wait) for wait in waits] == [Waiting, Waiting]
    assert (said_, end) == (Text("a"), STOP)
    assert "slow down" in waits[0].refusal and waits[0].wait_s == 0  # type: ignore[union-attr]  # looked at just above
    script = busy(later("0", status), then=line({"content": "a"}) + OLLAMA_END, head=NDJSON_HEAD)
    assert words(await answer_to(OllamaProvider, client, script)) == [Text("a"), STOP]


@BOTH
async def test_a_provider_that_goes_on_refusing_is_believed(client: httpx.AsyncClient, api: Api) -> None:
    async with serving(busy(*[later("0")] * (RETRIES_MAX + 5), then=b"", head=SSE_HEAD)) as server:
        _, failure = await heard_until_failure(api(client, server.url))
    assert len(server.asked) == RETRIES_MAX + 1
    assert str(failure) == "HTTP 429: slow down (rate_limit) (Retry-After: 0)"
    assert (failure.said["status"], failure.said["retry_after"]) == (429, "0")


@pytest.mark.parametrize("retry_after", [str(int(WAITS_S_MAX) + 1), "soon", "-1", "9" * 400])
async def test_too_long_a_wait_is_left_to_the_person(client: httpx.AsyncClient, retry_after: str) -> None:
    async with serving(busy(later(retry_after), then=said("a") + END, head=SSE_HEAD)) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert len(server.asked) == 1
    assert failure.said["retry_after"].startswith(retry_after[:100])


async def test_no_wait_is_longer_than_the_patience_for_the_first_token(client: httpx.AsyncClient) -> None:
    script = busy(later("5"), then=said("a") + END, head=SSE_HEAD)
    _, failure = await failure_of(OpenAIProvider, client, script, Patience(first_token_s=4))
    assert failure.code == "provider_status"


async def test_a_refusal_without_a_time_stands(client: httpx.AsyncClient) -> None:
    refusal = whole(b"busy", "429 Too Many Requests", "text/plain")
    async with serving(busy(refusal, then=said("a") + END, head=SSE_HEAD)) as server:
        _, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (len(server.asked), str(failure)) == (1, "HTTP 429: busy")


def test_the_time_may_be_a_date() -> None:
    def refused(retry_after: str, status: int = 429) -> ProviderFailed:
        return ProviderFailed("provider_status", "", {"status": status, "retry_after": retry_after})

    assert 50 < (asked_wait_s(refused(format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True))) or 0) <= 60
    assert asked_wait_s(refused("Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert asked_wait_s(refused("7")) == 7
    assert asked_wait_s(refused("7", status=500)) is None
    assert asked_wait_s(ProviderFailed("provider_status", "", {"status": 429})) is None


async def test_nothing_is_asked_again_once_there_was_a_token(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"error": {"message": "slow down", "code": 429}}
    async with serving(answering(said("half"), event(error))) as server:
        parts, failure = await heard_until_failure(OpenAIProvider(client, server.url))
    assert (len(server.asked), text(parts), str(failure)) == (1, "half", "slow down (429)")


async def test_a_person_who_stops_does_not_wait(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "WAITS_S_MAX", 1_000.0)
    async with serving(busy(later("300"), then=b"", head=SSE_HEAD)) as server:
        asking = asyncio.create_task(heard(OpenAIProvider(client, server.url, patience=Patience(first_token_s=900))))
        while not server.asked:  # noqa: ASYNC110  # a condition on the server's state has no event
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, 60)


# ---------------------------------------------------------------------------------------------------- errors in mid-stream


@BOTH
async def test_a_connection_that_ends_in_mid_answer_broke_off(client: httpx.AsyncClient, api: Api) -> None:
    first = said("half") if api is OpenAIProvider else line({"content": "half"})

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(first), b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")

    before, failure = await failure_of(api, client, script)
    assert (before, failure.code) == ("half", "provider_broke_off")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"error": {"message": "overloaded", "type": "server_error", "code": 500}}, "overloaded (500)"),
        ({"error": "overloaded"}, "overloaded"),
        ({"error": {"message": "overloaded"}, "choices": []}, "overloaded"),
        ({"object": "error", "message": "overloaded"}, "overloaded"),
        ({"error": ["overloaded"]}, '["overloaded"]'),
    ],
)
async def test_an_error_in_the_stream_ends_it_with_its_words(client: httpx.AsyncClient, error: Any, told: str) -> None:
    before, failure = await failure_of(OpenAIProvider, client, answering(said("half"), event(error), said("more"), DONE))
    assert (before, failure.code, str(failure)) == ("half", "provider_error", told)


async def test_an_error_in_a_line_without_data_ends_it(client: httpx.AsyncClient) -> None:
    before, failure = await failure_of(OpenAIProvider, client, answering(said("half"), b'{"error": {"message": "gone"}}\n\n'))
    assert (before, failure.code, str(failure)) == ("half", "provider_error", "gone")


async def test_an_error_line_of_ollama_ends_it(client: httpx.AsyncClient) -> None:
    before, failure = await failure_of(
        OllamaProvider, client, answering(line({"content": "half"}), b'{"error": "cut"}\n', head=NDJSON_HEAD)
    )
    assert (before, failure.code, str(failure)) == ("half", "provider_error", "cut")


# ---------------------------------------------------------------------------------------------------------- too much of it


@BOTH
async def test_a_line_of_5_mb_fails_and_says_how_much_is_taken(client: httpx.AsyncClient, api: Api) -> None:
    long = "x" * (5 * MIB)
    pieces = (said("half"), said(long)) if api is OpenAIProvider else (line({"content": "half"}), line({"content": long}))
    before, failure = await failure_of(api, client, answering(*pieces, head=SSE_HEAD))
    assert (before, failure.code) == ("half", "provider_garbage")
    assert str(failure) == f"expected events of at most {EVENT_BYTES_MAX} bytes, received a larger one"


def endless(piece: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD)
        while True:
            await peer.send(chunk(piece))

    return script


@BOTH
async def test_an_answer_that_never_ends_is_ended_by_its_time(client: httpx.AsyncClient, api: Api) -> None:
    piece = said("a") if api is OpenAIProvider else line({"content": "a"})
    before, failure = await failure_of(api, client, endless(piece), Patience(answer_s=0.3))
    assert set(before) == {"a"}
    assert (failure.code, str(failure)) == (
        "provider_endless",
        "the answer has no end after 0.3 s (STENO_PROVIDER_ANSWER_TIMEOUT_S)",
    )


@BOTH
async def test_an_answer_that_never_ends_is_ended_by_its_size(client: httpx.AsyncClient, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_stream, "STREAM_BYTES_MAX", MIB)
    monkeypatch.setattr("adapters.providers.http.http.STREAM_BYTES_MAX", MIB)
    piece = said("a" * 1_000) if api is OpenAIProvider else line({"content": "a" * 1_000})
    before, failure = await failure_of(api, client, endless(piece))
    assert 100_000 < len(before) < 2 * MIB
    assert (failure.code, str(failure)) == ("provider_endless", f"the answer is larger than {MIB} bytes and has no end")


async def test_comments_without_end_do_not_keep_an_answer_open(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(SSE_HEAD, chunk(said("half")))
        while True:
            await peer.send(chunk(b": ping\n\n"))
            await asyncio.sleep(0.01)

    before, failure = await failure_of(OpenAIProvider, client, script, Patience(answer_s=0.3))
    assert (before, failure.code) == ("half", "provider_endless")


# ------------------------------------------------------------------------------------------------- strange, and understood

FIRST, SECOND = said("Hel"), said("lo")
STRANGE = {
    "CRLF": (FIRST + SECOND + END).replace(b"\n", b"\r\n"),
    "CR alone": (FIRST + SECOND + END).replace(b"\n", b"\r"),
    "a byte order mark": b"\xef\xbb\xbf" + FIRST + SECOND + END,
    "comments": b": OPENROUTER PROCESSING\n\n" + FIRST + b":\n\n:ping\n" + SECOND + END,
    "no end mark": FIRST + SECOND + said(finish_reason="stop"),
    "no finish reason": FIRST + SECOND + DONE,
    "empty choices": event({"choices": []}) + FIRST + event({"choices": [], "usage": None}) + SECOND + END,
    "a null delta": event({"choices": [{"index": 0, "delta": None}]}) + FIRST + SECOND + END,
    "null choices": event({"choices": None, "usage": {"total_tokens": 1}}) + FIRST + SECOND + END,
    "null everywhere": event({"choices": [{"index": None, "delta": {"content": None, "tool_calls": None, "role": None}}]})
    + FIRST
    + SECOND
    + END,
    "event names and ids": FIRST.replace(b"data:", b"event: message\nid: 1\nretry: 10\ndata:") + SECOND + END,
    "no space after data:": (FIRST + SECOND + END).replace(b"data: ", b"data:"),
}


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_strange_stream_is_understood(body: bytes, size: int, client: httpx.AsyncClient) -> None:
    parts = await answer_to(OpenAIProvider, client, answering(*(body[at : at + size] for at in range(0, len(body), size))))
    assert text(parts) == "Hello"
    assert parts[-1] == STOP


OLLAMA_LINES = line({"content": "Hel"}) + line({"content": "lo"})
STRANGE_LINES = {
    "CRLF": (OLLAMA_LINES + OLLAMA_END).replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + OLLAMA_LINES + OLLAMA_END,
    "empty lines": OLLAMA_LINES.replace(b"\n", b"\n\n \n") + OLLAMA_END,
    "no line end": OLLAMA_LINES + OLLAMA_END.rstrip(),
    "a null message": b'{"model": "m", "message": null, "done": false}\n' + OLLAMA_LINES + OLLAMA_END,
    "null everywhere": line({"content": None, "thinking": None, "tool_calls": None, "images": None}) + OLLAMA_LINES + OLLAMA_END,
    "an end without a message": OLLAMA_LINES + b'{"done": true, "done_reason": "stop"}\n',
    "an end without a reason": OLLAMA_LINES + b'{"done": true}\n',
}


@pytest.mark.parametrize("body", STRANGE_LINES.values(), ids=STRANGE_LINES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_strange_lines_are_understood(body: bytes, size: int, client: httpx.AsyncClient) -> None:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    parts = await answer_to(OllamaProvider, client, answering(*pieces, head=NDJSON_HEAD))
    assert text(parts) == "Hello"
    assert parts[-1] == STOP


def calls_of(parts: Sequence[Part]) -> dict[int, tuple[str | None, str]]:
    """Name and arguments of each call."""
    calls: dict[int, tuple[str | None, str]] = {}
    for part in parts:
        if isinstance(part, ToolCall):
            name, arguments = calls.get(part.index, (part.name, ""))
            calls[part.index] = (name, arguments + part.arguments)
    return calls


def call(**given: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"tool_calls": [given]}}]})


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (call(id="a", function={"name": "f", "arguments": "{"}) + call(function={"arguments": "}"}), {0: ("f", "{}")}),
        (call(id="a", function={"name": "f", "arguments": "{}"}) + call(id="b", function={"name": "g"}), {0: ("f", "{}"), 1: ("g", "")}),
        (call(index=0, function={"arguments": "{}"}), {0: (None, "{}")}),
        (call(index=0, id="a"), {0: (None, "")}),
        (call(index=0, id="a", function=None), {0: (None, "")}),
        (call(index=3, id="a", function={"name": "f", "arguments": None}), {0: ("f", "")}),
        (event({"choices": [{"index": 0, "delta": {"tool_calls": [None, "x", {}]}}]}), {0: (None, "")}),
    ],
    ids=["no index", "two without index", "no name", "no function", "a null function", "a gap in the indexes", "no calls at all"],
)
async def test_calls_without_name_or_index_are_told_apart(client: httpx.AsyncClient, body: bytes, calls: Any) -> None:
    parts = await answer_to(OpenAIProvider, client, answering(body, said(finish_reason="tool_calls"), DONE))
    assert calls_of(parts) == calls
    assert parts[-1] == Finish("tool_calls")
    assert not [part for part in parts if isinstance(part, Skipped)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"function": {"name": "f", "arguments": {"a": 1}}}, ("f", '{"a": 1}')),
        ({"function": {"arguments": {}}}, (None, "{}")),
        ({"function": {"name": "f"}}, ("f", "{}")),
        ({"id": "x"}, (None, "{}")),
        ({"function": {"name": "f", "arguments": "not an object"}}, ("f", "not an object")),
    ],
)
async def test_calls_of_ollama_without_name_or_arguments_are_kept(client: httpx.AsyncClient, given: Any, expected: Any) -> None:
    script = answering(line({"content": "", "tool_calls": [given]}), OLLAMA_END, head=NDJSON_HEAD)
    parts = await answer_to(OllamaProvider, client, script)
    ((name, arguments),) = calls_of(parts).values()
    assert (name or None, arguments) == expected
    assert parts[-1] == Finish("tool_calls")
