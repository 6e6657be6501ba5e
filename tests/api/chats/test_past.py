"""A chat's past over HTTP: as it was at a version or a time, page by page, with what each change changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.content.references import THREAD_MESSAGES
from commands.generation.run import CONTENT_BYTES_MAX
from commands.ports import AppendRequest, Origin, StreamAppend
from domain.chat.facts import ChatCreated, MessageAdded, MessageEdited
from domain.log.event import Event
from domain.log.stream import chat_stream
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def talk(user: User, length: int) -> tuple[str, list[str]]:
    """A chat of so many messages in one line, and their ids."""
    chat_id, ids = await user.new_chat(), list[str]()
    for number in range(length):
        ids.append((await user.add(chat_id, f"message {number}", ids[-1] if ids else None))["message_id"])
    return chat_id, ids


async def contents(user: User, chat_id: str, **query: Any) -> list[str]:
    answer = await user.get(f"/api/v1/chats/{chat_id}/messages", **query)
    assert answer.status_code == 200, answer.text
    return [message["content"] for message in answer.json()["messages"]]


async def events(user: User, chat_id: str) -> list[dict[str, Any]]:
    return list((await user.get(f"/api/v1/streams/chat/{chat_id}/events")).json()["events"])


async def test_a_chat_opens_at_its_newest_page_and_goes_up_page_by_page(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 7)
    first = (await ada.get(f"/api/v1/chats/{chat_id}/messages", limit=3)).json()
    assert [message["content"] for message in first["messages"]] == ["message 4", "message 5", "message 6"]
    assert (first["version"], first["current_id"], first["before"]) == (8, ids[6], ids[4])
    second = (await ada.get(f"/api/v1/chats/{chat_id}/messages", limit=3, before=first["before"])).json()
    assert [message["id"] for message in second["messages"]] == ids[1:4]
    last = (await ada.get(f"/api/v1/chats/{chat_id}/messages", limit=3, before=second["before"])).json()
    assert ([message["id"] for message in last["messages"]], last["before"]) == (ids[:1], None)
    beginning = (await ada.get(f"/api/v1/chats/{chat_id}/messages", before=ids[0])).json()
    assert (beginning["messages"], beginning["before"]) == ([], None)


async def test_a_page_says_which_other_branches_there_are(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 2)
    other = (await ada.add(chat_id, "another", ids[0]))["message_id"]
    assert await contents(ada, chat_id) == ["message 0", "another"]
    assert await contents(ada, chat_id, leaf=ids[1]) == ["message 0", "message 1"]
    page = (await ada.get(f"/api/v1/chats/{chat_id}/messages", leaf=ids[1])).json()
    assert page["messages"][0]["childrenIds"] == [ids[1], other]


async def test_a_chat_is_read_as_it_was_at_any_version(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 2)
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{ids[0]}", {"content": "edited"})
    await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "renamed"}})
    for version, expected in ((1, []), (2, ["message 0"]), (3, ["message 0", "message 1"]), (4, ["edited", "message 1"])):
        at = server.cursor(version)
        assert await contents(ada, chat_id, at=at) == expected
        then = (await ada.get(f"/api/v1/chats/{chat_id}", at=at)).json()
        assert [message["content"] for message in then["chat"]["messages"]] == expected
        assert (then["title"], then["version"]) == ("A chat", version)
    assert (await ada.get(f"/api/v1/chats/{chat_id}", at="now")).json()["title"] == "renamed"


async def test_a_long_chat_is_sent_as_a_short_one(server: Running) -> None:
    """Also where its messages are sent as they are stored, and one of them is kept beside the log."""
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    texts = [f'line {number} says "blob"' for number in range(THREAD_MESSAGES)] + ["long " * CONTENT_BYTES_MAX]
    history = {
        "messages": {
            f"m{number}": {"role": "user", "content": text, "parentId": f"m{number - 1}" if number else None, "childrenIds": []}
            for number, text in enumerate(texts)
        },
        "currentId": f"m{len(texts) - 1}",
    }
    saved = (await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"history": history}})).json()
    await server.settled()
    await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "renamed"}})
    then = (await ada.get(f"/api/v1/chats/{chat_id}", at=server.cursor(saved["version"]))).json()
    for one in (saved, then, (await ada.get(f"/api/v1/chats/{chat_id}")).json()):
        assert [message["content"] for message in one["chat"]["messages"]] == texts
        tree = one["chat"]["history"]["messages"]
        assert [tree[message["id"]] for message in one["chat"]["messages"]] == one["chat"]["messages"]
        assert [message["parentId"] for message in tree.values()] == [None, *list(tree)[:-1]]
        assert [message["childrenIds"] for message in tree.values()] == [*([one] for one in list(tree)[1:]), []]
    assert (await contents(ada, chat_id, limit=2)) == texts[-2:]


async def test_a_chat_is_read_as_it_was_at_any_time(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 1)
    await asyncio.sleep(0.01)
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{ids[0]}", {"content": "edited"})
    times = [datetime.fromisoformat(event["at"]) for event in await events(ada, chat_id)]
    assert await contents(ada, chat_id, at=(times[-1] - timedelta(microseconds=1)).isoformat()) == ["message 0"]
    assert await contents(ada, chat_id, at=times[-1].isoformat()) == ["edited"]
    assert await contents(ada, chat_id, at=times[-1].isoformat().replace("+", " ")) == ["edited"], "a + that nobody escaped"
    assert await contents(ada, chat_id, at=times[-1].replace(tzinfo=None).isoformat()) == ["edited"], "UTC where none is named"
    assert await contents(ada, chat_id, at="2100-01-01") == ["edited"]
    before = await ada.get(f"/api/v1/chats/{chat_id}", at=(times[0] - timedelta(seconds=1)).isoformat())
    assert (before.status_code, before.json()["code"]) == (404, "before_first_event")


async def test_a_past_that_cannot_be_meant_is_refused_with_its_reason(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 1)
    other_epoch = "0190a000-0000-7000-8000-000000000000:1"
    for at, status, code in (
        ("yesterday", 400, "bad_cursor"),
        ("5", 400, "bad_cursor"),
        ("2026-13-01", 400, "bad_cursor"),
        (server.cursor(3), 410, "cursor_gone"),
        (other_epoch, 410, "cursor_gone"),
    ):
        for path in (f"/api/v1/chats/{chat_id}", f"/api/v1/chats/{chat_id}/messages"):
            answer = await ada.get(path, at=at)
            assert (answer.status_code, answer.json()["code"]) == (status, code), (path, at)
    for query in ({"leaf": "nobody"}, {"before": "nobody"}, {"leaf": ids[0], "at": server.cursor(1)}):
        answer = await ada.get(f"/api/v1/chats/{chat_id}/messages", **query)
        assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found"), query
    for query in ({"limit": 0}, {"limit": 100_000}, {"limit": "x"}):
        assert (await ada.get(f"/api/v1/chats/{chat_id}/messages", **query)).status_code == 400, query


async def test_the_past_is_for_those_who_may_read_the_chat_now(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id, _ = await talk(ada, 2)
    paths = [f"/api/v1/chats/{chat_id}{rest}" for rest in ("", "/messages", "/events")]

    async def answers(user: User) -> set[int]:
        now = [(await user.get(path)).status_code for path in paths]
        then = [(await user.get(path, at=server.cursor(2))).status_code for path in paths[:2]]
        return {*now, *then}

    assert await answers(bob) == {401}
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    assert await answers(bob) == {200}, "also what was there before it was shared"
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": None})
    assert await answers(bob) == {401}, "also what was there while it was shared"


async def test_each_change_shows_what_was_there_before_and_after(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, ids = await talk(ada, 2)
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{ids[0]}", {"content": "edited"})
    await ada.http.delete(f"/api/v1/chats/{chat_id}/messages/{ids[1]}")
    page = (await ada.get(f"/api/v1/chats/{chat_id}/events")).json()
    assert [one["event"]["data"]["type"] for one in page["events"]] == [
        "chat_created",
        "message_added",
        "message_added",
        "message_edited",
        "message_deleted",
    ]
    assert [(one["before"], one["after"]) for one in page["events"][:3]] == [(None, None)] * 3
    edited, deleted = page["events"][3:]
    assert (edited["before"]["content"], edited["after"]["content"]) == ("message 0", "edited")
    assert (deleted["before"]["content"], deleted["after"]) == ("message 1", None)
    pages, cursor = list[Any](), "start"
    for _ in range(3):
        part = (await ada.get(f"/api/v1/chats/{chat_id}/events", after=cursor, limit=2)).json()
        pages += part["events"]
        cursor = part["next"]
    assert pages == page["events"]
    assert cursor == page["next"] == server.cursor(5)


async def test_a_list_waits_for_what_the_caller_has_just_done(server: Running) -> None:
    ada = await server.sign_up()
    made = (await ada.post("/api/v1/chats/new", {"chat": {"title": "Plans"}})).json()
    listed = await ada.get("/api/v1/chats/", at_least=made["position"])
    assert [chat["id"] for chat in listed.json()] == [made["id"]]
    never = await ada.get("/api/v1/chats/", at_least=made["position"] + 1000)
    assert (never.status_code, never.json()["param"]) == (400, "at_least"), "no such position: to wait would not help"


async def test_the_changes_of_a_restored_chat_are_told_with_their_first_times(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, message_id = uuid4(), uuid4()
    facts: list[Event[Any]] = [
        Event(None, ChatCreated(UUID(ada.id), "a chat")),
        Event(message_id, MessageAdded(None, "user", "one")),
        Event(message_id, MessageEdited({"content": "two"})),
        Event(message_id, MessageEdited({"content": "three"})),
    ]
    times = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    origins = [Origin(None, at) for at in times]
    await server.systems[0].log.append(AppendRequest([StreamAppend(chat_stream(chat_id), facts, 0, origins)]))
    first = (await ada.get(f"/api/v1/chats/{chat_id}/events", limit=2)).json()
    rest = (await ada.get(f"/api/v1/chats/{chat_id}/events", after=first["next"])).json()
    changes = first["events"] + rest["events"]
    assert [datetime.fromisoformat(one["event"]["at"]) for one in changes] == times
    edited_at = [int(at.timestamp()) for at in times[2:]]
    assert [one["after"]["edited_at"] for one in rest["events"]] == edited_at
    assert [one["before"].get("edited_at") for one in rest["events"]] == [None, edited_at[0]]
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{message_id}", {"content": "four"})
    [newest] = (await ada.get(f"/api/v1/chats/{chat_id}/events", after=rest["next"])).json()["events"]
    assert datetime.fromisoformat(newest["event"]["at"]) > times[-1], "what happened here has the time that it has"
