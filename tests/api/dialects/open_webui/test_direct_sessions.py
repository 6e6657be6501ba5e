"""The open calls of direct connections in the page, where Postgres does not answer, and where they end elsewhere."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.relays import MemoryRelays
from api.dialects.open_webui.page_direct import FRAMES_PER_S, KIND, LOST, NOT_TAKEN, DirectSessions, PageDirect
from commands.accounts.principal import Principal
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import CallQuestion
from commands.calls.relays import Outcome, Relayed
from domain.chat.commands import DeleteChat
from domain.errors import LogUnavailable, Unavailable
from domain.log.stream import chat_stream
from domain.routing.call import CallOpened
from tests.commands.world import ME, FailingLog, World

pytestmark = pytest.mark.anyio

SESSION_ID = UUID(int=0xE1)
PRINCIPAL = Principal(ME.id, ME.name, "user", "me@example.org", generation=0, expires_at=None, token_id=None)
LINES = [f'data: {{"n":{number}}}' for number in range(3)]


class FailingRelays(MemoryRelays):
    """``failures``: how many of the next chunks are met by a Postgres that does not answer; ``taken``: whether it has taken them."""

    failures = 0
    taken = False

    async def put(self, *args: Any, **bounds: Any) -> tuple[Outcome, int]:
        if self.failures:
            self.failures -= 1
            if self.taken:
                await super().put(*args, **bounds)
            raise LogUnavailable("Postgres went silent")
        return await super().put(*args, **bounds)


class Asking:
    """A direct connection of one message, and the page that may be asked."""

    def __init__(self, **bounds: Any) -> None:
        log = FailingLog()
        self.relays = log.relays = FailingRelays()
        self.world = World(log)
        self.sessions = DirectSessions(CallAnswers(self.world.calls, self.world.relaying), **bounds)
        committed = log.on_committed

        def observed(events: Any) -> None:
            committed(events)
            for event in events:
                self.sessions.observe(event)

        log.on_committed = observed
        self.rates: list[int | None] = []

    def page(self) -> PageDirect:
        return self.sessions.begin(PRINCIPAL, SESSION_ID, self.rates.append)

    async def open(self) -> CallOpened:
        self.chat_id = await self.world.chat()
        message_id, call_id = await self.world.message(self.chat_id), uuid4()
        self.reader = await self.world.relaying.open(call_id, ME.id, {"model": "tiny"})
        question = CallQuestion(ME, chat_stream(self.chat_id), message_id, KIND, {"model": "tiny"}, str(SESSION_ID))
        return await self.world.calls.open(question, relayed_as=call_id)

    async def relayed(self) -> list[Any]:
        await self.sessions.settled()
        return await self.reader.next()


async def test_a_line_is_handed_on_once_the_log_answers_again() -> None:
    for taken in (False, True):
        asking = Asking()
        page, call = asking.page(), await asking.open()
        assert page.asked(call, 1) is not None
        asking.relays.failures, asking.relays.taken = 2, taken
        for line in LINES:
            await page.hear(str(call.call_id), line)
        assert await asking.relayed() == [Relayed(line) for line in LINES]


async def test_a_line_that_cannot_be_handed_on_ends_the_call_with_an_error() -> None:
    asking = Asking(retries_for_s=0)
    page, call = asking.page(), await asking.open()
    page.asked(call, 1)
    await page.hear(str(call.call_id), LINES[0])
    asking.relays.failures = 1
    with pytest.raises(Unavailable):
        await page.hear(str(call.call_id), LINES[1])
    await page.hear(str(call.call_id), LINES[2])
    assert await asking.relayed() == [Relayed(LINES[0]), Relayed({"error": {"message": NOT_TAKEN}}, is_answer=True)]


async def test_an_acknowledgement_is_handed_on_once_the_log_answers_again() -> None:
    asking = Asking()
    page, call = asking.page(), await asking.open()
    page.asked(call, 1)
    asking.relays.failures = 2
    for _ in range(2):  # the first one counts
        await page.acknowledge(1, {"error": "no"})
    assert await asking.relayed() == [Relayed({"error": "no"}, is_answer=True)]


async def test_a_page_is_asked_once_and_known_until_the_call_has_ended() -> None:
    asking = Asking()
    page, call = asking.page(), await asking.open()
    assert page.expect(call.call_id)
    assert page.asked(call, 1) is not None
    assert not page.expect(call.call_id)
    assert page.asked(call, 2) is None
    await page.hear(str(call.call_id), {"done": True})
    assert not page.expect(call.call_id), "the run may not have read yet that it is done"
    asking.sessions.end(page)
    assert await asking.relayed() == [Relayed({"done": True})], "and no error after that"


async def test_the_rate_of_frames_is_higher_while_a_call_is_open() -> None:
    asking = Asking()
    page, one, two = asking.page(), await asking.open(), await asking.open()
    assert asking.rates == []
    page.asked(one, 1)
    page.asked(two, 2)
    await page.hear(str(one.call_id), {"done": True})
    assert asking.rates == [FRAMES_PER_S]
    await asking.world.calls.expire(two.call_id, "cancelled")
    assert asking.rates == [FRAMES_PER_S, None]
    assert page.asked(two, 3) is None


async def test_a_deleted_chat_ends_the_calls_of_its_page() -> None:
    asking = Asking()
    page, call = asking.page(), await asking.open()
    page.asked(call, 1)
    await asking.world.chats.handle(DeleteChat(chat_id=asking.chat_id, by=ME.id), actor=ME)
    assert asking.rates == [FRAMES_PER_S, None]


async def test_a_call_that_names_a_socket_ends_with_it_or_right_after_it() -> None:
    for is_open_first in (True, False):
        asking = Asking()
        page = asking.page()
        if is_open_first:
            await asking.open()
        asking.sessions.end(page)
        if not is_open_first:
            await asking.open()
        assert await asking.relayed() == [Relayed({"error": {"message": LOST}}, is_answer=True)]
