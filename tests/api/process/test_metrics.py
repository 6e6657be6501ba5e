"""What ``/metrics`` counts: each thing happens, and the scrape after it says so."""

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.asking import closed_port
from tests.api.conftest import Running, User, Wire, running
from tests.api.process.scrape import scrape

pytestmark = pytest.mark.anyio


async def chat_with(user: User, messages: int) -> str:
    """A chat of so many messages, at version ``messages + 1``."""
    chat_id = await user.new_chat()
    for number in range(messages):
        await user.add(chat_id, f"message {number}")
    return chat_id


async def caught_up(server: Running, user: User, stream: str, after: str) -> Wire:
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after=after)
    await wire.op("caught_up", stream=stream)
    return wire


async def ended(user: User, chat_id: str, type_: str, **asked: str) -> None:
    await user.ask(chat_id, **asked)
    page = await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types=type_)
    assert len(page.json()["events"]) == 1


async def test_generations_are_counted_by_how_they_ended(server: Running) -> None:
    user = await server.sign_up()
    await ended(user, await user.new_chat(), "message_end", model="demo:5")
    await ended(user, await user.new_chat(), "error", model="demo:fail")
    for run in server.system.runs.all():
        await run.wait()
    seen = await scrape(server)
    assert seen.value("stenograph_generations_total", outcome="completed") == 1
    assert seen.value("stenograph_generations_total", outcome="failed") == 1
    assert seen.value("stenograph_generations_total", outcome="interrupted") == 0
    assert seen.value("stenograph_provider_errors_total", code="provider_error") == 1
    assert seen.value("stenograph_provider_errors_total", code="provider_idle") == 0
    assert seen.value("stenograph_generation_duration_seconds_count") == 2
    assert seen.value("stenograph_generation_first_token_seconds_count") == 2
    assert seen.value("stenograph_generation_tokens_total", type="output") == 5
    assert seen.value("stenograph_generation_chunks_total") > 5
    assert seen.value("stenograph_runs_open") == 0


async def test_a_provider_that_gives_no_list_is_counted_by_its_code(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, ollama_base_urls=(closed_port(),))) as server:
        user = await server.sign_up()
        assert (await user.get("/api/models")).status_code == 200
        seen = await scrape(server)
        assert seen.value("stenograph_provider_list_errors_total", code="provider_unreachable") >= 1
        assert seen.value("stenograph_providers_failing") == 1


async def test_a_resume_says_how_many_events_it_brought_and_of_how_long_ago(server: Running) -> None:
    user = await server.sign_up()
    stream = f"chat/{await chat_with(user, 9)}"
    wire = await caught_up(server, user, stream, server.cursor(4))
    seen = await scrape(server)
    assert seen.value("stenograph_resumes_total", replay="suffix") == 1
    assert seen.value("stenograph_resume_events_sum", transport="websocket") == 6
    assert seen.value("stenograph_resume_age_seconds_count", transport="websocket") == 1
    assert seen.value("stenograph_resume_age_seconds_bucket", transport="websocket", le="600.0") == 1
    assert seen.value("stenograph_sockets") == 1

    await user.add(stream.removeprefix("chat/"), "what comes later is no part of it")
    await wire.until(lambda _: 11 in wire.versions(stream))
    assert (await scrape(server)).value("stenograph_resume_age_seconds_count", transport="websocket") == 1


async def test_who_has_missed_nothing_resumes_too(server: Running) -> None:
    user = await server.sign_up()
    stream = f"chat/{await chat_with(user, 2)}"
    await caught_up(server, user, stream, server.cursor(3))
    seen = await scrape(server)
    assert seen.value("stenograph_resume_events_bucket", transport="websocket", le="0.0") == 1
    assert seen.value("stenograph_resume_age_seconds_bucket", transport="websocket", le="1.0") == 1


@pytest.mark.parametrize("after", ["start", "now"])
async def test_who_names_no_event_does_not_resume(server: Running, after: str) -> None:
    user = await server.sign_up()
    stream = f"chat/{await chat_with(user, 2)}"
    await caught_up(server, user, stream, after)
    await user.get(f"/api/v1/streams/{stream}/events", after=after, live="long-poll", timeout_s=0.01)
    seen = await scrape(server)
    assert seen.value("stenograph_resumes_total", replay="suffix") == 0
    assert seen.value("stenograph_resumes_total", replay="snapshot") == 0


async def test_a_cursor_that_is_of_no_use_here_counts_as_a_snapshot(server: Running) -> None:
    user = await server.sign_up()
    stream = f"chat/{await chat_with(user, 2)}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after=server.cursor(99))
    await wire.op("snapshot", stream=stream)
    seen = await scrape(server)
    assert seen.value("stenograph_resumes_total", replay="snapshot") == 1
    assert seen.value("stenograph_resume_events_count", transport="websocket") == 0


async def test_event_streams_and_long_polls_resume_too(server: Running) -> None:
    user = await server.sign_up()
    path = f"/api/v1/streams/chat/{await chat_with(user, 4)}/events"
    headers = {"accept": "text/event-stream", "last-event-id": server.cursor(2)}
    async with user.http.stream("GET", path, headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line == "event: caught_up":
                break
    await user.get(path, after=server.cursor(1), live="long-poll")
    await user.get(path, after=server.cursor(5), live="long-poll", timeout_s=0.01)  # it has missed nothing, and waits: no resume
    await user.get(path, after=server.cursor(1))  # a page
    seen = await scrape(server)
    assert seen.value("stenograph_resume_events_sum", transport="sse") == 3
    assert seen.value("stenograph_resume_age_seconds_count", transport="sse") == 1
    assert seen.value("stenograph_resume_events_sum", transport="long-poll") == 4
    assert seen.value("stenograph_resume_age_seconds_count", transport="long-poll") == 1


async def test_what_the_server_refuses_and_closes_is_counted_by_its_code(server: Running) -> None:
    user = await server.sign_up()
    wire = await server.connect(user)
    await wire.say(op="hello", token="not a token")
    assert await wire.closed() == 4401
    assert (await user.get("/api/v1/folders/5f0c2a53-3f0e-4a3b-9a3c-0d6d3f0f3a11")).status_code == 404
    seen = await scrape(server)
    assert seen.value("stenograph_sockets_opened_total") == 1
    assert seen.value("stenograph_sockets_closed_total", code="4401") == 1
    assert seen.value("stenograph_http_responses_total", status="404") == 1
    assert seen.value("stenograph_http_responses_total", status="200") >= 1


async def test_the_log_the_appender_and_the_projectors_are_counted(settings: Settings, database: str) -> None:
    async with running(settings, database) as server:
        user = await server.sign_up()
        await chat_with(user, 3)
        await server.settled()
        seen = await scrape(server)
        head = server.system.tail.position
        assert seen.value("stenograph_log_head") == head
        assert seen.value("stenograph_append_events_total") == head
        assert seen.value("stenograph_append_batch_events_sum") == head
        assert seen.value("stenograph_append_batch_duration_seconds_count") == seen.value("stenograph_append_batches_total")
        assert seen.value("stenograph_delivery_lag_seconds_count") >= 1
        assert seen.value("stenograph_log_writable") == 1
        assert seen.value("stenograph_projection_position", projection="chat_list") <= head
        assert seen.value("stenograph_projection_owned", projection="chat_list") == 1
        assert seen.value("stenograph_projector_batch_duration_seconds_count", projector="projector") >= 1
        assert seen.value("stenograph_projector_retries_total", projector="figures_projector") == 0
