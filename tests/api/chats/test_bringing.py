"""A new chat that brings its conversation along, and saves that name only what they change."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


def turn(question: str = "q", answer: str = "a") -> dict[str, Any]:
    """As the API documentation of the reference system shows a conversation."""
    return {
        "messages": {
            question: {
                "id": question,
                "parentId": None,
                "childrenIds": [answer],
                "role": "user",
                "content": "Hello",
                "timestamp": 1700000000,
            },
            answer: {
                "id": answer,
                "parentId": question,
                "childrenIds": [],
                "role": "assistant",
                "content": "Hi!",
                "model": "demo",
                "done": True,
                "annotation": {"rating": 1},
            },
        },
        "currentId": question,
    }


async def messages_of(user: User, chat_id: str) -> list[tuple[str, str, Any]]:
    history = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    order = {one["id"]: number for number, one in enumerate(history.values())}
    return [(one["role"], one["content"], order.get(one["parentId"])) for one in history.values()]


async def test_a_new_chat_keeps_the_messages_and_tags_that_it_comes_with(server: Running) -> None:
    ada = await server.sign_up()
    body = {"chat": {"title": "Plans", "history": turn(), "tags": ["work", {"name": "Home"}, "none"], "models": ["demo"]}}
    made = (await ada.post("/api/v1/chats/new", body, **{"Idempotency-Key": "k"})).json()
    assert await messages_of(ada, made["id"]) == [("user", "Hello", None), ("assistant", "Hi!", 0)]
    read = (await ada.get(f"/api/v1/chats/{made['id']}")).json()
    messages = read["chat"]["history"]["messages"]
    assert read["chat"]["history"]["currentId"] == next(one["id"] for one in messages.values() if one["role"] == "user")
    assert [one.get("annotation") for one in messages.values()] == [None, {"rating": 1, "comment": None}]
    assert sorted(tag["name"] for tag in (await ada.get(f"/api/v1/chats/{made['id']}/tags")).json()) == ["Home", "work"]
    again = (await ada.post("/api/v1/chats/new", body, **{"Idempotency-Key": "k"})).json()
    assert (again["id"], again["version"]) == (made["id"], made["version"])


async def test_one_that_comes_with_a_list_keeps_it_as_one_branch(server: Running) -> None:
    ada = await server.sign_up()
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!", "done": True}, {"role": "user", "content": "Bye"}]
    for history in ({}, {"messages": {}, "currentId": None}):
        made = (await ada.post("/api/v1/chats/new", {"chat": {"messages": said, "history": history}})).json()
        assert await messages_of(ada, made["id"]) == [("user", "Hello", None), ("assistant", "Hi!", 0), ("user", "Bye", 1)]


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ({"history": {"messages": {"a": {"role": "wizard"}}}}, "expected a role"),
        ({"history": {"messages": {"a": {"content": "x"}}}}, "expected its role"),
        ({"history": {"messages": {"a": {"role": "user", "content": "x", "parentId": "b"}}}}, "expected a parent"),
        ({"history": {"messages": {"a": {"role": "user", "content": "x", "timestamp": "soon"}}}}, "expected timestamp"),
        ({"history": [1]}, "chat.history as an object"),
        ({"messages": {"a": 1}}, "chat.messages as a list"),
        ({"messages": ["x"]}, "chat.messages.0"),
        ({"tags": [1]}, "chat.tags"),
    ],
    ids=str,
)
async def test_what_cannot_be_kept_is_refused_and_nothing_is_made(server: Running, chat: dict[str, Any], reason: str) -> None:
    ada = await server.sign_up()
    refused = await ada.post("/api/v1/chats/new", {"chat": chat})
    assert (refused.status_code, reason in refused.json()["detail"]) == (400, True), refused.text
    assert (await ada.get("/api/v1/chats/")).json() == []


async def test_a_save_need_not_repeat_the_role_of_a_message_that_is_there(server: Running) -> None:
    ada = await server.sign_up()
    made = (await ada.post("/api/v1/chats/new", {"chat": {"history": turn()}})).json()
    ids = list((await ada.get(f"/api/v1/chats/{made['id']}")).json()["chat"]["history"]["messages"])
    partial = {"messages": {ids[0]: {"childrenIds": [ids[1]]}, ids[1]: {"content": "Hi there!"}}, "currentId": ids[1]}
    saved = await ada.post(f"/api/v1/chats/{made['id']}", {"chat": {"history": partial}})
    assert saved.status_code == 200, saved.text
    assert await messages_of(ada, made["id"]) == [("user", "Hello", None), ("assistant", "Hi there!", 0)]
    unknown = await ada.post(f"/api/v1/chats/{made['id']}", {"chat": {"history": {"messages": {str(uuid4()): {"content": "x"}}}}})
    assert (unknown.status_code, "not in this chat" in unknown.json()["detail"]) == (400, True)


@pytest.mark.parametrize("timestamp", [1700000000, 1700000000_000, 1700000000_000_000, 1700000000_000_000_000, "2023-11-14T22:13:20Z"])
async def test_a_time_is_kept_in_seconds_whatever_its_unit(server: Running, timestamp: int | str) -> None:
    """Every way in: readers could not hold the others, and every export of such a chat broke off."""
    ada = await server.sign_up()
    history = turn()
    history["messages"]["q"]["timestamp"] = timestamp
    brought = (await ada.post("/api/v1/chats/new", {"chat": {"history": history}})).json()["id"]
    added = await ada.new_chat()
    body = {"role": "user", "content": "Hello", "fields": {"timestamp": timestamp}}
    assert (await ada.post(f"/api/v1/chats/{added}/messages", body)).status_code == 200
    saved = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{saved}", {"chat": {"history": history}})).status_code == 200
    imported = (await ada.post("/api/v1/chats/import", {"chats": [{"id": "x", "chat": {"history": history}}]})).json()[0]["id"]
    for chat_id in (brought, added, saved, imported):
        first = next(iter((await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"].values()))
        assert first["timestamp"] == 1700000000, chat_id
        for format_ in ("markdown", "html"):
            export = await ada.get(f"/api/v1/chats/{chat_id}/export", format=format_)
            assert (export.status_code, "2023-11-14" in export.text) == (200, True)


@pytest.mark.parametrize("links", [{"parentId": None}, {}], ids=["null", "missing"])
async def test_a_message_that_another_names_as_its_child_is_below_it(server: Running, links: dict[str, Any]) -> None:
    ada = await server.sign_up()
    history = turn()
    del history["messages"]["a"]["parentId"]
    history["messages"]["a"] |= links
    made = (await ada.post("/api/v1/chats/new", {"chat": {"title": "Plans", "history": history}})).json()
    assert await messages_of(ada, made["id"]) == [("user", "Hello", None), ("assistant", "Hi!", 0)]
    chat_id = await ada.new_chat()
    saved = await ada.post(f"/api/v1/chats/{chat_id}", {"chat": {"history": history}})
    assert saved.status_code == 200, saved.text
    assert await messages_of(ada, chat_id) == [("user", "Hello", None), ("assistant", "Hi!", 0)]
