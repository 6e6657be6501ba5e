"""What is said in channels, over HTTP: messages, threads, quotes, reactions, pins, and who may change what."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.api.channels.test_channels import BASE, made, said
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def page(user: User, channel_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = await user.get(f"{BASE}/{channel_id}/messages/", **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [one["content"] for one in messages]


async def test_a_message_has_the_references_form(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    files = {"files": [{"type": "image", "url": "/x.png"}]}
    message = await said(ada, channel_id, "hello", temp_id="t-1", data=files, meta={"a": 1})
    assert message.pop("position") > 0
    [listed] = await page(ada, channel_id)
    assert message["temp_id"] == "t-1"
    assert listed == {**message, "temp_id": None}
    assert {name: listed[name] for name in listed if name not in ("id", "created_at", "updated_at", "version", "created_version")} == {
        "channel_id": channel_id,
        "user_id": ada.id,
        "user": {"id": ada.id, "name": "Ada", "role": "admin"},
        "webhook_id": None,
        "parent_id": None,
        "reply_to_id": None,
        "reply_to_message": None,
        "temp_id": None,
        "content": "hello",
        "data": files,
        "meta": {"a": 1},
        "is_pinned": False,
        "pinned_at": None,
        "pinned_by": None,
        "edited": False,
        "reactions": [],
        "reply_count": 0,
        "latest_reply_at": None,
    }
    assert listed["created_at"] > 10**18
    assert (await ada.get(f"{BASE}/{channel_id}/messages/{listed['id']}")).json() == listed
    assert (await ada.get(f"{BASE}/{channel_id}/messages/{listed['id']}/data")).json() == files


async def test_pages_are_newest_first_and_a_cursor_neither_repeats_nor_hides(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    for number in range(5):
        await said(ada, channel_id, str(number))
    assert contents(await page(ada, channel_id, skip=1, limit=2)) == ["3", "2"]
    first = await page(ada, channel_id, limit=2)
    await said(ada, channel_id, "meanwhile")
    created = [one["version"] for one in first]
    assert contents(await page(ada, channel_id, limit=2, before=created[-1])) == ["2", "1"]
    was = await page(ada, channel_id, at=first[0]["version"])
    assert contents(was) == ["4", "3", "2", "1", "0"]
    for query in ({"limit": 0}, {"limit": 201}, {"skip": -1}):
        assert (await ada.get(f"{BASE}/{channel_id}/messages/", **query)).status_code == 400


async def test_a_retried_post_is_one_message(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    headers = {"Idempotency-Key": "k1"}
    body = {"content": "once"}
    answers = [await ada.post(f"{BASE}/{channel_id}/messages/post", body, **headers) for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert contents(await page(ada, channel_id)) == ["once"]
    other = await ada.post(f"{BASE}/{channel_id}/messages/post", {"content": "other"}, **headers)
    assert other.status_code == 422
    assert (await ada.post(f"{BASE}/{channel_id}/messages/post", {"content": "  "})).status_code == 400


async def test_threads_are_counted_and_read_apart(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    root = await said(ada, channel_id, "root")
    replies = [await said(bob, channel_id, f"reply {number}", parent_id=root["id"]) for number in range(3)]
    [listed] = await page(ada, channel_id)
    assert (listed["reply_count"], listed["latest_reply_at"]) == (3, replies[-1]["created_at"])
    thread = (await ada.get(f"{BASE}/{channel_id}/messages/{root['id']}/thread")).json()
    assert contents(thread) == ["reply 2", "reply 1", "reply 0", "root"]
    assert contents((await ada.get(f"{BASE}/{channel_id}/messages/{root['id']}/thread", limit=2)).json()) == ["reply 2", "reply 1"]
    deep = await ada.post(f"{BASE}/{channel_id}/messages/post", {"content": "x", "parent_id": replies[0]["id"]})
    assert (deep.status_code, deep.json()["code"]) == (400, "not_a_thread")
    await bob.http.delete(f"{BASE}/{channel_id}/messages/{replies[1]['id']}/delete")
    assert (await page(ada, channel_id))[0]["reply_count"] == 2
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{root['id']}/delete")
    assert await page(ada, channel_id) == []
    thread = (await bob.get(f"{BASE}/{channel_id}/messages/{replies[0]['id']}")).json()
    assert thread["content"] == "reply 0"  # other people's words stay


async def test_a_quote_shows_what_it_quotes_until_that_is_deleted(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    quoted = await said(ada, channel_id, "what I said")
    quote = await said(bob, channel_id, "this?", reply_to_id=quoted["id"])
    assert quote["reply_to_message"]["content"] == "what I said"
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{quoted['id']}/delete")
    [listed] = await page(ada, channel_id)
    assert listed["reply_to_message"] == {"id": quoted["id"], "deleted": True}


async def test_reactions_are_grouped_and_ones_own(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    path = f"{BASE}/{channel_id}/messages/{(await said(ada, channel_id, 'hi'))['id']}"
    for user in (ada, bob, bob):
        assert (await user.post(f"{path}/reactions/add", {"name": "👍"})).json() is True
    [listed] = await page(ada, channel_id)
    assert listed["reactions"] == [{"name": "👍", "count": 2, "users": [{"id": ada.id, "name": "Ada"}, {"id": bob.id, "name": "Bob"}]}]
    assert (await bob.post(f"{path}/reactions/remove", {"name": "👍"})).json() is True
    [listed] = await page(ada, channel_id)
    assert [one["count"] for one in listed["reactions"]] == [1]
    assert (await bob.post(f"{path}/reactions/add", {"name": "x" * 10_000})).status_code == 400


async def test_pins_are_listed_last_first(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    ids = [(await said(ada, channel_id, str(number)))["id"] for number in range(3)]
    for message_id in (ids[2], ids[0]):
        pinned = await bob.post(f"{BASE}/{channel_id}/messages/{message_id}/pin", {"is_pinned": True})
        assert (pinned.json()["is_pinned"], pinned.json()["pinned_by"]) == (True, bob.id)
    assert contents((await ada.get(f"{BASE}/{channel_id}/messages/pinned")).json()) == ["0", "2"]
    await ada.post(f"{BASE}/{channel_id}/messages/{ids[0]}/pin", {"is_pinned": False})
    assert contents((await ada.get(f"{BASE}/{channel_id}/messages/pinned", page=1)).json()) == ["2"]


async def test_only_its_author_or_an_admin_changes_a_message(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob, admin)
    path = f"{BASE}/{channel_id}/messages/{(await said(bob, channel_id, 'mine'))['id']}"
    for change in ("update", "delete"):
        answer = await (ada.post(f"{path}/update", {"content": "x"}) if change == "update" else ada.http.delete(f"{path}/delete"))
        assert answer.status_code == 403
    edited = (await bob.post(f"{path}/update", {"content": "mine, edited", "data": {"a": 1}})).json()
    assert (edited["content"], edited["data"], edited["edited"]) == ("mine, edited", {"a": 1}, True)
    assert (await admin.post(f"{path}/update", {"content": "by an admin"})).status_code == 200
    assert (await admin.http.delete(f"{path}/delete")).json() is True
    for missing in (f"{BASE}/{channel_id}/messages/{uuid4()}", path):
        assert (await bob.post(f"{missing}/update", {"content": "x"})).status_code == 404
        assert (await bob.get(missing)).status_code == 404


async def test_a_message_is_only_found_in_its_own_channel(server: Running) -> None:
    ada = await server.sign_up("Ada")
    one, other = await made(ada), await made(ada, name="Other")
    message_id = (await said(ada, one, "here"))["id"]
    for path in ("", "/data", "/thread"):
        assert (await ada.get(f"{BASE}/{other}/messages/{message_id}{path}")).status_code == 404
    assert (await ada.post(f"{BASE}/{other}/messages/post", {"content": "x", "parent_id": message_id})).status_code == 404
    assert (await ada.post(f"{BASE}/{other}/messages/{message_id}/reactions/add", {"name": "x"})).status_code == 404


# ---------------------------------------------------------------------------------------------------------------- searches


async def found(user: User, text: str, **query: Any) -> list[dict[str, Any]]:
    answer = await user.get(f"{BASE}/search", text=text, **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def test_what_is_said_is_found_by_who_may_read_it(server: Running) -> None:
    ada, ben, cat = await server.sign_up("Ada"), await server.sign_up("Ben"), await server.sign_up("Cat")
    plans, games = await made(ada, ben, name="Plans"), await made(ben, cat, name="Games")
    first = await said(ada, plans, "We meet at noon in Zürich")
    last = await said(ben, games, "zurich, at NOON")
    seen = {"at_least": last["position"]}
    [one, two] = await found(ben, "noon zurich ", **seen)
    assert (one["id"], two["id"], two["channel"]) == (last["id"], first["id"], {"id": plans, "name": "Plans"})
    assert two["snippet"] == "We meet at noon in Zürich"
    assert [one["id"] for one in await found(ben, "noon", before=one["position"])] == [first["id"]]
    assert [one["id"] for one in await found(ben, "noon in:plans")] == [one["id"] for one in await found(ben, "from:ada")] == [first["id"]]
    assert [one["id"] for one in await found(cat, "noon")] == [last["id"]]
    assert await found(cat, f"noon in:{plans}") == []
    await ada.post(f"{BASE}/{plans}/update/members/remove", {"user_ids": [ben.id]})
    assert [one["id"] for one in await found(ben, "noon")] == [last["id"]]
    assert (await ben.get(f"{BASE}/search", text="has:x")).json()["code"] == "bad_search"
    assert (await ben.get(f"{BASE}/search", limit=1000)).status_code == 400


# ------------------------------------------------------------------------------------------------------------------ models


async def answered(user: User, channel_id: str, message_id: str) -> dict[str, Any]:
    """The message once its model has ended."""
    async with asyncio.timeout(WAIT_S):
        while True:
            message: dict[str, Any] = (await user.get(f"{BASE}/{channel_id}/messages/{message_id}")).json()
            if message["meta"]["done"]:
                return message


async def test_a_mentioned_model_answers_in_the_thread(server: Running) -> None:
    ada, ben = await server.sign_up("Ada"), await server.sign_up("Ben")
    channel_id = await made(ada, ben)
    asked = await said(ben, channel_id, "<@M:demo:5|Demo> <@M:nothing> hello")
    begun, refused = asked["answers"]
    assert (begun["model"], refused["model"], refused["code"]) == ("demo:5", "nothing", "model_not_found")
    answer = await answered(ada, channel_id, begun["message_id"])
    assert answer["content"]
    assert (answer["parent_id"], answer["user_id"], answer["meta"]["model_id"]) == (asked["id"], ben.id, "demo:5")
    thread = (await ada.get(f"{BASE}/{channel_id}/messages/{asked['id']}/thread")).json()
    assert [one["id"] for one in thread] == [answer["id"], asked["id"]]
    again = await said(ada, channel_id, "really?", reply_to_id=answer["id"], parent_id=asked["id"])
    assert [one["model"] for one in again["answers"]] == ["demo:5"]


async def test_an_answer_is_stopped_by_who_asked_and_who_manages_alone(server: Running) -> None:
    ada, ben, cat = await server.sign_up("Ada"), await server.sign_up("Ben"), await server.sign_up("Cat")
    channel_id = await made(ada, ben, cat)
    for stopping in (ada, ben):
        [begun] = (await said(ben, channel_id, "<@M:demo:100000> count"))["answers"]
        path = f"{BASE}/{channel_id}/messages/{begun['message_id']}/stop"
        assert (await cat.post(path)).status_code == 403
        assert (await cat.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 404
        assert begun["task_id"] in (await cat.get("/api/tasks")).json()["tasks"]
        assert (await stopping.post(path)).json() is True
        assert (await answered(cat, channel_id, begun["message_id"]))["meta"]["state"] == "cancelled"
        assert (await stopping.post(path)).json() is False
    [begun] = (await said(ben, channel_id, "<@M:demo:100000> count"))["answers"]
    assert (await ben.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 200
    assert (await answered(cat, channel_id, begun["message_id"]))["meta"]["state"] == "cancelled"
