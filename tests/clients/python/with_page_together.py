"""``playwright``: two people in a channel and in chats, in Open WebUI's own page in Chromium. Prints what was on their screens."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from driver import GIVEN, URL, finish
from page_steps import (
    FOLDER,
    PASSWORD,
    WAIT_S,
    answers,
    begun,
    go,
    is_idle,
    newest,
    opened,
    point_and_click,
    tell,
    unknown_errors,
    until,
    words,
)
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright

DIRECT: str = GIVEN["direct"]  # the server itself: what goes by ``URL`` may be cut
MENTION = re.compile(r"<@M:[^|]*\|([^>]*)>")  # as a page shows it
HOVERED = {"react": 0, "reply": 1, "pin": 2, "thread": 3, "edit": 4, "delete": 5}  # the buttons above one's own message


class Person:
    """An account, its page, and the API as a program of theirs would use it."""

    def __init__(self, session: dict[str, Any], page: Page) -> None:
        self.session = session
        self.page = page

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(api, method, path, body, self.session["token"])


def api(method: str, path: str, body: Any = None, token: str = "") -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(DIRECT + path, data, headers, method=method), timeout=WAIT_S) as answer:
        return json.load(answer)


async def signed_in(browser: Browser, name: str, url: str) -> Person:
    """A new account in a browser of its own."""
    account = {"name": name, "email": f"{name.lower()}@example.org", "password": PASSWORD}
    session = await asyncio.to_thread(api, "POST", "/api/v1/auths/signup", account)
    context: BrowserContext = await browser.new_context(viewport={"width": 1300, "height": 850})
    await context.add_init_script(f"localStorage.token ??= {json.dumps(session['token'])}")
    await context.add_cookies([{"name": "token", "value": session["token"], "url": url}])
    return Person(session, await opened(context, name))


# --------------------------------------------------------------------------------------------------------------- channels


def message(page: Page, text: str) -> Locator:
    return page.locator("[id^=message-].group", has_text=text).first


async def say(page: Page, text: str) -> None:
    await page.locator("#chat-input").first.click()
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def press(page: Page, text: str, what: str) -> None:
    """A button above a message, which is there while one points at it."""
    found = message(page, text)
    await point_and_click(found, found.locator("button").nth(HOVERED[what]))


async def shown(page: Page, *texts: str) -> None:
    for text in texts:
        await page.get_by_text(text, exact=True).first.wait_for()


async def gone(page: Page, *texts: str) -> None:
    for text in texts:
        await page.get_by_text(text, exact=True).first.wait_for(state="detached")


async def timeline(page: Page) -> list[str]:
    """The texts of the channel on the screen, the oldest first."""
    return [words(text) for text in await page.locator("#messages-container .markdown-prose").all_inner_texts()]


def plain(content: str) -> str:
    """What a page shows of it."""
    return words(re.sub(r"[`*]", "", MENTION.sub(r"@\1", content)))


async def in_a_channel(ada: Person, bob: Person) -> dict[str, Any]:
    body = {"type": "group", "name": "Our room", "data": {"model_answers": "channel"}, "user_ids": [bob.session["id"]]}
    channel_id = (await ada.api("POST", "/api/v1/channels/create", body))["id"]
    path = f"/api/v1/channels/{channel_id}"
    for person, url in ((ada, DIRECT), (bob, URL)):
        await go(person.page, f"{url}/channels/{channel_id}")
        await person.page.locator("#chat-input").wait_for()
    one, two = ada.page, bob.page
    await one.locator("#chat-input").click()
    await one.keyboard.type("Hello Bob")
    await two.get_by_text("is typing", exact=False).first.wait_for()
    await one.keyboard.press("Enter")
    await shown(two, "Hello Bob")

    await press(two, "Hello Bob", "reply")
    await say(two, "Hello Ada")
    await shown(one, "Hello Ada")
    await press(two, "Hello Bob", "react")
    await two.locator("button img[src*='/assets/emojis/']").first.click()
    await until("the reaction", lambda: message(one, "Hello Bob").locator("img[src*='/assets/emojis/']").count())
    await two.keyboard.press("Escape")

    await say(one, "A mistake")
    await shown(two, "A mistake")
    await press(one, "A mistake", "edit")
    await one.locator("#messages-container [contenteditable=true], #messages-container textarea").first.click()
    await one.keyboard.press("Control+A")
    await one.keyboard.type("No mistake")
    await one.get_by_role("button", name="Save").click()
    await shown(two, "No mistake")
    await say(one, "To be taken back")
    await shown(two, "To be taken back")
    await press(one, "To be taken back", "delete")
    await one.get_by_role("button", name="Confirm").click()
    await gone(two, "To be taken back")

    await press(two, "Hello Bob", "thread")
    await two.locator("#chat-input").nth(1).click()
    await two.keyboard.type("In the thread")
    await two.keyboard.press("Enter")
    await one.get_by_text("1 Replies").first.wait_for()
    await shown(two, "In the thread")

    await say(one, "Soon gone")
    await shown(two, "Soon gone")
    said = await ada.api("GET", f"{path}/messages/")
    ids = {one["content"]: one["id"] for one in said}
    smile = next(one["reactions"][0]["name"] for one in said if one["reactions"])
    await asyncio.to_thread(tell, "part")
    await say(one, "While you were away")
    await ada.api("POST", f"{path}/messages/{ids['No mistake']}/update", {"content": "Changed meanwhile"})
    await ada.api("POST", f"{path}/messages/post", {"content": "A reply meanwhile", "parent_id": ids["Hello Bob"]})
    await ada.api("POST", f"{path}/messages/{ids['No mistake']}/reactions/add", {"name": smile})
    await ada.api("DELETE", f"{path}/messages/{ids['Soon gone']}/delete")
    await asyncio.to_thread(tell, "join")
    await gone(two, "Soon gone")
    await shown(two, "While you were away", "Changed meanwhile", "A reply meanwhile")
    await until("the reaction after it", lambda: message(two, "Changed meanwhile").locator("img[src*='/assets/emojis/']").count())
    await two.screenshot(path=str(FOLDER / "channel.png"))

    await one.locator("#chat-input").first.click()
    await one.keyboard.type("@demo")
    await one.locator("[data-selected=true]", has_text="Demo").wait_for()
    await one.keyboard.press("Enter")
    await say(one, "what do you say?")
    answer = await until("the model to have answered", lambda: answered(ada, path))
    for page in (one, two):
        await until("the answer on the screen", lambda page=page: has_text(page, answer))
    log = [plain(text["content"]) for text in reversed(await ada.api("GET", f"{path}/messages/"))]
    screens = [await timeline(page) for page in (one, two)]

    await ada.api("POST", f"{path}/update/members/remove", {"user_ids": [bob.session["id"]]})
    await say(one, "Not for Bob")
    await shown(one, "Not for Bob")
    await until("the channel to be gone", lambda: is_without(two, channel_id))
    return {"log": log, "screens": screens, "after_removal": await timeline(two)}


# ------------------------------------------------------------------------------------------------------------------ chats


async def asked_by_a_function(ada: Person) -> dict[str, Any]:
    """An action that asks before it writes: no, and then yes. Another asks for a text, and has the page work something out."""
    page = ada.page
    chat_id = await begun(page, "demo:fast", "Count me", DIRECT)
    await until("the end", lambda: is_idle(page))
    before = await newest(page, chat_id)
    for button in ("Cancel", "Confirm"):
        await page.get_by_label("Add the number of words").last.click()
        await shown(page, "Add it?")
        if button == "Confirm":
            await page.screenshot(path=str(FOLDER / "question.png"))
        await page.get_by_role("button", name=button).click()
        await gone(page, "Add it?")
    await until("the count", lambda: has_answer(page, "words)"))
    after = await newest(page, chat_id)
    await page.get_by_label("Ask the page").last.click()
    await page.get_by_placeholder("a name").fill("Ada")
    await page.screenshot(path=str(FOLDER / "input.png"))
    await page.get_by_role("button", name="Confirm").click()
    await until("what the page worked out", lambda: has_answer(page, "says"))
    said = await newest(page, chat_id)
    return {"chat_id": chat_id, "before": before, "after": after, "said": said, "on_screen": (await answers(page))[-1]}


async def chores(ada: Person, bob: Person, other_id: str) -> dict[str, Any]:
    """What one does with a chat: its answer anew, its question edited, its branches; a name, a pin, a folder, a link, a tag, the archive.
    The other chat is deleted.
    """
    page = ada.page
    chat_id = await begun(page, "demo:fast", "First question", DIRECT)
    await until("the end", lambda: is_idle(page))
    first = (await answers(page))[-1]
    await page.get_by_label("Regenerate").last.click()
    await page.get_by_text("Try Again").click()
    await shown(page, "2/2")
    await until("the end of the second", lambda: is_idle(page))
    question = page.locator(".user-message").first
    await point_and_click(question, page.get_by_label("Edit").first)
    await page.locator("textarea:visible").first.fill("Another beginning")
    await page.locator("#confirm-edit-message-button").click()
    await until("the answer to it", lambda: has_answer(page, "Another beginning"))
    await until("its end", lambda: is_idle(page))
    edited = await answers(page)
    await point_and_click(question, page.get_by_label("Previous message").first)
    await shown(page, "First question")
    branches = await answers(page)

    async def chat() -> dict[str, Any]:
        return dict(await ada.api("GET", f"/api/v1/chats/{chat_id}"))

    def rows(of: str) -> Locator:
        return page.locator(f"#sidebar [id='sidebar-chat-group']:has(a[href='/c/{of}'])")

    async def choose(*path: str, of: str = chat_id) -> None:
        row = rows(of).last
        items = (page.locator("[role=menuitem], [role=menu] button").filter(has_text=text).first for text in path)
        await point_and_click(row, row.get_by_label("Chat Menu").first, *items)

    async def so(key: str, value: Any) -> Any:
        return await until(f"{key} to be stored", lambda: stored_so(chat, key, value))

    await page.get_by_label("Open Sidebar").first.click()
    await choose("Rename")
    name = page.locator(f"[id='chat-title-input-{chat_id}']:visible")
    await name.fill("A better name")
    await name.press("Enter")
    await so("title", "A better name")
    await choose("Pin")
    await so("pinned", True)
    await page.get_by_label("New Folder").first.click()
    await page.locator("input:visible").first.fill("Trips")
    await page.get_by_role("button", name="Save").click()
    await shown(page, "Trips")
    await choose("Move", "Trips")
    await so("folder_id", None)
    await page.screenshot(path=str(FOLDER / "chores.png"))
    await page.goto(f"{DIRECT}/c/{chat_id}")
    await shown(page, "Another beginning")  # which branch one looks at is the page's own affair
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await choose("Share")
    await page.get_by_role("button", name="Private").click()
    await page.get_by_text("Public", exact=True).click()
    await page.screenshot(path=str(FOLDER / "share.png"))
    await page.get_by_role("button", name="Copy Link").click()
    link = await until("the link", lambda: copied(page, "/s/"))
    await go(bob.page, link.replace(DIRECT, URL))
    await shown(bob.page, "Another beginning")
    await page.keyboard.press("Escape")
    await page.get_by_label("Chat actions").first.click()
    tag = page.get_by_placeholder("Add a tag...")
    await tag.fill("weather")
    await tag.press("Enter")
    await page.locator("[role=menu]", has_text="weather").wait_for()
    tags = await until("the tag to be stored", lambda: ada.api("GET", f"/api/v1/chats/{chat_id}/tags"))
    await page.keyboard.press("Escape")
    await choose("Archive")
    await so("archived", True)
    await rows(chat_id).first.wait_for(state="detached")
    await choose("Delete", of=other_id)
    await page.get_by_role("button", name="Confirm").click()
    await until("the other chat to be deleted", lambda: is_not_listed(ada, other_id))
    await rows(other_id).first.wait_for(state="detached")
    names = [tag["name"] for tag in tags]
    return {"first": first, "edited": edited, "branches": branches, "shared": await answers(bob.page), "tags": names}


async def copied(page: Page, part: str) -> str | None:
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text if part in text else None


async def is_not_listed(person: Person, chat_id: str) -> bool:
    return all(chat["id"] != chat_id for chat in await person.api("GET", "/api/v1/chats/"))


async def by_own_provider(ada: Person) -> dict[str, str]:
    """A direct connection, set in the page's settings: the page itself asks that provider."""
    page = ada.page
    await page.locator("[aria-label='Open User Profile Menu']:visible").first.click()
    await page.get_by_text("Settings", exact=True).first.click()
    await page.get_by_text("Connections", exact=True).first.click()
    await page.get_by_label("Add Connection").click()
    await page.get_by_placeholder("API Base URL").fill(f"{GIVEN['provider']}/v1")
    await page.get_by_placeholder("API Key").fill("sk-her-own")
    await page.screenshot(path=str(FOLDER / "connection.png"))
    await page.get_by_role("button", name="Save").last.click()
    await page.get_by_placeholder("API Key").wait_for(state="detached")
    await page.keyboard.press("Escape")
    chat_id = await begun(page, "tiny", "Who are you?", DIRECT)
    await until("the end", lambda: is_idle(page))
    return {"stored": await newest(page, chat_id), "on_screen": (await answers(page))[-1]}


async def stored_so(chat: Callable[[], Awaitable[dict[str, Any]]], key: str, value: Any) -> bool:
    found = (await chat())[key]
    return bool(found) if value is None else found == value


async def signed_out(ada: Person) -> str:
    page = ada.page
    await page.locator("[aria-label='Open User Profile Menu']:visible").first.click()
    await page.get_by_text("Sign Out").click()
    await page.wait_for_url("**/auth*")
    await page.locator("#email").wait_for()
    return page.url


async def has_answer(page: Page, text: str) -> bool:
    return any(text in one for one in await answers(page))


async def answered(ada: Person, path: str) -> str | None:
    newest = await ada.api("GET", f"{path}/messages/?limit=5")
    threads = [await ada.api("GET", f"{path}/messages/{one['id']}/thread") for one in newest if one["reply_count"]]
    done = [one for some in [newest, *threads] for one in some if one["meta"].get("model_id") and one["meta"].get("done")]
    return plain(done[0]["content"]) if done else None


async def has_text(page: Page, text: str) -> bool:
    return any(text in words(shown) for shown in await page.locator(".markdown-prose").all_inner_texts())


async def is_without(page: Page, channel_id: str) -> bool:
    return await page.locator(f"a[href='/channels/{channel_id}']").count() == 0


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=GIVEN["chromium"], args=["--no-sandbox"])
        ada, bob = await signed_in(browser, "Ada", DIRECT), await signed_in(browser, "Bob", URL)
        try:
            question = await asked_by_a_function(ada)
            channel = await in_a_channel(ada, bob)
            done = await chores(ada, bob, question["chat_id"])
            own = await by_own_provider(ada)
            left = await signed_out(ada)
        except BaseException:
            for person in (ada, bob):
                await person.page.screenshot(path=str(FOLDER / f"failed-{person.session['name']}.png"))
            raise
        await browser.close()
    finish("playwright", channel=channel, question=question, chores=done, own=own, left=left, errors=unknown_errors())


asyncio.run(main())
