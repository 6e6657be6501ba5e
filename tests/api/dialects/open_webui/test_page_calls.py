"""Questions of functions in Open WebUI's page: its acknowledgement is the answer, and what is over is taken back."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from domain.log.event import Actor
from domain.log.stream import chat_stream
from tests.api.conftest import Running, User, on_one_and_two
from tests.api.dialects.open_webui.test_page_socket import Page, joined, page_of

pytestmark = [pytest.mark.anyio, on_one_and_two]


class Question:
    """As a function asks it, at the first server."""

    def __init__(self, server: Running, user: User, chat_id: str, message_id: str, kind: str, data: Any, **more: Any) -> None:
        ask = server.systems[0].calls.ask(
            Actor(UUID(user.id), "Ada", "user"), chat_stream(UUID(chat_id)), UUID(message_id), kind, data, **more
        )
        self.task = asyncio.create_task(ask)

    async def answered(self) -> Any:
        async with asyncio.timeout(60):
            return await self.task


async def asked(page: Page) -> tuple[int, Any]:
    """The number and the envelope of the next event that wants an acknowledgement."""
    while True:
        text = await page.next()
        number = text[2:].split("[", 1)[0]
        if text.startswith("42") and number:
            return int(number), json.loads(text[2 + len(number) :])[1]


async def test_the_pages_acknowledgement_is_the_answer(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "Hello"))["message_id"]
    async with page_of(server, ada) as page:
        await joined(page, chat_id)
        for kind, data, answer in (
            ("confirmation", {"title": "Sure?", "message": "Really?"}, True),
            ("input", {"title": "Name?", "placeholder": "yours"}, "Ada"),
            ("execute", {"code": "return 7"}, 7),
            ("input", {"title": "Password?", "type": "password"}, "secret"),
        ):
            question = Question(server, ada, chat_id, message_id, kind, data)
            number, envelope = await asked(page)
            assert (envelope["chat_id"], envelope["message_id"], envelope["data"]["type"]) == (chat_id, message_id, kind)
            assert data.items() <= envelope["data"]["data"].items()
            for _ in range(2):  # the first one counts
                await page.send(f"43{number}" + json.dumps([answer]))
            assert await question.answered() == answer
            done = await page.until("request:interaction:done")
            assert done["data"]["data"]["interaction_id"] == envelope["data"]["data"]["interaction_id"]


async def test_a_page_that_comes_later_is_asked_what_is_open(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "Hello"))["message_id"]
    question = Question(server, ada, chat_id, message_id, "confirmation", {"title": "Sure?"}, session_id="a tab that is gone")
    async with page_of(server, ada) as page:
        while not (await ada.get(f"/api/v1/chats/{chat_id}/calls")).json():
            pass
        await joined(page, chat_id)
        number, _ = await asked(page)
        await page.send(f"43{number}[false]")
        assert await question.answered() is False


async def test_what_another_tab_has_answered_is_taken_back(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "Hello"))["message_id"]
    async with page_of(server, ada) as one, page_of(server, ada) as two:
        await joined(one, chat_id)
        await joined(two, chat_id)
        question = Question(server, ada, chat_id, message_id, "confirmation", {"title": "Sure?"})
        (number, _), (other, envelope) = await asked(one), await asked(two)
        await one.send(f"43{number}[true]")
        assert await question.answered() is True
        done = await two.until("request:interaction:done")
        assert done["data"]["data"]["interaction_id"] == envelope["data"]["data"]["interaction_id"]
        await two.send(f"43{other}[false]")
        await two.send("2")
        while await two.next() != "3":
            pass


async def test_nobody_else_is_asked_and_forged_acknowledgements_change_nothing(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    message_id = (await ada.add(chat_id, "Hello"))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    await server.settled()
    async with page_of(server, ada) as page, page_of(server, bob) as other:
        await joined(page, chat_id)
        await joined(other, chat_id)
        question = Question(server, ada, chat_id, message_id, "confirmation", {"title": "Sure?"})
        number, _ = await asked(page)
        for forged in range(5):
            await other.send(f"43{forged}[true]")
        await ada.add(chat_id, "Go on")
        await other.until("chat:messages")
        assert "confirmation" not in json.dumps(other.heard)
        assert not question.task.done()
        await page.send(f"43{number}[false]")
        assert await question.answered() is False
