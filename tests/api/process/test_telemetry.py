"""One trace from a request to the commit to the delivery, and the metrics of generations, as a real OTLP receiver gets them."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from api.process import telemetry
from api.process.telemetry import TelemetryMissing, require_telemetry
from api.settings import Settings
from tests.adapters.providers.asking import closed_port
from tests.adapters.telemetry.receiver import Receiver, attributes, receiving
from tests.api.conftest import User, running
from tests.crash.processes import ServerProcess
from tests.docs.pages import ROOT, rows

pytestmark = pytest.mark.anyio
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
TITLE, WORDS, PASSWORD = "A secret title", "Nobody but us shall read this", "correct horse"
DUPLICATE = "5f0c2a53-3f0e-4a3b-9a3c-0d6d3f0f3a11"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def traced(settings: Settings, receiver: Receiver) -> Settings:
    return msgspec.structs.replace(settings, otel_endpoint=receiver.url)


async def say(user: User, chat_id: str, content: str = WORDS, traceparent: str = TRACEPARENT, **body: Any) -> httpx.Response:
    message = {"role": "user", "content": content, **body}
    headers = {"traceparent": traceparent, "tracestate": "vendor=hush"}
    return await user.http.post(f"/api/v1/chats/{chat_id}/messages", json=message, headers=headers)


def named(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def below(spans: list[Span], parent: Span, name: str) -> list[Span]:
    return [span for span in spans if span.parent_span_id == parent.span_id and span.name == name]


async def test_one_trace_leads_from_the_request_to_the_commit_to_the_delivery(traced: Settings, receiver: Receiver, database: str) -> None:
    async with running(traced, database) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        wires = [await server.connect(user) for _ in range(2)]
        for wire in wires:
            await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="now")
            await wire.op("caught_up", stream=f"chat/{chat_id}")
        assert (await say(user, chat_id)).status_code == 200
        for wire in wires:
            await wire.event(f"chat/{chat_id}", "message_added")
        position = server.system.tail.position
    spans = receiver.of_trace(TRACE)
    request = named(spans, "POST /api/v1/chats/{chat_id}/messages")
    assert (request.kind, request.parent_span_id.hex()) == (Span.SPAN_KIND_SERVER, CALLER)
    seen = attributes(request.attributes)
    assert (seen["http.request.method"], seen["http.response.status_code"]) == ("POST", 200)
    assert seen["http.route"] == "/api/v1/chats/{chat_id}/messages"
    (command,) = below(spans, request, "command chat")
    assert attributes(command.attributes)["stenograph.command.facts"] == ["MessageAdded"]
    (commit,) = below(spans, command, "commit")
    assert attributes(commit.attributes)["stenograph.log.position"] <= position
    deliveries = [attributes(span.attributes) for span in below(spans, commit, "deliver")]
    chat = next(one for one in deliveries if one["stenograph.stream.kind"] == "chat")
    assert (chat["stenograph.delivery.subscriptions"], chat["stenograph.delivery.handed"]) == (2, 2)
    assert request.start_time_unix_nano <= command.start_time_unix_nano <= commit.end_time_unix_nano <= command.end_time_unix_nano
    # The batch belongs to many traces: links lead there and back.
    (link,) = commit.links
    (batch,) = [span for span in receiver.spans if span.span_id == link.span_id]
    assert (batch.name, batch.parent_span_id) == ("append_batch", b"")
    assert batch.trace_id.hex() != TRACE
    assert command.span_id in [link.span_id for link in batch.links]
    assert attributes(batch.attributes)["db.system.name"] == "postgresql"
    assert {one["service.name"] for one in receiver.resources} == {"stenograph"}


async def test_a_generation_is_a_span_of_its_request_and_its_tokens_are_not(traced: Settings, receiver: Receiver, database: str) -> None:
    async with running(traced, database) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        user.http.headers["traceparent"] = TRACEPARENT
        await user.ask(chat_id, "demo:30", WORDS)
        del user.http.headers["traceparent"]
        page = await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types="message_end")
        assert len(page.json()["events"]) == 1
    spans = receiver.of_trace(TRACE)
    generation = named(spans, "chat demo:30")
    assert generation.kind == Span.SPAN_KIND_CLIENT
    seen = attributes(generation.attributes)
    assert (seen["gen_ai.operation.name"], seen["gen_ai.provider.name"], seen["gen_ai.request.model"]) == ("chat", "demo", "demo:30")
    assert (seen["gen_ai.usage.output_tokens"], seen["gen_ai.response.finish_reasons"]) == (30, ["stop"])
    assert seen["stenograph.generation.outcome"] == "completed"
    request = named(spans, "POST /api/chat/completions")
    assert generation.parent_span_id == request.span_id
    commands = below(spans, generation, "command chat")
    facts = [name for command in commands for name in attributes(command.attributes)["stenograph.command.facts"]]
    assert len(commands) == 2, "the first token and the end"
    assert {"MessageDelta", "MessageEnded"} <= set(facts)
    assert all(below(spans, command, "commit") for command in commands)


async def test_generations_are_counted_by_the_conventions_whether_or_not_they_are_traced(traced: Settings, receiver: Receiver) -> None:
    async with running(traced) as server:
        user = await server.sign_up()
        for model, end in (("demo:5", "message_end"), ("demo:fail", "error")):
            chat_id = await user.new_chat()
            user.http.headers["traceparent"] = TRACEPARENT[:-1] + "0"
            await user.ask(chat_id, model, WORDS)
            page = await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types=end)
            assert len(page.json()["events"]) == 1
    assert receiver.of_trace(TRACE) == [], "its caller has not sampled it"
    demo = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "demo", "gen_ai.request.model": "demo:5"}
    durations = {
        attributes(point.attributes)["gen_ai.request.model"]: point for point in receiver.points("gen_ai.client.operation.duration")
    }
    assert attributes(durations["demo:5"].attributes) == demo
    assert attributes(durations["demo:fail"].attributes)["error.type"] == "provider_error"
    assert [point.count for point in durations.values()] == [1, 1]
    assert list(durations["demo:5"].explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    tokens = {
        attributes(point.attributes)["gen_ai.token.type"]: point.sum
        for point in receiver.points("gen_ai.client.token.usage")
        if attributes(point.attributes)["gen_ai.request.model"] == "demo:5"
    }
    assert tokens["output"] == 5
    for name in ("gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"):
        (point,) = receiver.points(name)
        assert (attributes(point.attributes), point.count) == (demo, 1)


async def test_no_word_and_no_secret_of_a_person_is_sent(traced: Settings, receiver: Receiver, database: str) -> None:
    async with running(traced, database) as server:
        user = await server.sign_up()
        user.http.headers["traceparent"] = TRACEPARENT
        key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
        chat_id = await user.new_chat(TITLE)
        await say(user, chat_id)
        await user.ask(chat_id, "demo:3", WORDS)
        await user.post(f"/api/v1/channels/webhooks/{DUPLICATE}/{key}", {"content": WORDS})
        await user.get("/api/v1/chats/search", text=WORDS)
        await user.http.request(f"{PASSWORD.replace(' ', '')}", "/api/v1/chats/")  # a method is a caller's word, too
        page = await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types="message_end")
        assert len(page.json()["events"]) == 1
    sent = b"".join(receiver.received)
    assert len(receiver.of_trace(TRACE)) > 10
    secrets = [user.email, user.token, user.id, key, TITLE, "secret", WORDS, "Nobody", PASSWORD, "correct", chat_id, "hush", "Ada"]
    assert [one for one in secrets if one.encode() in sent] == []


@pytest.mark.parametrize("traceparent", ["", "no trace", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}", "x" * 5000])
async def test_a_traceparent_that_is_none_begins_a_trace(traced: Settings, receiver: Receiver, traceparent: str) -> None:
    async with running(traced) as server:
        user = await server.sign_up()
        assert (await say(user, await user.new_chat(), traceparent=traceparent)).status_code == 200
    request = named(receiver.spans, "POST /api/v1/chats/{chat_id}/messages")
    assert request.parent_span_id == b""
    assert request.trace_id.hex() != TRACE


async def test_a_refused_command_says_its_code_and_not_its_text(traced: Settings, receiver: Receiver) -> None:
    async with running(traced) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        assert (await say(user, chat_id, id=DUPLICATE)).status_code == 200
        refused = await say(user, chat_id, "Other words", id=DUPLICATE)
        assert refused.status_code == 409
    failed = [span for span in receiver.of_trace(TRACE) if span.name == "command chat" and span.status.code == Status.STATUS_CODE_ERROR]
    assert {attributes(span.attributes)["error.type"] for span in failed} == {refused.json()["code"]}
    assert all(span.status.message == "" and not span.events for span in failed)


async def test_a_receiver_that_is_away_holds_nothing_up(settings: Settings, database: str) -> None:
    async with running(msgspec.structs.replace(settings, otel_endpoint=closed_port()), database) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        assert (await say(user, chat_id)).status_code == 200


async def test_what_watches_the_server_is_not_traced(traced: Settings, receiver: Receiver) -> None:
    async with running(traced) as server, server.client() as stranger:
        for path in ("/health", "/ready", "/metrics"):
            assert (await stranger.get(path)).status_code == 200
    assert receiver.spans == []


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PACKAGES", ("stenograph-has-no-such-package",))
    require_telemetry(Settings())
    with pytest.raises(TelemetryMissing, match=r"pip install 'stenograph\[otel\]'"):
        require_telemetry(Settings(otel_endpoint="http://127.0.0.1:4318"))


def test_without_the_setting_nothing_of_it_is_loaded() -> None:
    script = "import json, sys, api.process.serve; print(json.dumps([m for m in sys.modules if m.startswith(('opentelemetry', 'google'))]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    loaded: list[Mapping[str, Any]] = json.loads(done.stdout)
    assert loaded == []


async def test_the_reference_names_each_span_and_each_metric_that_is_sent(traced: Settings, receiver: Receiver, database: str) -> None:
    async with running(traced, database) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        await user.ask(chat_id, "demo:3")
        page = await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types="message_end")
        assert len(page.json()["events"]) == 1
    reference = ROOT / "docs" / "reference" / "metrics.md"
    written = {row[0].partition("`, ")[0].strip("`").split()[0]: set(re.findall(r"`([^`]+)`", row[3])) for row in rows(reference, "span")}
    requests = {"POST", "GET"}
    for span in receiver.spans:
        kind = span.name.split()[0]
        assert attributes(span.attributes).keys() <= written["POST" if kind in requests else kind], span.name
    assert {span.name.split()[0] for span in receiver.spans} - requests == written.keys() - requests
    assert receiver.histograms == {row[0].strip("`"): row[1] for row in rows(reference, "histogram")}


async def test_each_process_of_a_server_sends_its_own(receiver: Receiver, tmp_path: Path, database: str) -> None:
    server = ServerProcess(tmp_path / "data", database, workers=2, otel_endpoint=receiver.url)
    try:
        await server.start()
        # Each request is a connection of its own: with two processes at one address, either takes it.
        async with httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_keepalive_connections=0), timeout=30) as http:
            async with asyncio.timeout(60):
                while len({one["service.instance.id"] for one in receiver.resources}) < 2:
                    await http.get("/api/config", headers={"traceparent": TRACEPARENT})
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0, server.said()
    finally:
        server.kill()
    assert {span.name for span in receiver.of_trace(TRACE)} == {"GET /api/config"}
