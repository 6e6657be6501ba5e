"""Calls to the user as a function makes them: who is asked, who answers, and everything that ends the waiting."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.calls.calls import ANSWER_BYTES_MAX, CALLS_OF_ACCOUNT_MAX, DATA_BYTES_MAX, Call
from domain.chat.commands import DeleteChat, ShareChat
from domain.errors import BadRequest, CallExpired, CallNotFound, CallTaken, LogUnavailable, MessageNotFound, TooLarge, TooManyCalls
from domain.generation import EndGeneration, GenerationCancelled
from domain.log.event import Actor
from domain.log.stream import chat_stream
from domain.routing.call import CALLS_OF_MESSAGE_MAX, CallAnswered, CallLapsed, CallOpened
from tests.commands.generation.test_node_watch import LEASE_S, Node
from tests.commands.world import ME, SOMEBODY, FailingLog, World, until

pytestmark = pytest.mark.anyio

ADMIN = Actor(UUID(int=0xA3), "Admin", "admin")


class Asked:
    """A function that waits for an answer in ``world``."""

    def __init__(self, world: World, chat_id: UUID, message_id: UUID, data: Any = None, **more: Any) -> None:
        self.world, self.chat_id, self.message_id = world, chat_id, message_id
        asking = world.calls.ask(more.pop("actor", ME), chat_stream(chat_id), message_id, more.pop("kind", "confirmation"), data, **more)
        self.task = asyncio.create_task(asking)

    async def call(self) -> CallOpened:
        """The question, once it is in the log."""
        await until(lambda: self.task.done() or "call" in self.world.log.types(self.chat_id))
        if "call" not in self.world.log.types(self.chat_id):
            await self.task
        made = [event.data for event in self.world.log.of(self.chat_id) if isinstance(event.data, CallOpened)]
        return made[-1]


async def asked(world: World, data: Any = None, **more: Any) -> Asked:
    chat_id = await world.chat()
    return Asked(world, chat_id, await world.message(chat_id), data, **more)


async def answer(world: World, call_id: UUID, data: Any, actor: Actor = ME, session_id: str | None = None) -> Any:
    return await world.calls.answer(actor, await world.calls.find(actor, call_id), data, session_id=session_id)


def ends(log: FailingLog, chat_id: UUID) -> list[Any]:
    return [event.data for event in log.of(chat_id) if isinstance(event.data, CallAnswered | CallLapsed)]


# ------------------------------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize(
    "data",
    [True, None, "text", {"value": "x"}, [1, {"a": None}], {"blob": "ab" * 32, "size_bytes": 3}, {"blob": "x"}, "x" * (DATA_BYTES_MAX + 1)],
    ids=lambda value: repr(value)[:40],
)
async def test_an_answer_comes_back_unchanged_also_through_another_process(data: Any) -> None:
    world = World()
    other = World(world.log)
    waiting = await asked(world, {"title": "Sure?"}, session_id="tab")
    call = await waiting.call()
    assert (call.kind, call.user_id, call.session_id, call.node_id, call.data) == (
        *("confirmation", ME.id, "tab", world.node_id),
        {"title": "Sure?"},
    )
    await answer(other, call.call_id, data, session_id="tab")
    assert await waiting.task == data
    assert len(world.calls) == 0


async def test_a_large_question_is_kept_beside_the_log_and_given_whole_to_who_is_asked() -> None:
    world = World()
    question = {"code": "x" * (2 * DATA_BYTES_MAX)}
    waiting = await asked(world, question, kind="execute")
    call = await waiting.call()
    assert set(call.data) == {"blob", "size_bytes", "media_type"}
    (found,) = await world.calls.open_calls(ME, chat_stream(waiting.chat_id))
    assert found.opened.data == question
    await answer(world, call.call_id, 1)
    assert await waiting.task == 1


async def test_the_first_answer_counts_and_the_second_hears_whose_it_was() -> None:
    world = World()
    others = [World(world.log) for _ in range(3)]
    waiting = await asked(world)
    call_id = (await waiting.call()).call_id
    answers = [answer(one, call_id, number, session_id=f"tab {number}") for number, one in enumerate(others)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    taken = [one for one in outcomes if isinstance(one, CallTaken)]
    first = await waiting.task
    assert len(taken) == 2
    assert {one.session_id for one in taken} == {f"tab {first}"}
    assert {one.by for one in taken} == {ME.id}
    assert len(ends(world.log, waiting.chat_id)) == 1


@pytest.mark.parametrize("permission", [None, "read", "write"])
async def test_nobody_but_who_was_asked_answers_or_sees_it_among_theirs(permission: Any) -> None:
    world = World()
    waiting = await asked(world)
    call_id = (await waiting.call()).call_id
    if permission is not None:
        share = ShareChat(chat_id=waiting.chat_id, by=ME.id, user_id=SOMEBODY.id, permission=permission)
        await world.chats.handle(share, actor=ME)
    for actor in (SOMEBODY, ADMIN):
        with pytest.raises(CallNotFound):
            await answer(world, call_id, True, actor)
        assert await world.calls.open_calls(actor, chat_stream(waiting.chat_id)) == []
    await answer(world, call_id, "mine")
    assert await waiting.task == "mine"


async def test_an_admin_who_works_in_the_chat_of_another_is_asked_there() -> None:
    world = World()
    waiting = await asked(world, actor=ADMIN)
    call_id = (await waiting.call()).call_id
    with pytest.raises(CallNotFound):
        await answer(world, call_id, True, ME)
    await answer(world, call_id, "yes", ADMIN)
    assert await waiting.task == "yes"


async def test_who_has_lost_their_access_answers_no_more() -> None:
    world = World()
    chat_id = await world.chat()
    message_id = await world.message(chat_id)
    await world.chats.handle(ShareChat(chat_id=chat_id, by=ME.id, user_id=SOMEBODY.id, permission="write"), actor=ME)
    waiting = Asked(world, chat_id, message_id, actor=SOMEBODY)
    call_id = (await waiting.call()).call_id
    await world.chats.handle(ShareChat(chat_id=chat_id, by=ME.id, user_id=SOMEBODY.id, permission=None), actor=ME)
    with pytest.raises(CallNotFound):
        await answer(world, call_id, True, SOMEBODY)
    waiting.task.cancel()


async def test_an_answer_to_a_call_that_never_was_is_refused() -> None:
    with pytest.raises(CallNotFound):
        await answer(World(), uuid4(), True)


async def test_an_answer_that_is_too_large_is_refused_and_the_call_stays_open() -> None:
    world = World()
    waiting = await asked(world)
    call_id = (await waiting.call()).call_id
    with pytest.raises(TooLarge):
        await answer(world, call_id, "x" * ANSWER_BYTES_MAX)
    await answer(world, call_id, "short")
    assert await waiting.task == "short"


# ------------------------------------------------------------------------------------------------------------- the question


@pytest.mark.parametrize("kind", ["", "Confirmation", "a b", "x" * 65])
async def test_a_kind_that_no_emitter_could_use_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest):
        await (await asked(World(), kind=kind)).task


@pytest.mark.parametrize("data", ["\ud800", object()], ids=["half a pair", "an object"])
async def test_a_question_that_is_no_json_is_refused(data: Any) -> None:
    with pytest.raises(BadRequest):
        await (await asked(World(), data)).task


async def test_a_question_below_no_message_is_refused_and_nobody_waits() -> None:
    world = World()
    with pytest.raises(MessageNotFound):
        await Asked(world, await world.chat(), uuid4()).task
    await until(lambda: len(world.calls) == 0)


async def test_open_questions_are_bounded_for_a_message_and_for_an_account() -> None:
    world = World()
    chat_id = await world.chat()
    message_id = await world.message(chat_id)
    waiting = [Asked(world, chat_id, message_id) for _ in range(CALLS_OF_MESSAGE_MAX + 1)]
    await until(lambda: any(one.task.done() for one in waiting))
    assert [type(one.task.exception()) for one in waiting if one.task.done()] == [TooManyCalls]
    await until(lambda: len(world.calls) == CALLS_OF_MESSAGE_MAX)
    for _ in range(CALLS_OF_ACCOUNT_MAX // CALLS_OF_MESSAGE_MAX - 1):
        message_id = await world.message(chat_id)
        waiting += [Asked(world, chat_id, message_id) for _ in range(CALLS_OF_MESSAGE_MAX)]
    await until(lambda: len(world.calls) == CALLS_OF_ACCOUNT_MAX)
    message_id = await world.message(chat_id)
    with pytest.raises(TooManyCalls, match="account"):
        await Asked(world, chat_id, message_id).task
    others = Asked(world, chat_id, message_id, actor=ADMIN)  # the bound is each account's own
    await until(lambda: len(world.calls) == CALLS_OF_ACCOUNT_MAX + 1)
    for one in (*waiting, others):
        one.task.cancel()
    await until(lambda: len(world.calls) == 0)


# ------------------------------------------------------------------------------------------------------------------ its end


async def test_a_call_expires_after_its_time_and_a_late_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.calls.calls.TIMEOUT_MIN_S", 0.0)
    world = World()
    waiting = await asked(world, timeout_s=0.01)
    with pytest.raises(CallExpired) as raised:
        await waiting.task
    assert raised.value.reason == "timeout"
    call = await waiting.call()
    assert call.expires_at is not None
    assert ends(world.log, waiting.chat_id) == [CallLapsed(call.call_id, "timeout")]
    with pytest.raises(CallExpired, match="timeout"):
        await answer(world, call.call_id, True)
    assert len(world.calls) == 0


async def test_an_answer_that_comes_while_the_call_expires_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.calls.calls.TIMEOUT_MIN_S", 0.0)
    world = World()
    other = World(world.log)
    waiting = await asked(world, timeout_s=0.01)
    call_id = (await waiting.call()).call_id
    call: Call = await other.calls.find(ME, call_id)
    answered = False

    async def first(request: Any) -> None:
        nonlocal answered
        if not answered and any(type(event.data) is CallLapsed for append in request.appends for event in append.events):
            answered = True
            await other.calls.answer(ME, call, "just in time")

    world.log.before_append = first
    assert await waiting.task == "just in time"
    assert [type(one) for one in ends(world.log, waiting.chat_id)] == [CallAnswered]


async def test_a_function_that_is_stopped_ends_its_call_however_long_postgres_is_away() -> None:
    world = World()
    waiting = await asked(world)
    call_id = (await waiting.call()).call_id
    failures = 0

    async def silent(_request: Any) -> None:
        nonlocal failures
        failures += 1
        if failures < 2:
            raise LogUnavailable("silent")

    world.log.before_append = silent
    waiting.task.cancel()
    await until(lambda: ends(world.log, waiting.chat_id))
    assert ends(world.log, waiting.chat_id) == [CallLapsed(call_id, "cancelled")]
    await until(lambda: len(world.calls) == 0)


@pytest.mark.parametrize("by_another", [False, True])
async def test_a_stop_of_the_answer_ends_the_call_wherever_it_comes_from(by_another: bool) -> None:
    world = World()
    run = await world.going()
    waiting = Asked(world, run.stream.id, run.message_id)
    await waiting.call()
    stopping = World(world.log) if by_another else world
    end = EndGeneration(stream_id=run.stream.id, message_id=run.message_id, outcome=GenerationCancelled(ME.id))
    await stopping.chats.handle(end)
    with pytest.raises(CallExpired, match="cancelled"):
        await waiting.task
    assert world.log.types(run.stream.id)[-2:] == ["call_expired", "cancelled"]
    run.ended_elsewhere()


async def test_a_call_ends_with_its_chat() -> None:
    world = World()
    waiting = await asked(world)
    await waiting.call()
    await world.chats.handle(DeleteChat(chat_id=waiting.chat_id, by=ME.id), actor=ME)
    with pytest.raises(CallExpired, match="cancelled"):
        await waiting.task


async def test_a_server_that_goes_away_ends_the_calls_that_wait_in_it() -> None:
    world = World()
    waiting = await asked(world)
    await waiting.call()
    await world.calls.close()
    with pytest.raises(CallExpired, match="server_gone"):
        await waiting.task


async def test_the_calls_of_a_dead_node_are_ended_by_who_notices() -> None:
    log = FailingLog()
    dead, alive = Node(log), Node(log)
    await dead.tick()
    waiting, own = await asked(dead.world), await asked(alive.world)
    await waiting.call()
    await own.call()
    for _ in range(5):
        await alive.world.chat(listed=False)  # the log goes on, and the floor of the dead node stays below its call
    await dead.tick()
    await alive.tick()
    await alive.ticks(LEASE_S)
    assert ends(log, waiting.chat_id) == []
    await alive.tick()
    assert [one.reason for one in ends(log, waiting.chat_id)] == ["server_gone"]
    assert ends(log, own.chat_id) == []
    assert set(await log.nodes.beats()) == {alive.id}
    own.task.cancel()
    with pytest.raises(CallExpired):
        await waiting.task


async def test_only_open_calls_of_the_person_are_listed() -> None:
    world = World()
    chat_id = await world.chat()
    message_id = await world.message(chat_id)
    first, second = Asked(world, chat_id, message_id, 1), Asked(world, chat_id, message_id, 2)
    await until(lambda: world.log.types(chat_id).count("call") == 2)
    listed = await World(world.log).calls.open_calls(ME, chat_stream(chat_id))
    assert sorted(call.opened.data for call in listed) == [1, 2]
    await answer(world, listed[0].opened.call_id, True)
    assert [call.opened for call in await world.calls.open_calls(ME, chat_stream(chat_id))] == [listed[1].opened]
    assert await world.log.read_open_calls(chat_stream(chat_id), until=2) == []
    for one in (first, second):
        one.task.cancel()
