"""The client's side of calls: which it answers, when it waits for another tab, and when it lets go. On the real server, too."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.settings import Settings
from domain.log.event import Actor
from domain.log.stream import channel_stream, chat_stream
from stenograph_client import UNANSWERED, Call, CallWatch, Conflict, Event, NotFound
from stenograph_client.events import CaughtUp, Item
from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Peer, chunk, said, whole
from tests.adapters.providers.scripted import serving as provider_of
from tests.api.conftest import WAIT_S, Running, Serving, on_one_and_two, serving
from tests.client.test_with_server import client_at, signed_up

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


async def test_nothing_is_asked_about_a_call_to_another_person() -> None:
    answers = Recorded()
    watch = CallWatch(answers, yes, user_id="me")
    watch.feed(event("call", user_id="another"))
    await settled()
    assert answers.asked == 0
    watch.feed(event("call", user_id="me"))
    await settled()
    assert answers.answered == [True]


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


async def test_what_the_callback_raises_comes_out_of_a_follow_without_another_event() -> None:
    async def broken(_call: Call) -> Any:
        raise RuntimeError("a bug of the program")

    async def one_event() -> AsyncGenerator[Item, None]:
        yield event("call")
        await asyncio.Event().wait()

    watch = CallWatch(Recorded(), broken)
    async with asyncio.timeout(WAIT_S), aclosing(one_event()) as items, aclosing(watch.watch(items)) as watched:
        assert (await anext(watched)).type == "call"
        with pytest.raises(RuntimeError, match="a bug"):
            await anext(watched)
    await watch.aclose()


async def test_a_call_that_was_left_to_others_is_not_asked_again() -> None:
    asked = []

    async def no_idea(call: Call) -> Any:
        asked.append(call)
        return UNANSWERED

    async def listed() -> list[Call]:
        return [Call(CALL, "m", "confirmation")]

    watch = CallWatch(Recorded(), no_idea)
    watch.feed(event("call"))
    await settled()
    watch.begin_listed(CHAT, listed)
    await settled()
    assert len(asked) == 1
    await watch.aclose()


# ------------------------------------------------------------------------------------------------------- with the real server


@pytest.fixture
async def server(tmp_path: Path, serving: Serving) -> AsyncIterator[Running]:  # that fixture
    async with serving(Settings(data=tmp_path, drain_s=0.2)) as made:
        yield made


@on_one_and_two
async def test_a_program_answers_what_a_function_asks_during_an_answer(tmp_path: Path, serving: Serving) -> None:
    is_answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        """A model that goes on once the call is answered."""
        if (await peer.asked()).method == "GET":
            await peer.send(whole(b'{"object":"list","data":[{"id":"m"}]}'))
            return
        await peer.send(SSE_HEAD, chunk(said("Hello")))
        await is_answered.wait()
        await peer.send(chunk(END), LAST)

    async with (
        provider_of(script) as provider,
        serving(Settings(data=tmp_path, drain_s=0.2, openai_base_urls=(provider.url,))) as server,
        await signed_up(server) as client,
    ):
        session_id = uuid4().hex
        me = Actor(UUID((await client.me()).id), "Ada", "admin")
        chat_id = (await client.new_chat())["id"]
        begun = await client.complete("m", [{"role": "user", "content": "Hello"}], chat_id=chat_id, session_id=session_id)
        asked: list[Call] = []

        async def answer(call: Call) -> Any:
            asked.append(call)
            return {"value": "Ada"}

        await server.settled()
        ask = server.systems[0].calls.ask(
            me, chat_stream(UUID(chat_id)), UUID(begun.message_id), "input", {"title": "Name?"}, session_id=session_id
        )
        function = asyncio.create_task(ask)
        function.add_done_callback(lambda _: is_answered.set())
        seen = [event.type async for event in client.answer(begun, on_call=answer, session_id=session_id)]
        assert await function == {"value": "Ada"}
        assert (seen.count("call"), seen.count("call_answered"), seen[-1]) == (1, 1, "message_end")
        assert [(call.kind, call.data, call.message_id) for call in asked] == [("input", {"title": "Name?"}, begun.message_id)]
        with pytest.raises(Conflict) as refused:
            await client.answer_call(chat_id, asked[0].call_id, "too late")
        assert refused.value.code == "call_answered"
        assert await client.calls(chat_id) == []


@on_one_and_two
async def test_a_program_answers_what_functions_ask_in_a_channel_also_before_it_came(server: Running) -> None:
    async with await signed_up(server) as client, client_at(server.url) as other:
        await other.sign_up("Bob", "bob@example.org", "correct horse battery")
        me = await client.me()
        channel = await client.create_channel("general", user_ids=[(await other.me()).id])
        message_id = UUID((await channel.post("Do it."))["id"])
        await server.settled()

        def asking(title: str) -> "asyncio.Task[Any]":
            actor = Actor(UUID(me.id), me.name, "user")
            return asyncio.create_task(
                server.systems[0].calls.ask(actor, channel_stream(UUID(channel.id)), message_id, "confirmation", {"title": title})
            )

        async def answer(call: Call) -> Any:
            return f"yes to {call.data['title']}"

        async def never(call: Call) -> Any:
            raise AssertionError(call)

        before = asking("A")
        while not await channel.calls():  # noqa: ASYNC110  # only the server knows
            await asyncio.sleep(0.01)
        assert await other.channel(channel.id).calls() == []
        mine = channel.follow(snapshot=True, on_call=answer)
        theirs = other.channel(channel.id).follow(snapshot=True, on_call=never)
        seen: dict[bool, list[str]] = {True: [], False: []}

        async def read(items: AsyncGenerator[Item, None], is_mine: bool) -> None:
            async with aclosing(items):
                async for item in items:
                    seen[is_mine].append(item.type if isinstance(item, Event) else "snapshot")
                    if seen[is_mine].count("call_answered") == 2:
                        return

        reading = [asyncio.create_task(read(mine, True)), asyncio.create_task(read(theirs, False))]
        async with asyncio.timeout(WAIT_S):
            while not (seen[True] and seen[False]):  # noqa: ASYNC110  # both have come
                await asyncio.sleep(0.01)
            assert await before == "yes to A"
            assert await asking("B") == "yes to B"
            await asyncio.gather(*reading)
        with pytest.raises(NotFound):
            await channel.call(CALL)


class Failing(httpx.AsyncHTTPTransport):
    """Reaches the server, but each GET of these paths only after a lost connection and a server that is not ready."""

    def __init__(self, *ends: str) -> None:
        super().__init__()
        self.faults = {end: ["lost", "not ready"] for end in ends}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        faults = next((faults for end, faults in self.faults.items() if request.url.path.endswith(end)), [])
        if request.method != "GET" or not faults:
            return await super().handle_async_request(request)
        if faults.pop(0) == "lost":
            raise httpx.ConnectError("lost", request=request)
        return httpx.Response(503, request=request)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("begins", ["start", "now", "cursor", "snapshot"])
async def test_a_question_that_was_open_before_a_follow_is_asked_wherever_it_begins_and_whatever_fails(
    server: Running, begins: str, transport: Any
) -> None:
    faults = Failing("/auths/", "/calls")
    async with await signed_up(server) as first:
        me = await first.me()
        channel = await first.create_channel("general")
        message_id = UUID((await channel.post("Do it."))["id"])
        await server.settled()
        actor = Actor(UUID(me.id), me.name, "user")
        function = asyncio.create_task(
            server.systems[0].calls.ask(actor, channel_stream(UUID(channel.id)), message_id, "confirmation", {"title": "Sure?"})
        )
        while not await channel.calls():  # noqa: ASYNC110  # only the server knows
            await asyncio.sleep(0.01)
        await server.settled()
        page = await first.page(channel.stream)
        after = {"cursor": page.events[-1].cursor, "snapshot": "start"}.get(begins, begins)
        options: dict[str, Any] = {"transport": transport, "retry_s": 0, "http_transport": faults}
        async with client_at(server.url, first.credentials.token, **options) as client:
            items = client.channel(channel.id).follow(after, snapshot=begins == "snapshot", on_call=yes)
            seen: list[Item] = []

            async def read() -> None:
                async with aclosing(items):
                    async for item in items:
                        seen.append(item)

            reading = asyncio.create_task(read())
            async with asyncio.timeout(WAIT_S):
                await asyncio.wait({function, reading}, return_when=asyncio.FIRST_COMPLETED)
                assert not reading.done(), reading.exception()
                assert await function is True
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert not any(isinstance(item, CaughtUp) for item in seen)
            assert faults.faults["/auths/"] == []
