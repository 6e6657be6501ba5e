"""``playwright``: Open WebUI's own page in Chromium, used by a person. Prints what was on the screen."""

import asyncio
from typing import Any

from driver import GIVEN, URL, finish
from page_steps import (
    FOLDER,
    PASSWORD,
    answers,
    ask,
    begun,
    has_words,
    is_idle,
    newest,
    opened,
    stored,
    tell,
    unknown_errors,
    until,
    words,
)
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

# Longer than a busy machine needs for all that is done to the page meanwhile.
LONG = "demo:10000"


async def stopped(page: Page, chat_id: str) -> None:
    await page.get_by_label("Stop").first.click()
    await until("the answer to be stopped", lambda: is_idle(page))
    await until("the server to have stopped it", lambda: is_over(page, chat_id))


async def is_over(page: Page, chat_id: str) -> bool:
    return all(one.get("done", True) for one in (await stored(page, chat_id))["history"]["messages"].values())


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
    await page.press("#password", "Enter")
    await page.locator("#chat-input").wait_for()
    return page


async def reload_and_second_tab(page: Page, other: Page) -> dict[str, Any]:
    """An answer that is being written, after a reload and in another tab: each text that was shown is a beginning of it."""
    chat_id = await begun(page, LONG, "A long one")
    await other.goto(page.url)
    await until("words in the other tab", lambda: has_words(other, 3))
    before = len((await answers(page))[-1])
    await page.reload()
    await until("words after the reload", lambda: has_words(page, 3))
    first = len((await answers(page))[-1])
    shown: list[str] = []
    for _ in range(20):
        await asyncio.sleep(0.1)
        shown += [texts[-1] for one in (page, other) if (texts := await answers(one))]
    await stopped(page, chat_id)
    whole = await newest(page, chat_id)
    await ask(page, "And in the other tab?")
    await until("the question in the other tab", lambda: other.get_by_text("And in the other tab?").count())
    await until("the question to be answered", lambda: has_answers(page, 2))
    await stopped(page, chat_id)
    return {"whole": whole, "shown": shown, "before": before, "first": first}


async def has_answers(page: Page, count: int) -> bool:
    shown = await answers(page)
    return len(shown) >= count and bool(shown[-1])


async def cut_and_killed(page: Page, other: Page) -> dict[str, Any]:
    """The connection is lost for a while; then the server is killed, and started again. The other tab has the chat in its list."""
    await other.get_by_label("Open Sidebar").first.click()
    chat_id = await begun(page, LONG, "Cut me off")
    await other.locator(f"#sidebar a[href='/c/{chat_id}']").first.wait_for()
    await other.close()
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


async def others(page: Page) -> dict[str, Any]:
    """Thoughts, a failure, a rating, a search, two models side by side, signing in."""
    thinking = await begun(page, "demo:reasoning", "Thunderstorms")
    await until("the thought to be over", lambda: page.get_by_text("Thought", exact=False).count())
    await until("the end", lambda: is_idle(page))
    await begun(page, "demo:fail", "Fail")
    await until("why it failed", lambda: page.get_by_text("stops here on purpose").count())
    rated = await begun(page, "demo:fast", "Once more")
    await until("the end", lambda: is_idle(page))
    await page.get_by_label("Good Response").last.click()
    await until("the rating", lambda: rating(page, rated))
    await page.get_by_label("Open Sidebar").first.click()
    await page.get_by_label("Search").first.click()
    await page.locator("input:focus").fill("thunder")
    await until("the one that was searched for", lambda: has_found(page, "Thunderstorms"))
    await page.screenshot(path=str(FOLDER / "search.png"))
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/c/{thinking}*")
    await until("the thought as it is stored", lambda: page.get_by_text("Thought", exact=False).count())
    # The last one in this tab: the page itself fails where it goes from two answers side by side to another chat before they are drawn.
    two = await begun(page, "demo,demo:reasoning", "Two of you")
    await until("two answers", lambda: has_answers(page, 2))
    await until("their end", lambda: is_idle(page))
    await page.screenshot(path=str(FOLDER / "two.png"))
    messages = (await stored(page, two))["history"]["messages"].values()
    side_by_side = sorted(words(one["content"]) for one in messages if one["role"] == "assistant")
    on_screen = sorted(text.removeprefix("Thought ") for text in await answers(page))
    await page.evaluate("localStorage.removeItem('token')")
    await page.goto(f"{URL}/auth")
    await page.fill("#email", "ada@example.org")
    await page.fill("#password", "wrong")
    await page.press("#password", "Enter")
    await until("a refusal", lambda: page.get_by_text("password", exact=False).count())
    return {"stored": side_by_side, "on_screen": on_screen}


async def has_found(page: Page, title: str) -> bool:
    """Whether this chat is the only one that the search shows."""
    found = await page.locator("#workspace-search-results [role=option]").all_inner_texts()
    return len(found) == 1 and title in found[0]


async def rating(page: Page, chat_id: str) -> bool:
    messages = (await stored(page, chat_id))["history"]["messages"].values()
    return any(one.get("annotation", {}).get("rating") == 1 for one in messages)


async def main() -> None:
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=GIVEN["chromium"], args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 1300, "height": 850})
        page = await signed_up(context)
        try:
            other = await opened(context, "other")
            followed = await reload_and_second_tab(page, other)
            cut = await cut_and_killed(page, other)
            more = await others(page)
        except BaseException:
            await page.screenshot(path=str(FOLDER / "failed.png"))
            raise
        await browser.close()
    finish("playwright", followed=followed, cut=cut, others=more, errors=unknown_errors())


asyncio.run(main())
