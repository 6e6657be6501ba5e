"""What the scripts share that use Open WebUI's page in Chromium as people do."""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from driver import URL
from playwright.async_api import BrowserContext, Locator, Page
from playwright.async_api import TimeoutError as NotInTime

PASSWORD = "correct horse battery"
WAIT_S = 60
BEGIN_AGAIN_S = 5
FOLDER = Path.cwd()
# Its own: the page looks at once for what this server has not.
KNOWN_ERRORS = ("favicon", "user-join event not emitted")
# What the page calls the models that are chosen.
CHOSEN = {
    "demo": "Demo",
    "demo:fast": "Demo, as fast as it goes",
    "demo:reasoning": "Demo with reasoning",
    "demo:fail": "Demo, fails in mid-answer",
    "demo,demo:reasoning": "Demo +1",
}
FOLLOW = "href => { const a = Object.assign(document.createElement('a'), {href}); document.body.append(a); a.click(); a.remove(); }"

errors: list[str] = []


def words(text: str) -> str:
    return " ".join(text.split())


async def until(what: str, true: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for something to be so."""
    end = time.monotonic() + WAIT_S
    while not (found := await true()):
        assert time.monotonic() < end, f"waited for {what}"
        await asyncio.sleep(0.05)
    return found


async def opened(context: BrowserContext, name: str) -> Page:
    page = await context.new_page()
    page.set_default_timeout(WAIT_S * 1000)
    page.on("pageerror", lambda error: errors.append(f"{name}: {error.stack or error}"))
    page.on("console", lambda said: errors.append(f"{name}: {said.text}") if said.type == "error" else None)
    page.on("response", lambda answer: errors.append(f"{name}: {answer.status} {answer.url}") if answer.status >= 500 else None)
    return page


async def answers(page: Page) -> list[str]:
    """The texts of the answers on the screen, from the top."""
    return [words(text) for text in await page.locator("#response-content-container").all_inner_texts()]


async def point_and_click(row: Locator, *buttons: Locator) -> None:
    """Click a button that shows while one points at its row, then those of the menu that it opens. Begins again where a list that changed
    has moved the row away from the mouse, or closed the menu.
    """
    end = time.monotonic() + WAIT_S
    while True:
        await row.hover()
        try:
            for button in buttons:
                await button.click(timeout=BEGIN_AGAIN_S * 1000)
        except NotInTime:
            if time.monotonic() > end:
                raise
            await row.page.keyboard.press("Escape")
        else:
            return


async def ask(page: Page, question: str) -> None:
    await page.locator("#chat-input").click()
    await page.keyboard.type(question)
    await page.keyboard.press("Enter")


async def go(page: Page, address: str) -> None:
    """As by a link in the page, which does not load the page anew. Elsewhere than in the page by its address."""
    if page.url.split("/")[:3] == address.split("/")[:3]:
        await page.evaluate(FOLLOW, address)
        await page.wait_for_url(address)
    else:
        await page.goto(address)


async def begun(page: Page, model: str, question: str, url: str = URL) -> str:
    """The id of a new chat in which an answer has begun to show."""
    await go(page, f"{url}/?models={model}")
    await page.locator("#chat-input").wait_for()
    await page.get_by_label(f"Selected model: {CHOSEN.get(model, model)}", exact=True).first.wait_for()
    await until("an empty chat", lambda: is_empty(page))
    await ask(page, question)
    await page.wait_for_url("**/c/*")
    await until("some words", lambda: has_words(page, 3))
    return page.url.rsplit("/c/", 1)[1].split("?")[0]


async def is_empty(page: Page) -> bool:
    return not await answers(page)


async def has_words(page: Page, least: int) -> bool:
    shown = await answers(page)
    return bool(shown) and len(shown[-1].split()) >= least


async def stored(page: Page, chat_id: str) -> dict[str, Any]:
    """The chat as the server has it."""
    token = await page.evaluate("localStorage.token")

    def read() -> Any:
        request = urllib.request.Request(f"{URL}/api/v1/chats/{chat_id}", headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.load(answer)

    chat: dict[str, Any] = (await asyncio.to_thread(read))["chat"]
    return chat


async def newest(page: Page, chat_id: str) -> str:
    history = (await stored(page, chat_id))["history"]
    return words(history["messages"][history["currentId"]]["content"])


async def is_idle(page: Page) -> bool:
    return await page.get_by_label("Stop").count() == 0


def tell(what: str) -> None:
    """What the test is to do now. Returns once it has done it."""
    print(what, flush=True)
    assert sys.stdin.readline().strip() == what


def unknown_errors() -> list[str]:
    return [error for error in errors if not any(known in error for known in KNOWN_ERRORS)]
