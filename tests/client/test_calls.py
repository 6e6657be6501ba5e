"""The client's side of calls: which it answers, when it waits for another tab, and when it lets go. On the real server, too."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.settings import Settings
from domain.log.event import Actor
from stenograph_client import UNANSWERED, Call, CallWatch, Conflict, Event, NotFound
from tests.api.conftest import Running, Serving, on_one_and_two, serving
from tests.client.test_with_server import signed_up

pytestmark = [pytest.mark.anyio]
__all__ = ["serving"]  # a fixture
CHAT, CALL = "0190cccc-0000-7000-8000-000000000003", "0190dddd-0000-7000-8000-000000000004"


class Recorded:
    """Answers that are written down. ``state`` is what the server says of the call."""

    def __init__(self, state: str = "open", failure: Exception | None = None) -> None:
        self.state, self.failure = state, failure
        self.answered: list[Any] = []
        self.asked = 0

    async def call(self, chat_id: str, call_id: str) -> Call:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return Call(call_id, "m", "confirmation", {"title": "Sure?"}, state=self.state)

    async def answer_call(self, chat_id: str, call_id: str, data: Any) -> None:
        assert (chat_id, call_id) == (CHAT, CALL)
        self.answered.append(data)


def event(type_: str, **data: Any) -> Event:
    return Event(f"chat/{CHAT}", "e", 1, 1, datetime.now(UTC), None, "m", type_, {"call_id": CALL, **data})


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def yes(_call: Call) -> bool:
    return True


async def test_an_open_call_is_answered_once() -> None:
    answers = Recorded()
    watch = CallWatch(answers, yes, session_id="mine")
    for _ in range(2):
        watch.feed(event("call", session_id="mine"))
    await settled()
    assert (answers.answered, answers.asked) == ([True], 1)
    await watch.aclose()


@pytest.mark.parametrize(
    "answers",
    [Recorded("answered"), Recorded("expired"), Recorded(failure=NotFound(404, "call_not_found", "not yours"))],
    ids=["answered", "expired", "of another"],
)
async def test_what_is_over_or_for_another_person_is_left_alone(answers: Recorded) -> None:
    watch = CallWatch(answers, yes)
    watch.feed(event("call", session_id=None))
    await settled()
    assert answers.answered == []
    watch.feed(event("status"))


async def test_the_tab_that_is_named_goes_first() -> None:
    answers = Recorded()
    watch = CallWatch(answers, yes, session_id="mine", grace_s=3600)
    watch.feed(event("call", session_id="another"))
    await settled()
    assert answers.asked == 0
    watch.feed(event("call_answered"))
    await settled()
    short = CallWatch(answers, yes, session_id="mine", grace_s=0)
    short.feed(event("call", session_id="another"))
    await settled()
    assert answers.answered == [True]


@pytest.mark.parametrize("end", ["call_answered", "call_expired"])
async def test_a_question_that_is_over_is_taken_back_from_the_person(end: str) -> None:
    taken_back = asyncio.Event()

    async def thinking(_call: Call) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            taken_back.set()

    answers = Recorded()
    watch = CallWatch(answers, thinking)
    watch.feed(event("call"))
    await settled()
    watch.feed(event(end))
    await settled()
    assert taken_back.is_set()
    assert answers.answered == []


async def test_a_call_may_be_left_to_others() -> None:
    async def no_idea(_call: Call) -> Any:
        return UNANSWERED

    answers = Recorded()
    watch = CallWatch(answers, no_idea)
    watch.feed(event("call"))
    await settled()
    assert answers.answered == []


async def test_what_the_callback_raises_comes_out_at_the_next_event() -> None:
    async def broken(_call: Call) -> Any:
        raise RuntimeError("a bug of the program")

    watch = CallWatch(Recorded(), broken)
    watch.feed(event("call"))
    await settled()
    with pytest.raises(RuntimeError, match="a bug"):
        watch.feed(event("status"))


# ------------------------------------------------------------------------------------------------------- with the real server


@pytest.fixture
async def server(tmp_path: Path, serving: Serving) -> AsyncIterator[Running]:  # that fixture
    async with serving(Settings(data=tmp_path, drain_s=0.2, poll_interval_ms=20)) as made:
        yield made


@on_one_and_two
async def test_a_program_answers_what_a_function_asks_during_an_answer(server: Running) -> None:
    async with await signed_up(server) as client:
        session_id = uuid4().hex
        me = Actor(UUID((await client.me()).id), "Ada", "admin")
        chat_id = (await client.new_chat())["id"]
        begun = await client.complete("demo:100", [{"role": "user", "content": "Hello"}], chat_id=chat_id, session_id=session_id)
        asked: list[Call] = []

        async def answer(call: Call) -> Any:
            asked.append(call)
            return {"value": "Ada"}

        await server.settled()
        ask = server.systems[0].calls.ask(me, UUID(chat_id), UUID(begun.message_id), "input", {"title": "Name?"}, session_id=session_id)
        function = asyncio.create_task(ask)
        seen = [event.type async for event in client.answer(begun, on_call=answer, session_id=session_id)]
        assert await function == {"value": "Ada"}
        assert (seen.count("call"), seen.count("call_answered"), seen[-1]) == (1, 1, "message_end")
        assert [(call.kind, call.data, call.message_id) for call in asked] == [("input", {"title": "Name?"}, begun.message_id)]
        with pytest.raises(Conflict) as refused:
            await client.answer_call(chat_id, asked[0].call_id, "too late")
        assert refused.value.code == "call_answered"
        assert await client.calls(chat_id) == []
