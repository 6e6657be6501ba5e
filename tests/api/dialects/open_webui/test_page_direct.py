"""Direct connections in Open WebUI's page: it asks its user's provider, and what it relays line by line is the answer."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from api.dialects.open_webui.line_assembler import PIECES_MAX
from api.dialects.open_webui.page_direct import FRAMES_PER_S
from api.streams.frames import FRAMES_BURST
from tests.api.accounts.test_keys import made
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two
from tests.api.dialects.open_webui.test_page_calls import Question, asked
from tests.api.dialects.open_webui.test_page_socket import Page, joined, page_of

pytestmark = [pytest.mark.anyio, on_one_and_two]

END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


def line(text: str) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


async def ask_page(user: User, session_id: str, **more: Any) -> str:
    """A new chat with a completion that this page's provider is to answer."""
    chat_id = await user.new_chat()
    item = {"id": "tiny", "direct": True, "urlIdx": "0"}
    body = {"model": "tiny", "stream": True, "chat_id": chat_id, "session_id": session_id, "model_item": item, **more}
    question = {"id": "4df5cb2e-5a2a-4d1c-9c68-a1d4c4b1d6d1", "parentId": None, "role": "user", "content": "Hello", "models": ["tiny"]}
    await user.post("/api/chat/completions", {**body, "user_message": question})
    return chat_id


async def begun(user: User, page: Page, session_id: str, **more: Any) -> tuple[str, int, Any]:
    """The chat, and the number and the data of the question for the page's provider."""
    chat_id = await ask_page(user, session_id, **more)
    await joined(page, chat_id)
    number, envelope = await asked(page)
    assert envelope["data"]["type"] == "request:chat:completion"
    return chat_id, number, envelope["data"]["data"]


async def relay(page: Page, question: Any, *said: Any) -> None:
    for one in said:
        await page.send("42" + json.dumps([question["channel"], one]))


async def answer_of(user: User, chat_id: str) -> Any:
    history = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]
    return history["messages"][history["currentId"]]


async def test_what_the_page_relays_is_the_answer(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, number, question = await begun(ada, page, page.session_id)
        assert question["session_id"] == page.session_id, "else the page would not answer"
        assert question["model"] == {"id": "tiny", "urlIdx": "0"}
        assert "url_index" not in question
        assert question["form_data"]["messages"] == [{"role": "user", "content": "Hello"}]
        await page.send(f'43{number}[{{"status":true}}]')
        one, two = line("there")[:25], line("there")[25:]
        await relay(page, question, ": a comment", "data:", line("Hello "), "event: x", one, two, END, "data: [DONE]", {"done": True})
        await page.done()
    assert (await answer_of(ada, chat_id))["content"] == "Hello there"


async def test_a_page_that_relays_may_send_more_than_others(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        for _ in range(FRAMES_BURST * 3 // 4):  # most of what any page may send at once
            await page.send("2")
        chat_id, _, question = await begun(ada, page, page.session_id)
        words = [f"{number} " for number in range(FRAMES_BURST // 2)]
        await relay(page, question, *map(line, words))
        await relay(page, question, END, {"done": True})
        await page.done()
    assert (await answer_of(ada, chat_id))["content"] == "".join(words)


@pytest.mark.parametrize("how", ["answered", "relayed"])
async def test_why_a_provider_failed_is_shown(server: Running, how: str) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, number, question = await begun(ada, page, page.session_id)
        failure = {"error": {"message": "no such model"}}
        if how == "answered":
            await page.send(f"43{number}" + json.dumps([failure]))
        else:
            await relay(page, question, failure)
        await relay(page, question, {"done": True})
        await page.done()
    assert "no such model" in (await answer_of(ada, chat_id))["error"]["content"]


async def test_an_answer_ends_with_the_page_that_relays_it(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as other:
        async with page_of(server, ada) as page:
            chat_id, _, question = await begun(ada, page, page.session_id)
            await relay(page, question, line("Half "))
            await joined(other, chat_id)
            while "Half" not in (await answer_of(ada, chat_id))["content"]:
                pass
        await other.done()
    message = await answer_of(ada, chat_id)
    assert message["content"] == "Half "
    assert "was lost" in message["error"]["content"]


async def test_only_the_page_that_asked_is_asked_and_others_relay_nothing(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page, page_of(server, ada) as other:
        chat_id, _, question = await begun(ada, page, page.session_id)
        await joined(other, chat_id)
        await relay(other, question, line("Forged"), {"done": True})
        await other.send("2")
        while await other.next() != "3":
            pass
        await relay(page, question, line("True"), END, {"done": True})
        await page.done()
        await other.done()
        assert "request:chat:completion" not in [envelope["data"]["type"] for envelope in other.heard]
    assert (await answer_of(ada, chat_id))["content"] == "True"


async def heard_so_far(page: Page) -> list[str]:
    """All that the server sends until it has read what the page has sent."""
    await page.send("2asked")
    heard: list[str] = []
    while (text := await page.next()) != "3asked":
        heard.append(text)
    return heard


async def error_of(user: User, chat_id: str) -> str:
    """Why the answer ended."""
    async with asyncio.timeout(WAIT_S):
        while not (error := (await answer_of(user, chat_id)).get("error")):
            pass
    return str(error["content"])


@pytest.mark.parametrize("way", ["by another chat", "by the same chat"])
async def test_a_page_that_comes_back_goes_on_and_is_not_asked_again(server: Running, way: str) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, number, question = await begun(ada, page, page.session_id)
        await page.send(f'43{number}[{{"status":true}}]')
        await relay(page, question, line("Hello "))
        if way == "by another chat":
            await page.about(chat_id, "leave")
            other = await ada.new_chat()
            await joined(page, other)
            await relay(page, question, line("from "))
            await page.about(other, "leave")
        else:
            await relay(page, question, line("from "))
        message_id = (await answer_of(ada, chat_id))["id"]
        later = Question(server, ada, chat_id, message_id, "confirmation", {"title": "Sure?"}, session_id="a tab that is gone")
        async with asyncio.timeout(WAIT_S):
            while len((await ada.get(f"/api/v1/chats/{chat_id}/calls")).json()) < 2:
                pass
        await joined(page, chat_id)
        number, envelope = await asked(page)  # what is for another tab comes after what is for this one
        assert envelope["data"]["type"] == "confirmation"
        await page.send(f"43{number}[true]")
        assert await later.answered() is True
        await relay(page, question, line("afar"), END, {"done": True})
        await page.done()
    assert (await answer_of(ada, chat_id))["content"] == "Hello from afar"


async def test_an_acknowledgement_counts_whatever_chat_is_shown(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, number, _ = await begun(ada, page, page.session_id)
        await joined(page, await ada.new_chat())
        await page.send(f"43{number}" + json.dumps([{"error": {"message": "no such model"}}]))
        assert "no such model" in await error_of(ada, chat_id)


@pytest.mark.parametrize("cut", [2, 4, 5, 6])
async def test_a_line_may_be_cut_at_its_beginning(server: Running, cut: int) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, _, question = await begun(ada, page, page.session_id)
        whole = line("see data: it")
        again = whole.index("data: it")
        await relay(page, question, whole[:cut], whole[cut:], whole[:again], whole[again:], END, {"done": True})
        await page.done()
    assert (await answer_of(ada, chat_id))["content"] == "see data: it" * 2


async def test_a_line_that_does_not_end_ends_the_answer(server: Running) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, _, question = await begun(ada, page, page.session_id)
        await relay(page, question, line("Half "), 'data: {"choices":[', *["x"] * PIECES_MAX)
        assert "a line of your provider" in await error_of(ada, chat_id)
        await relay(page, question, line("more"), {"done": True})
        await heard_so_far(page)
    assert (await answer_of(ada, chat_id))["content"] == "Half "


async def test_a_page_with_a_key_for_reading_is_not_asked_and_relays_nothing(server: Running) -> None:
    ada = await server.sign_up()
    key = await made(ada, "reader", scopes=["read"])
    await server.settled()  # the key is known everywhere
    async with page_of(server, replace(ada, token=key["api_key"])) as page, page_of(server, ada) as writer:
        chat_id = await ask_page(ada, page.session_id)
        await joined(writer, chat_id)
        await joined(page, chat_id)
        async with asyncio.timeout(WAIT_S):
            while not (calls := (await ada.get(f"/api/v1/chats/{chat_id}/calls")).json()):
                pass
        await relay(page, {"channel": calls[0]["call_id"]}, line("Forged"), END, {"done": True})
        for number in range(5):
            await page.send(f"43{number}" + json.dumps([{"error": {"message": "forged"}}]))
        assert "request:chat:completion" not in "".join(await heard_so_far(page))
        (call,) = (await ada.get(f"/api/v1/chats/{chat_id}/calls")).json()
        assert (call["call_id"], (await answer_of(ada, chat_id))["content"]) == (calls[0]["call_id"], "")


async def test_an_answer_ends_when_somebody_else_signs_in_at_its_page(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    async with page_of(server, ada) as page:
        chat_id, _, question = await begun(ada, page, page.session_id)
        await relay(page, question, line("Half "))
        await page.send("42" + json.dumps(["user-join", {"auth": {"token": bob.token}}]))
        await relay(page, question, line("of Bob"), {"done": True})
        assert "was lost" in await error_of(ada, chat_id)
    assert (await answer_of(ada, chat_id))["content"] == "Half "


@pytest.mark.parametrize("when", ["before the question", "before the answer"])
async def test_an_answer_ends_whose_page_is_gone_before_it_was_asked(server: Running, when: str) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        await heard_so_far(page)
        if when == "before the question":  # which the page never sees: it has not joined the chat
            chat_id = await ask_page(ada, page.session_id)
    if when == "before the answer":
        while any(len(system.page_sockets) for system in server.systems):  # noqa: ASYNC110  # the end of a socket has no event here
            await asyncio.sleep(0)
        chat_id = await ask_page(ada, page.session_id)
    assert "was lost" in await error_of(ada, chat_id)


@pytest.mark.parametrize("event", ["join-channels", "user-join"])
async def test_a_second_sign_in_leaves_the_rate_of_a_page_that_relays(server: Running, event: str) -> None:
    ada = await server.sign_up()
    async with page_of(server, ada) as page:
        chat_id, _, question = await begun(ada, page, page.session_id)
        await page.send("42" + json.dumps([event, {"auth": {"token": ada.token}}]))
        await heard_so_far(page)
        words = [f"{number} " for number in range(FRAMES_BURST + 1000)]
        for at in range(0, len(words), 500):
            await relay(page, question, *map(line, words[at : at + 500]))
            await heard_so_far(page)
            await asyncio.sleep(500 / FRAMES_PER_S)  # no faster than a page that relays may be, on any machine
        await relay(page, question, END, {"done": True})
        await page.done()
    assert (await answer_of(ada, chat_id))["content"] == "".join(words)
