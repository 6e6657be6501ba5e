"""One generation, from a provider that a test tells what to say, to the log."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from commands.content.references import resolve_blobs
from commands.generation.answer_builder import joined
from commands.generation.run import CONTENT_BYTES_MAX, DELTAS_PER_APPEND_MAX
from commands.ports import ANY, AppendRequest, StreamAppend
from commands.providers.provider import (
    Extras,
    File,
    Finish,
    Logprobs,
    Part,
    ProviderRequest,
    Reasoning,
    RefusalText,
    Source,
    Text,
    ToolCall,
    Usage,
    Waiting,
)
from domain.accounts.user.facts import UserDeactivated
from domain.chat.commands import DeleteChat, RenameChat
from domain.errors import Overloaded, ProviderFailed
from domain.generation import (
    REFUSAL,
    BlockOpened,
    EndGeneration,
    GenerationCancelled,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
)
from domain.log.event import Emitted, Event, StoredEvent
from domain.log.stream import chat_stream, user_stream
from tests.commands.world import ME, NODE, SOMEBODY, ToldProvider, World, end_of, until

pytestmark = pytest.mark.anyio


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_an_answer_is_in_the_log_token_by_token_and_whole_at_its_end() -> None:
    world = World()
    run = await world.going()
    world.provider.say(Reasoning("hm"), "Hel")
    world.provider.say("lo")
    world.provider.say(ToolCall(0, '{"a":', "c1", "f"), ToolCall(0, "1}"), Usage({"total_tokens": 9}), Finish("tool_calls"))
    await run.wait()
    said = [event.data for event in world.log.of(run.stream.id)][2:-1]
    assert said == [
        BlockOpened(0, "reasoning"),
        MessageDelta(0, "hm"),
        BlockOpened(1, "text"),
        MessageDelta(1, "Hel"),
        MessageDelta(1, "lo"),
        BlockOpened(2, "tool_call", "f", "c1"),
        MessageDelta(2, '{"a":'),
        MessageDelta(2, "1}"),
    ]
    end = end_of(world, run.stream.id)
    assert isinstance(end, MessageEnded)
    assert (end.content, end.sha256, end.finish_reason, end.usage) == ("Hello", sha256("Hello"), "tool_calls", {"total_tokens": 9})
    assert [(block.type, block.sha256) for block in end.blocks] == [
        ("reasoning", sha256("hm")),
        ("text", sha256("Hello")),
        ("tool_call", sha256('{"a":1}')),
    ]
    assert end.deltas == 5
    assert end.timings.first_token_ms is not None
    assert end.timings.first_token_ms <= end.timings.total_ms
    assert world.provider.left == 1
    assert len(world.runs) == 0


async def test_what_one_read_brings_is_one_append_and_much_of_it_is_joined() -> None:
    world = World()
    run = await world.going()
    appends = world.log.appends
    world.provider.say(*[Text(str(number)) for number in range(100)], Finish("stop"))
    await run.wait()
    assert world.log.appends == appends + 2
    deltas = [event.data for event in world.log.of(run.stream.id) if isinstance(event.data, MessageDelta)]
    assert len(deltas) <= DELTAS_PER_APPEND_MAX
    assert sum(delta.chunks for delta in deltas) == 100
    assert end_of(world, run.stream.id).deltas == len(deltas)
    assert end_of(world, run.stream.id).content == "".join(str(number) for number in range(100))


async def test_the_provider_is_not_read_while_the_log_is_slow() -> None:
    world = World()
    run = await world.going()
    released = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        await released.wait()

    await until(lambda: world.provider.reading == 1)
    world.log.before_append = hold
    world.provider.say("a")
    world.provider.say("b")
    await until(lambda: world.log.appends == 3)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (world.log.appends, world.provider.reading) == (3, 0)
    released.set()
    world.provider.end()
    await run.wait()
    assert end_of(world, run.stream.id).content == "ab"


async def test_a_wait_for_the_provider_is_shown() -> None:
    world = World()
    run = await world.going()
    world.provider.say(Waiting(5.0, "HTTP 429: slow \0 down"))
    world.provider.say("Hello", Finish("stop"))
    await run.wait()
    assert world.log.types(run.stream.id)[2:] == ["status", "content_block", "message_delta", "message_end"]
    (status,) = [event.data.data for event in world.log.of(run.stream.id) if isinstance(event.data, Emitted)]
    assert status == {"description": "HTTP 429: slow  down. Asked again in 5 s", "done": True}
    assert end_of(world, run.stream.id).content == "Hello"


async def test_a_wait_that_cannot_be_shown_ends_nothing() -> None:
    world = World()
    run = await world.going()

    async def away(_: AppendRequest) -> None:
        world.log.before_append = None
        raise Overloaded("the log", 1)

    world.log.before_append = away
    world.provider.say(Waiting(5.0, "busy"))
    world.provider.say("Hello", Finish("stop"))
    await run.wait()
    assert world.log.types(run.stream.id)[2:] == ["content_block", "message_delta", "message_end"]


async def test_what_was_held_is_in_the_log_when_an_answer_is_stopped_or_fails() -> None:
    for end in ("stopped", "failed"):
        world = World()
        run = await world.going()
        world.provider.say("<think>a</think> b <thi")
        await until(lambda: world.provider.reading == 1)  # noqa: B023  # it is awaited before the next turn
        if end == "failed":
            world.provider.fail(ProviderFailed("provider_broke_off", "cut"))
        else:
            await world.runs.stop(run.stream, run.message_id, ME.id)
        await run.wait()
        assert end_of(world, run.stream.id).content == "b <thi"
        parts = [event.data for event in world.log.of(run.stream.id) if isinstance(event.data, BlockOpened | MessageDelta)]
        written = "".join(part.text if isinstance(part, MessageDelta) else part.preceded_by or "" for part in parts)
        assert written == "<think>a</think> b <thi"


async def test_an_empty_answer_ends_too() -> None:
    world = World()
    run = await world.going()
    world.provider.end("length")
    await run.wait()
    end = end_of(world, run.stream.id)
    assert (end.content, end.blocks, end.deltas, end.finish_reason, end.timings.first_token_ms) == ("", [], 0, "length", None)


async def test_text_that_no_log_can_hold_is_left_out() -> None:
    world = World()
    run = await world.going()
    world.provider.say("a\0b", "\ud800", "\0", "c\udfff", Finish("stop"))
    await run.wait()
    end = end_of(world, run.stream.id)
    assert isinstance(end, MessageEnded)
    assert (end.content, end.sha256, end.deltas) == ("abc", sha256("abc"), 2)


async def test_a_large_answer_is_kept_by_reference() -> None:
    world = World()
    run = await world.going()
    piece = "ü" * 10_000
    for _ in range(10):
        world.provider.say(piece)
    world.provider.end()
    await run.wait()
    end = end_of(world, run.stream.id)
    assert end.content["size_bytes"] == 200_000 > CONTENT_BYTES_MAX
    assert await world.log.blobs.get(chat_stream(run.stream.id), end.content["blob"]) == (piece * 10).encode()
    assert end.content["blob"] == end.sha256 == sha256(piece * 10)


async def test_others_in_the_same_chat_are_no_obstacle() -> None:
    world = World()
    chat_id = await world.chat()
    elsewhere = World(world.log)
    second = ToldProvider()
    one, two = await world.going(chat_id), await world.going(chat_id, second)
    for number in range(40):
        world.provider.say(f"{number} ")
        second.say(f"{number}, ")
        await elsewhere.chats.handle(RenameChat(chat_id=chat_id, by=ME.id, title=f"{number}"))
    world.provider.end()
    second.end()
    await asyncio.gather(one.wait(), two.wait())
    ends = {event.message_id: event.data.content for event in world.log.of(chat_id) if isinstance(event.data, MessageEnded)}
    numbers = [str(number) for number in range(40)]
    assert ends == {one.message_id: " ".join(numbers) + " ", two.message_id: ", ".join(numbers) + ", "}


# ------------------------------------------------------------------------------------------------------- how it may end


@pytest.mark.parametrize(
    ("ask", "end"),
    [
        (lambda run: run.stop(SOMEBODY.id), GenerationCancelled(SOMEBODY.id, "Hel")),
        (lambda run: run.stop(None), GenerationCancelled(None, "Hel")),
        (lambda run: run.interrupt(), GenerationInterrupted(NODE, "Hel")),
        (lambda run: (run.stop(ME.id), run.interrupt(), run.stop(SOMEBODY.id)), GenerationCancelled(ME.id, "Hel")),
    ],
)
async def test_who_is_asked_to_end_ends_while_it_waits_for_its_provider(ask: Callable[[Any], object], end: Any) -> None:
    world = World()
    run = await world.going()
    world.provider.say("Hel")
    await until(lambda: "message_delta" in world.log.types(run.stream.id) and world.provider.reading)
    ask(run)
    await run.wait()
    assert end_of(world, run.stream.id) == end
    assert world.provider.left == 1


async def test_who_is_asked_to_end_before_it_began_ends_at_once() -> None:
    world = World()
    run = await world.started(await world.chat())
    run.stop(ME.id)
    world.runs.start(run)
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationCancelled(ME.id, "")


async def test_an_append_on_its_way_is_never_broken_off() -> None:
    world = World()
    run = await world.going()
    released, cancelled = asyncio.Event(), []

    async def hold(request: AppendRequest) -> None:
        try:
            await released.wait()
        except asyncio.CancelledError:
            cancelled.append(request)
            raise

    await until(lambda: world.provider.reading)
    world.log.before_append = hold
    world.provider.say("Hel")
    await until(lambda: world.log.appends == 3)
    run.stop(ME.id)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not cancelled
    released.set()
    await run.wait()
    assert world.log.types(run.stream.id)[-2:] == ["message_delta", "cancelled"]
    assert end_of(world, run.stream.id) == GenerationCancelled(ME.id, "Hel")


async def test_the_end_that_was_asked_for_is_the_end_also_if_the_provider_takes_it_badly() -> None:
    class Sulking(ToldProvider):
        async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
            try:
                async for parts in super().stream(ask):
                    yield parts
            except asyncio.CancelledError:
                raise ProviderFailed("provider_broke_off", "cut") from None

    world = World()
    run = await world.going(provider=(provider := Sulking()))
    await until(lambda: provider.reading)
    run.stop(ME.id)
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationCancelled(ME.id, "")


async def test_a_generation_that_ended_elsewhere_is_left_alone() -> None:
    world = World()
    elsewhere = World(world.log)
    run = await world.going()
    world.provider.say("Hel")
    await until(lambda: "message_delta" in world.log.types(run.stream.id) and world.provider.reading)
    outcome = GenerationInterrupted(NODE, "Hel")
    await elsewhere.chats.handle(EndGeneration(stream_id=run.stream.id, message_id=run.message_id, outcome=outcome))
    world.provider.say("lo")  # the run does not know yet: its append does
    await run.wait()
    assert end_of(world, run.stream.id) == outcome
    assert world.provider.left == 1


async def test_a_run_that_hears_of_its_end_does_not_wait_for_its_provider() -> None:
    world = World()
    elsewhere = World(world.log)
    run = await world.going()
    await until(lambda: world.provider.reading)
    await elsewhere.chats.handle(EndGeneration(stream_id=run.stream.id, message_id=run.message_id, outcome=GenerationCancelled(ME.id)))
    world.runs.observe(world.log.events[-1])
    await run.wait()
    assert world.log.types(run.stream.id).count("cancelled") == 1
    assert world.provider.left == 1


async def deactivated(world: World, user_id: UUID) -> StoredEvent:
    """The account's last event, in the log."""
    await world.log.append(AppendRequest([StreamAppend(user_stream(user_id), [Event(None, UserDeactivated())], ANY)]))
    return world.log.events[-1]


async def test_the_runs_of_a_deactivated_account_stop_and_no_other() -> None:
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    world.runs.observe(await deactivated(world, SOMEBODY.id))
    assert world.runs.all() == [run]
    world.runs.observe(await deactivated(world, ME.id))
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationCancelled(None, "")


async def test_a_run_that_begins_after_its_account_was_deactivated_says_nothing() -> None:
    world = World()
    run = await world.started(await world.chat())
    world.runs.observe(await deactivated(world, ME.id))
    world.runs.start(run)
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationCancelled(None, "")
    assert not world.provider.asked


async def test_a_stop_that_crosses_an_end_from_elsewhere_changes_nothing() -> None:
    world = World()
    elsewhere = World(world.log)
    run = await world.going()
    await until(lambda: world.provider.reading)
    await elsewhere.chats.handle(EndGeneration(stream_id=run.stream.id, message_id=run.message_id, outcome=GenerationCancelled(ME.id)))
    run.stop(SOMEBODY.id)
    world.runs.observe(world.log.events[-1])
    await run.wait()
    assert end_of(world, run.stream.id) == GenerationCancelled(ME.id, "")
    assert world.log.types(run.stream.id).count("cancelled") == 1


async def test_a_chat_that_goes_takes_its_run_with_it() -> None:
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    outcome = GenerationCancelled(ME.id)
    await world.chats.handle(EndGeneration(stream_id=run.stream.id, message_id=run.message_id, outcome=outcome))
    await world.chats.handle(DeleteChat(chat_id=run.stream.id, by=ME.id))
    world.provider.say("lo")
    await run.wait()
    assert world.log.types(run.stream.id)[-1] == "chat_deleted"


async def test_the_events_of_a_run_are_the_servers_own() -> None:
    world = World()
    run = await world.going()
    world.provider.say("x", Finish("stop"))
    await run.wait()
    stored = await world.log.read(chat_stream(run.stream.id), limit=100)
    assert [one.actor is None for one in stored] == [False, False, True, True, True]
    assert all(one.message_id == run.message_id for one in stored[1:])
    assert msgspec.json.decode(stored[-1].data)["content"] == "x"


# ---------------------------------------------------------------------------------------------- what stands beside the text


async def test_files_and_sources_of_an_answer_are_told_just_before_its_end() -> None:
    world = World()
    chat_id = await world.chat()
    run = await world.going(chat_id)
    source = {"source": {"name": "A", "url": "https://a"}}
    world.provider.say("see", File({"type": "image", "url": "https://i"}), Source(source))
    world.provider.end()
    await run.wait()
    assert world.log.types(chat_id)[-3:] == ["files", "source", "message_end"]
    message = world.log.view(chat_id).messages[str(run.message_id)]
    assert (message["files"], message["sources"]) == ([{"type": "image", "url": "https://i"}], [source])


@pytest.mark.parametrize("failure", [ProviderFailed("provider_error", "boom"), None])
async def test_a_file_that_no_event_can_hold_is_read_from_its_blob_whatever_the_end(failure: ProviderFailed | None) -> None:
    world = World()
    chat_id = await world.chat()
    run = await world.going(chat_id)
    url = "data:image/png;base64," + "A" * 300_000
    world.provider.say(File({"type": "image", "url": url}))
    if failure is None:
        world.provider.end()
    else:
        world.provider.fail(failure)
    await run.wait()
    view = world.log.view(chat_id)
    await resolve_blobs(world.log.blobs, chat_id, view)
    assert view.messages[str(run.message_id)]["files"] == [{"type": "image", "url": url}]


async def test_a_refusal_is_a_block_of_its_own() -> None:
    world = World()
    chat_id = await world.chat()
    run = await world.going(chat_id)
    world.provider.say("Well. ", RefusalText("I would "), RefusalText("rather not."))
    world.provider.end()
    await run.wait()
    opened = [event.data for event in world.log.of(chat_id) if isinstance(event.data, BlockOpened)]
    assert opened == [BlockOpened(0, "text"), BlockOpened(1, "text", REFUSAL)]


async def test_log_probabilities_stand_beside_their_text_and_extras_in_the_end() -> None:
    world = World()
    chat_id = await world.chat()
    run = await world.going(chat_id)
    world.provider.say("a", Logprobs({"content": [1]}), "b", Extras({"chunk": {"service_tier": "flex"}}, []))
    world.provider.end()
    await run.wait()
    events = [event.data for event in world.log.of(chat_id)]
    assert [event.logprobs for event in events if isinstance(event, MessageDelta)] == [{"content": [1]}, msgspec.UNSET]
    assert isinstance(events[-1], MessageEnded)
    assert events[-1].extras == {"chunk": {"service_tier": "flex"}}


def test_joined_text_has_the_log_probabilities_of_all_its_pieces() -> None:
    pieces = [MessageDelta(0, str(number), logprobs={"content": [number], "refusal": None}) for number in range(DELTAS_PER_APPEND_MAX * 2)]
    merged = [fact.logprobs for fact in joined(pieces, DELTAS_PER_APPEND_MAX) if isinstance(fact, MessageDelta)]
    assert merged == [{"content": [2 * at, 2 * at + 1], "refusal": None} for at in range(DELTAS_PER_APPEND_MAX)]


async def test_what_was_not_understood_is_named_once_in_the_log() -> None:
    world = World()
    with capture_logs() as lines:
        run = await world.going()
        world.provider.say("x", Extras({"message": {"mood": "glad"}}, ["delta.mood"]))
        world.provider.end()
        await run.wait()
    assert [entry["parts"] for entry in lines if entry["event"] == "answer_not_wholly_understood"] == [["delta.mood"]]
