"""``GET /api/v1/chats/search`` over HTTP."""

from typing import Any

import pytest

from api.chats.list_items import PAGE_CHATS
from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio


async def search(user: User, text: str | None = None, **query: Any) -> list[dict[str, Any]]:
    answer = await user.get("/api/v1/chats/search", **({} if text is None else {"text": text}), **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def titles(user: User, text: str | None = None, **query: Any) -> list[str]:
    return [chat["title"] for chat in await search(user, text, **query)]


async def test_what_is_found_is_a_row_of_the_list_with_a_snippet_and_its_message(server: Running) -> None:
    ada = await server.sign_up()
    plans = await ada.new_chat("Plans")
    asked = await ada.add(plans, "<b>where</b> is the <i>needle</i>?")
    [found] = await search(ada, "needle", at_least=asked["position"])
    [listed] = (await ada.get("/api/v1/chats/")).json()
    assert found == {**listed, "snippet": "<b>where</b> is the <i>needle</i>?", "message_id": asked["message_id"]}
    [by_title] = await search(ada, "pla")
    assert (by_title["id"], by_title["snippet"], by_title["message_id"]) == (plans, "Plans", None)
    assert await search(ada, "haystack") == []


async def test_an_empty_text_lists_what_is_not_in_the_archive(server: Running) -> None:
    ada = await server.sign_up()
    for title in ("One", "Two", "Three"):
        await ada.new_chat(title)
    chat_id = await ada.new_chat("Four")
    await ada.post(f"/api/v1/chats/{chat_id}/archive")
    for text in (None, "", "  ", "archived:false"):
        assert await titles(ada, text) == ["Three", "Two", "One"]
    assert await titles(ada, "archived:true") == ["Four"]
    assert await titles(ada, "four") == []
    assert await titles(ada, "four archived:true") == ["Four"]
    [first, *_] = await search(ada)
    assert (first["snippet"], first["message_id"]) == (None, None)


async def test_tokens_and_words_go_together(server: Running) -> None:
    ada = await server.sign_up()
    folder = (await ada.post("/api/v1/folders/", {"name": "Of Cats"})).json()["id"]
    both, one, none = [await ada.new_chat(title) for title in ("Cat both", "Cat one", "Cat none")]
    for chat_id, tag in ((both, "To Do"), (both, "work"), (one, "work")):
        await ada.post(f"/api/v1/chats/{chat_id}/tags", {"name": tag})
    await ada.post(f"/api/v1/chats/{both}/folder", {"folder_id": folder})
    await ada.post(f"/api/v1/chats/{one}/pin")
    await ada.add(none, "nothing to see")
    assert await titles(ada, "tag:work cat") == ["Cat one", "Cat both"]
    assert await titles(ada, 'cat tag:work tag:"to do"') == ["Cat both"]
    assert await titles(ada, "tag:to_do") == ["Cat both"]
    assert await titles(ada, "tag:none cat") == ["Cat none"]
    assert await titles(ada, "tag:unknown") == []
    assert await titles(ada, "pinned:true cat") == ["Cat one"]
    assert await titles(ada, "cat pinned:false see") == []
    for named in (folder, "of_cats", '"of cats"'):
        assert await titles(ada, f"folder:{named}") == ["Cat both"], named
    assert await titles(ada, "folder:nowhere cat") == []
    assert await titles(ada, "shared:true") == []


async def test_what_others_said_is_found_only_where_they_share_it(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    secret, shared = await bob.new_chat("needle one"), await bob.new_chat("needle two")
    assert await search(ada, "needle") == []
    await bob.post(f"/api/v1/chats/{shared}/access", {"user_id": ada.id, "permission": "read"})
    assert [chat["id"] for chat in await search(ada, "needle")] == [shared]
    assert [chat["id"] for chat in await search(ada, "needle shared:true")] == [shared]
    assert [chat["id"] for chat in await search(bob, "needle shared:false")] == [secret]
    assert (await ada.get("/api/v1/chats/search", text=f"folder:{secret}")).json() == []


async def test_pages_hold_sixty_and_an_unread_page_is_empty(server: Running) -> None:
    ada = await server.sign_up()
    for number in range(PAGE_CHATS + 3):
        await ada.new_chat(f"Cat {number}")
    pages = [await titles(ada, "cat", page=page) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [PAGE_CHATS, 3, 0]
    assert pages[1] == ["Cat 2", "Cat 1", "Cat 0"]
    assert await titles(ada, "", page=2) == pages[1]
    assert await titles(ada, "cat") == pages[0]


@pytest.mark.parametrize(
    ("query", "code", "detail"),
    [
        ({"text": "pinned:maybe"}, "bad_search", "expected pinned:true or pinned:false, received pinned:maybe"),
        ({"text": "tag: cat"}, "bad_search", "expected tag:NAME, received tag: without a name"),
        ({"text": "x" * 501}, "bad_search", "expected a text of at most 500 characters, received 501"),
        ({"text": "cat", "page": 0}, "bad_request", "page: Expected `int` >= 1"),
        ({"text": "cat", "page": 10**12}, "bad_request", "page: Expected `int` <= 1000000"),
        ({"text": "cat", "at_least": "soon"}, "bad_request", "at_least: Expected `int | null`"),
    ],
)
async def test_what_cannot_be_searched_for_is_refused_in_words(server: Running, query: dict[str, Any], code: str, detail: str) -> None:
    ada = await server.sign_up()
    refused = await ada.get("/api/v1/chats/search", **query)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert detail in refused.json()["detail"]


async def test_whoever_is_not_signed_in_finds_nothing(server: Running) -> None:
    ada = await server.sign_up()
    ada.http.headers.pop("authorization", None)
    ada.http.cookies.clear()
    assert (await ada.get("/api/v1/chats/search", text="x")).status_code == 401
