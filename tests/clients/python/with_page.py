"""``playwright``: Open WebUI's own page in Chromium, used by a person. Prints what was on the screen."""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from driver import GIVEN, URL, finish
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

PASSWORD = "correct horse battery"
WAIT_S = 60
FOLDER = Path.cwd()
# Its own: the page looks at once for what this server has not.
KNOWN_ERRORS = ("favicon", "user-join event not emitted")

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
    page.on("pageerror", lambda error: errors.append(f"{name}: {error}"))
    page.on("console", lambda said: errors.append(f"{name}: {said.text}") if said.type == "error" else None)
    page.on("response", lambda answer: errors.append(f"{name}: {answer.status} {answer.url}") if answer.status >= 500 else None)
    return page


async def answers(page: Page) -> list[str]:
    """The texts of the answers on the screen, from the top."""
    return [words(text) for text in await page.locator("#response-content-container").all_inner_texts()]


async def ask(page: Page, question: str) -> None:
    await page.locator("#chat-input").click()
    await page.keyboard.type(question)
    await page.keyboard.press("Enter")


async def begun(page: Page, model: str, question: str) -> str:
    """The id of a new chat in which an answer has begun to show."""
    await page.goto(f"{URL}/?models={model}")
    await page.locator("#chat-input").wait_for()
    await until("the model to be chosen", lambda: page.get_by_text("Demo").count())
    await ask(page, question)
    await page.wait_for_url("**/c/*")
    await until("some words", lambda: has_words(page, 3))
    return page.url.rsplit("/c/", 1)[1].split("?")[0]


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


async def stopped(page: Page, chat_id: str) -> None:
    """A page that was loaded in mid-answer on a busy machine may come up without its button: then it is loaded once more."""
    try:
        await page.get_by_label("Stop").first.click(timeout=10_000)
    except PlaywrightTimeoutError:
        await page.reload()
        await page.get_by_label("Stop").first.click()
    await until("the answer to be stopped", lambda: is_idle(page))
    await until("the server to have stopped it", lambda: is_over(page, chat_id))


async def is_over(page: Page, chat_id: str) -> bool:
    return all(one.get("done", True) for one in (await stored(page, chat_id))["history"]["messages"].values())


async def is_idle(page: Page) -> bool:
    return await page.get_by_label("Stop").count() == 0


async def signed_up(context: BrowserContext) -> Page:
    """The first account, as the page makes it on a new server."""
    page = await opened(context, "first")
    await page.goto(URL)
    start = page.get_by_label("Get started")
    await until("the welcome", start.count)
    await start.click()
    await page.fill("#name", "Ada")
    await page.fill("#email", "ada@example.org")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.locator("#chat-input").wait_for()
    return page


async def reload_and_second_tab(context: BrowserContext, page: Page) -> dict[str, Any]:
    """An answer that is being written, after a reload and in another tab: each text that was shown is a beginning of it."""
    chat_id = await begun(page, "demo:1000", "A long one")
    other = await opened(context, "other")
    await other.goto(page.url)
    await until("words in the other tab", lambda: has_words(other, 3))
    before = len((await answers(page))[-1])
    await page.reload()
    await until("words after the reload", lambda: has_words(page, 3))
    first = len((await answers(page))[-1])
    shown: list[str] = []
    for _ in range(20):
        await asyncio.sleep(0.1)
        shown += [(await answers(one))[-1] for one in (page, other) if await answers(one)]
    await stopped(page, chat_id)
    whole = await newest(page, chat_id)
    await ask(page, "And in the other tab?")
    await until("the question in the other tab", lambda: other.get_by_text("And in the other tab?").count())
    await until("the question to be answered", lambda: has_answers(page, 2))
    await stopped(page, chat_id)
    await other.close()
    return {"whole": whole, "shown": shown, "before": before, "first": first}


async def has_answers(page: Page, count: int) -> bool:
    shown = await answers(page)
    return len(shown) >= count and bool(shown[-1])


async def cut_and_killed(page: Page) -> dict[str, Any]:
    """The connection is lost for a while; then the server is killed, and started again."""
    chat_id = await begun(page, "demo:1000", "Cut me off")
    # Until the page has settled after its join.
    await until("many words", lambda: has_words(page, 60))
    tell("cut")
    lost = (await answers(page))[-1]
    await until("words that were said meanwhile", lambda: has_words(page, len(lost.split()) + 40))
    shown = [(await answers(page))[-1] for _ in range(10)]
    tell("kill")
    await until("the mark of an interruption", lambda: page.get_by_text("The server stopped while this was being written").count())
    interrupted = (await answers(page))[-1]
    return {"whole": await newest(page, chat_id), "shown": [lost, *shown], "interrupted": interrupted}


def tell(what: str) -> None:
    """What the test is to do now. Returns once it has done it."""
    print(what, flush=True)
    assert sys.stdin.readline().strip() == what


async def others(page: Page) -> dict[str, Any]:
    """Thoughts, a failure, two models side by side, a new answer, a search, a new name, signing out."""
    await begun(page, "demo:reasoning", "Think")
    await until("the thought to be over", lambda: page.get_by_text("Thought", exact=False).count())
    await until("the end", lambda: is_idle(page))
    await page.reload()
    await until("the thought after a reload", lambda: page.get_by_text("Thought", exact=False).count())
    await begun(page, "demo:fail", "Fail")
    await until("why it failed", lambda: page.get_by_text("stops here on purpose").count())
    two = await begun(page, "demo,demo:reasoning", "Thunderstorms")
    await until("two answers", lambda: has_answers(page, 2))
    await until("their end", lambda: is_idle(page))
    await page.screenshot(path=str(FOLDER / "two.png"))
    messages = (await stored(page, two))["history"]["messages"].values()
    side_by_side = sorted(words(one["content"]) for one in messages if one["role"] == "assistant")
    on_screen = sorted(text.removeprefix("Thought ") for text in await answers(page))
    again = await begun(page, "demo", "Once more")
    await until("the end", lambda: is_idle(page))
    await page.get_by_label("Good Response").last.click()
    await until("the rating", lambda: rating(page, again))
    await page.get_by_label("Open Sidebar").first.click()
    await page.get_by_label("Search").first.click()
    await page.keyboard.type("thunder")
    await until("what was searched for", lambda: page.get_by_text("Thunderstorms").count())
    await page.keyboard.press("Escape")
    await page.evaluate("localStorage.removeItem('token')")
    await page.goto(f"{URL}/auth")
    await page.fill("#email", "ada@example.org")
    await page.fill("#password", "wrong")
    await page.keyboard.press("Enter")
    await until("a refusal", lambda: page.get_by_text("password", exact=False).count())
    return {"stored": side_by_side, "on_screen": on_screen}


async def rating(page: Page, chat_id: str) -> bool:
    messages = (await stored(page, chat_id))["history"]["messages"].values()
    return any(one.get("annotation", {}).get("rating") == 1 for one in messages)


async def main() -> None:
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=GIVEN["chromium"], args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 1300, "height": 850})
        page = await signed_up(context)
        try:
            followed = await reload_and_second_tab(context, page)
            cut = await cut_and_killed(page)
            more = await others(page)
        except BaseException:
            await page.screenshot(path=str(FOLDER / "failed.png"))
            raise
        await browser.close()
    seen = [error for error in errors if not any(known in error for known in KNOWN_ERRORS)]
    finish("playwright", followed=followed, cut=cut, others=more, errors=seen)


asyncio.run(main())
