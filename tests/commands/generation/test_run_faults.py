"""One generation whose provider fails, or whose log is not there: it ends all the same, with what was said."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from commands.generation import run as runs
from commands.generation.run import CONTENT_BYTES_MAX
from commands.ports import AppendRequest
from commands.providers.provider import (
    Finish,
    Part,
    ProviderRequest,
    Text,
    ToolCall,
    Usage,
)
from domain.errors import LogUnavailable, Overloaded, ProviderFailed, StenographError
from domain.generation import (
    GenerationCancelled,
    GenerationFailed,
    MessageDelta,
    MessageEnded,
)
from tests.commands.world import ME, ToldProvider, World, end_of, until

pytestmark = pytest.mark.anyio


async def test_a_failure_of_the_provider_is_said_with_the_text_so_far() -> None:
    world = World()
    run = await world.going()
    world.provider.say("Hel")
    world.provider.fail(ProviderFailed("provider_idle", "silent for \0 30 s \ud800"))
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationFailed("provider_idle", "silent for  30 s ", "Hel")
    assert world.provider.left == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug\0" + "x" * 10_000), KeyError("k"), ExceptionGroup("g", [ValueError()]), MemoryError()]
)
async def test_whatever_a_provider_raises_ends_its_answer_and_nothing_else(error: Exception) -> None:
    world = World()
    run, other = await world.going(), await world.going(provider=(second := ToldProvider()))
    world.provider.say("Hel")
    world.provider.fail(error)
    await run.wait()
    end = end_of(world, run.stream.id)
    assert isinstance(end, GenerationFailed)
    assert (end.code, end.content) == ("provider_failed", "Hel")
    assert end.detail.startswith(type(error).__name__)
    second.end()
    await other.wait()
    assert isinstance(end_of(world, other.stream.id), MessageEnded)


def stop_at_first_token(world: World, run: Any) -> None:
    async def stop(request: AppendRequest) -> None:
        if any(isinstance(event.data, MessageDelta) for append in request.appends for event in append.events):
            run.stop(ME.id)

    world.log.after_append = stop


async def test_a_provider_that_cannot_even_be_left_keeps_no_answer_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PROVIDER_CLOSE_S", 0.01)

    class Clinging(ToldProvider):
        async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
            try:
                yield [Text("Hel")]
                yield [Text("lo")]
            finally:
                await asyncio.sleep(1_000)

    class Bursting(ToldProvider):
        async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
            try:
                yield [Text("Hel")]
                yield [Text("lo")]
            finally:
                raise RuntimeError("it bursts")

    for provider in (Clinging(), Bursting()):
        world = World()
        run = await world.started(await world.chat(), provider)
        stop_at_first_token(world, run)
        world.runs.start(run)
        await run.wait()
        assert end_of(world, run.stream.id) == GenerationCancelled(ME.id, "Hel")


# ---------------------------------------------------------------------------------------------- when the log is not there


def failing(times: int, error: StenographError) -> Callable[[AppendRequest], Awaitable[None]]:
    left = times

    async def fail(request: AppendRequest) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            raise error

    return fail


@pytest.mark.parametrize("error", [LogUnavailable("silent"), Overloaded("the queue", 1)])
@pytest.mark.parametrize("when", ["before_append", "after_append"])
async def test_a_log_that_is_away_for_a_while_ends_no_run_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch, error: StenographError, when: str
) -> None:
    monkeypatch.setattr(runs, "APPEND_RETRY_S", 0)
    monkeypatch.setattr(runs, "CLOSE_RETRY_S", 0)
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    for piece in ("Hel", "lo"):
        setattr(world.log, when, failing(3, error))
        world.provider.say(piece)
        await until(lambda: world.provider.reading and world.log.types(run.stream.id)[-1] == "message_delta")
    setattr(world.log, when, failing(3, error))
    world.provider.end()
    await run.wait()
    assert world.log.types(run.stream.id)[2:] == ["content_block", "message_delta", "message_delta", "message_end"]
    assert end_of(world, run.stream.id).content == "Hello"


async def test_a_log_that_stays_away_ends_the_run_with_all_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "APPEND_RETRY_S", 0)
    monkeypatch.setattr(runs, "CLOSE_RETRY_S", 0)
    monkeypatch.setattr(runs, "APPEND_HOLD_S", -1)
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    world.log.before_append = failing(5, LogUnavailable("silent"))
    world.provider.say("Hello")
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationFailed("log_unavailable", "silent", "Hello")


async def test_a_run_that_waits_for_the_log_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "APPEND_RETRY_S", 0)
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    world.log.before_append = failing(1_000_000, LogUnavailable("silent"))
    world.provider.say("Hel")
    await until(lambda: world.log.appends > 10)
    run.stop(ME.id)
    world.log.before_append = None
    await run.wait()
    assert isinstance(end_of(world, run.stream.id), GenerationCancelled)


async def test_a_blob_that_cannot_be_kept_yet_is_kept_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CLOSE_RETRY_S", 0)
    world = World()
    left = 3

    async def fail() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise LogUnavailable("silent")

    world.log.blobs.before_put = fail
    run = await world.going()
    world.provider.say("x" * (CONTENT_BYTES_MAX + 1))
    world.provider.end()
    await run.wait()
    assert end_of(world, run.stream.id).content["size_bytes"] == CONTENT_BYTES_MAX + 1


@pytest.mark.parametrize(
    "last",
    [
        [Usage({"model": "a\0b"}), Finish("stop")],
        [Finish("stop\ud800")],
        [Usage({"huge": "x" * 300_000}), Finish("stop")],
    ],
    ids=["usage with U+0000", "reason with a surrogate", "usage too large"],
)
async def test_an_end_that_the_log_refuses_is_an_end_all_the_same(last: list[Part]) -> None:
    world = World()
    run = await world.going()
    world.provider.say("Hello")
    world.provider.say(*last)
    await run.wait()
    end = end_of(world, run.stream.id)
    assert isinstance(end, GenerationFailed)
    assert end.content == "Hello"
    assert end.code in ("content_refused", "bad_request")


async def test_a_block_that_the_log_refuses_ends_the_answer_with_what_came_before() -> None:
    world = World()
    run = await world.going()
    world.provider.say("Hello")
    world.provider.say(ToolCall(0, "{}", "id", "f\0"))
    await run.wait()
    end = end_of(world, run.stream.id)
    assert isinstance(end, GenerationFailed)
    assert end.content == "Hello"
