"""What is unread, as lists of chats show it: ``last_read_at`` is null, or before ``updated_at``."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from domain.log.stream import chat_stream
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def unread(user: User, path: str = "/", **query: Any) -> list[str]:
    """The titles of the chats of a list that are."""
    answer = await user.get(f"/api/v1/chats{path}", **query)
    assert answer.status_code == 200, answer.text
    return sorted(chat["title"] for chat in answer.json() if chat["last_read_at"] is None or chat["last_read_at"] < chat["updated_at"])


async def mark(user: User, path: str, body: Any = None, **headers: str) -> Any:
    answer = await user.post(f"/api/v1/chats{path}", body, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_chat_is_unread_until_it_is_read_and_when_something_happens_in_it(server: Running) -> None:
    ada = await server.sign_up()
    plans, _ = await ada.new_chat("Plans"), await ada.new_chat("Notes")
    assert await unread(ada) == ["Notes", "Plans"]
    read = await mark(ada, f"/{plans}/read")
    assert (read["id"], read["version"]) == (plans, 1)
    assert await unread(ada, at_least=read["position"]) == ["Notes"]
    await ada.add(plans, "one")
    assert await unread(ada) == ["Notes", "Plans"], "also within the same second"
    await mark(ada, f"/{plans}/read")
    assert await unread(ada) == ["Notes"]


async def test_what_was_read_of_a_chat_is_said_by_when_it_happened(server: Running) -> None:
    ada = await server.sign_up()
    plans = await ada.new_chat("Plans")
    for content in ("one", "two"):
        await ada.add(plans, content)
    await mark(ada, f"/{plans}/read", {"version": 2})
    events = (await ada.get(f"/api/v1/streams/chat/{plans}/events")).json()["events"]
    read_at = int(datetime.fromisoformat(events[1]["at"]).timestamp())
    [listed] = (await ada.get("/api/v1/chats/")).json()
    assert listed["last_read_at"] == min(read_at, listed["updated_at"] - 1)
    await mark(ada, f"/{plans}/read", {"version": 1})
    await mark(ada, f"/{plans}/read", {"version": 10_000})
    assert await marks(ada) == [("last_read_at", 2), ("last_read_at", 3)], "forwards, and no further than the chat goes"
    [listed] = (await ada.get("/api/v1/chats/")).json()
    assert listed["last_read_at"] == listed["updated_at"]


async def marks(user: User) -> list[tuple[str, int | None]]:
    """What their own stream says, so that all of their tabs know: ``(type, version)``."""
    events = (await user.get(f"/api/v1/streams/user/{user.id}/events", types="last_read_at,marked_unread")).json()["events"]
    return [(event["data"]["type"], event["data"]["data"].get("version")) for event in events]


async def test_what_was_read_is_marked_unread_for_oneself_alone(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    plans = await ada.new_chat("Plans")
    await mark(ada, f"/{plans}/access", {"user_id": bob.id, "permission": "read"})
    for user in (ada, bob):
        await mark(user, f"/{plans}/read")
        assert await unread(user) == []
    marked = await mark(bob, f"/{plans}/unread")
    assert (marked["id"], marked["version"]) == (plans, 2)
    assert (await unread(bob), await unread(ada)) == (["Plans"], [])
    await mark(bob, f"/{plans}/unread")
    assert await marks(bob) == [("last_read_at", 2), ("marked_unread", None)], "it is so already"
    await mark(bob, f"/{plans}/read")
    assert await unread(bob) == []


async def test_all_chats_are_read_at_once(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    first, second, archived = [await ada.new_chat(title) for title in ("One", "Two", "Archived")]
    await mark(ada, f"/{archived}/archive")
    await mark(ada, f"/{first}/read")
    theirs = await bob.new_chat("Bob's")
    shared = await mark(bob, f"/{theirs}/access", {"user_id": ada.id, "permission": "read"})
    assert await unread(ada, at_least=shared["position"]) == ["Bob's", "Two"]
    assert await mark(ada, "/read") is True
    assert (await unread(ada), await unread(ada, "/archived"), await unread(bob)) == ([], [], ["Bob's"])
    assert len(await marks(ada)) == 4, "one for each chat, and none for what was read"
    await mark(ada, "/read")
    assert len(await marks(ada)) == 4
    await ada.add(second, "more")
    assert await unread(ada) == ["Two"]


async def test_searches_and_an_admins_look_show_it_too(server: Running) -> None:
    root, ada = await server.sign_up("Root"), await server.sign_up()
    plans = await ada.new_chat("Plans")
    for text in ("", "plans"):
        assert await unread(ada, "/search", text=text) == ["Plans"]
    await mark(ada, f"/{plans}/read")
    for text in ("", "plans"):
        assert await unread(ada, "/search", text=text) == []
    assert await unread(root, f"/list/user/{ada.id}") == [], "how far they have read, not the admin"


async def test_whoever_may_not_read_a_chat_marks_nothing(server: Running) -> None:
    ada, eve = await server.sign_up(), await server.sign_up("Eve")
    plans = await ada.new_chat("Plans")
    for path in (f"/{plans}/read", f"/{plans}/unread", "/nowhere/read", "/nowhere/unread"):
        refused = await eve.post(f"/api/v1/chats{path}")
        assert (refused.status_code, refused.json()["code"]) == (401, "chat_not_found")
    refused = await ada.post(f"/api/v1/chats/{plans}/read", {"version": 0})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert await marks(ada) == await marks(eve) == []


async def test_marked_unread_is_not_read_again_by_what_was_said_just_before(server: Running) -> None:
    ada = await server.sign_up()
    plans = await ada.new_chat("Plans")
    for system in server.systems:  # as it waits there for up to a second
        principal = await system.authentication.authenticate(ada.token)
        system.reads.note(principal, chat_stream(UUID(plans)), 1, 1)
    for _ in server.systems:  # each of them is asked once
        await mark(ada, f"/{plans}/unread")
    for system in server.systems:
        await system.reads._write()
    assert await marks(ada) == []
