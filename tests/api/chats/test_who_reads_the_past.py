"""Who reads what of a chat's past: each reader by each way, of what was deleted or edited before and after their access began.

The matrix is that of docs/decisions/0034-who-reads-the-past.md.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli.chat.replay import of_file
from tests.api.conftest import Running, User, on_one_and_two
from tests.api.plain_client import PlainClient, plain_client

pytestmark = [pytest.mark.anyio, on_one_and_two]

# What was said, and was gone before Bob was given access …
GONE = ("elderflower", "bramble", "hawthorn", "first-title", "sloe", "rowan-tag", "quince-key", "medlar")
# … what stood then and is gone now, and what stands now.
LOST_SINCE = ("damson", "greengage")
STANDING = ("blackthorn", "mulberry", "second-title")


@dataclass
class Scene:
    admin: User
    owner: User
    friend: User  # was given access at version ``since``
    chat_id: str
    since: int
    head: int
    link: str
    answers: tuple[str, str]  # generated before the access began: one was deleted, the other one edited
    said: tuple[str, str]  # what they said

    @property
    def path(self) -> str:
        return f"/api/v1/chats/{self.chat_id}"

    @property
    def stream(self) -> str:
        return f"/api/v1/streams/chat/{self.chat_id}/events"


async def generated(owner: User, chat_id: str, parent_id: str) -> tuple[str, str]:
    """``(message id, what it says)`` of an answer that has ended."""
    asked = await owner.ask(chat_id, "demo:12", parent_id=parent_id)
    message_id = asked["message_id"]
    cursor = "start"
    while True:
        page = (await owner.get(f"/api/v1/streams/chat/{chat_id}/events", after=cursor, live="long-poll", types="message_end")).json()
        cursor = page["next"]
        for event in page["events"]:
            if event["message_id"] == message_id:
                return message_id, event["data"]["data"]["content"]


async def scene(server: Running) -> Scene:
    admin, owner, friend = await server.sign_up(), await server.sign_up("Olga"), await server.sign_up("Bob")
    chat_id = await owner.new_chat("first-title")
    path = f"/api/v1/chats/{chat_id}"

    async def change(path: str, body: Any) -> dict[str, Any]:
        answer = await owner.post(path, body)
        assert answer.status_code < 300, answer.text
        changed = answer.json()
        return dict(changed) if isinstance(changed, dict) else {}

    async def delete(message_id: str) -> None:
        assert (await owner.http.delete(f"{path}/messages/{message_id}")).status_code == 200

    root = (await owner.add(chat_id, "blackthorn"))["message_id"]
    deleted = (await owner.add(chat_id, "elderflower", root))["message_id"]
    await change(f"{path}/messages/{deleted}/rating", {"rating": 1, "comment": "sloe"})
    await change(f"{path}/messages/{deleted}/event", {"type": "log", "data": {"text": "medlar"}})
    first, first_text = await generated(owner, chat_id, root)
    second, second_text = await generated(owner, chat_id, root)
    edited = (await owner.add(chat_id, "bramble", root))["message_id"]
    await change(f"{path}/messages/{edited}/event", {"type": "replace", "data": {"content": "hawthorn"}})
    await change(f"{path}/messages/{edited}", {"content": "mulberry"})
    await change(path, {"chat": {"title": "second-title", "note": "quince-key"}})
    await change(path, {"chat": {"note": "plain"}})
    await change(f"{path}/tags", {"name": "rowan-tag"})
    assert (await owner.http.request("DELETE", f"{path}/tags", json={"name": "rowan-tag"})).status_code == 200
    await delete(deleted)
    await delete(first)
    await change(f"{path}/messages/{second}", {"content": "mulberry, too"})
    since = (await change(f"{path}/access", {"user_id": friend.id, "permission": "read"}))["version"]
    await change(f"{path}/access", {"user_id": friend.id, "permission": "write"})  # it does not begin anew
    link = (await change(f"{path}/share", None))["share_id"]
    later = (await owner.add(chat_id, "damson", root))["message_id"]
    await delete(later)
    other = (await owner.add(chat_id, "greengage", root))["message_id"]
    head = (await change(f"{path}/messages/{other}", {"content": "mulberry jam"}))["version"]
    return Scene(admin, owner, friend, chat_id, since, head, link, (first, second), (first_text, second_text))


Events = list[dict[str, Any]]


async def by_page(scene: Scene, user: User, server: Running) -> Events:
    return list((await user.get(scene.stream)).json()["events"])


async def by_long_poll(scene: Scene, user: User, server: Running) -> Events:
    return list((await user.get(scene.stream, live="long-poll")).json()["events"])


async def by_changes(scene: Scene, user: User, server: Running) -> Events:
    """Without deltas. What each changed stands beside it: it is looked through, too."""
    return [{**one["event"], "beside": [one["before"], one["after"]]} for one in (await user.get(f"{scene.path}/events")).json()["events"]]


async def by_export(scene: Scene, user: User, server: Running) -> Events:
    lines = (await user.get(f"{scene.path}/export")).text.splitlines()
    return [{**event, "data": {"type": event["type"], "data": event["data"]}} for event in map(json.loads, lines)]


async def by_sse(scene: Scene, user: User, server: Running) -> Events:
    events: Events = []
    async with user.http.stream("GET", scene.stream, headers={"accept": "text/event-stream"}) as answer:
        async for line in answer.aiter_lines():
            if line.startswith('data: {"stream"'):
                events.append(json.loads(line[6:]))
            if line == "event: caught_up":
                return events
    raise AssertionError("the stream ended early")


async def by_socket(scene: Scene, user: User, server: Running) -> Events:
    events: Events = []
    wire = await server.connect(user)
    await wire.say(op="subscribe", stream=f"chat/{scene.chat_id}", after="start")
    while True:
        frame = await wire.frame()
        if frame["op"] == "events" and frame["stream"] == f"chat/{scene.chat_id}":
            events += frame["events"]
        if frame["op"] == "caught_up" and frame["stream"] == f"chat/{scene.chat_id}":
            return events


Way = Callable[[Scene, User, Running], Awaitable[Events]]
WAYS: list[Way] = [by_page, by_long_poll, by_changes, by_export, by_sse, by_socket]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
async def test_events_before_ones_access_tell_only_what_still_stood_then(server: Running, way: Way) -> None:
    there = await scene(server)
    all_there_is = await way(there, there.owner, server)
    assert await way(there, there.admin, server) == all_there_is, "an auditor reads everything"
    whole = json.dumps(all_there_is)
    assert [word for word in (*GONE, *LOST_SINCE, *STANDING) if word not in whole] == []

    shown = await way(there, there.friend, server)
    assert [(one["version"], one["data"]["type"], one["message_id"]) for one in shown] == [
        (one["version"], one["data"]["type"], one["message_id"]) for one in all_there_is
    ], "no cursor has a gap"
    said = json.dumps(shown)
    assert [word for word in GONE if word in said] == []
    assert [word for word in (*LOST_SINCE, *STANDING) if word not in said] == []
    for hidden, known in zip(shown, all_there_is, strict=True):
        assert hidden.get("redacted", False) == (hidden["data"] != known["data"])
        assert not hidden.get("redacted") or hidden["version"] < there.since
    for event in shown:
        if event["message_id"] in there.answers and event["version"] <= there.since:
            data = event["data"]["data"]
            assert not data.get("text") and (event["data"]["type"] == "message_edited" or not data.get("content"))


async def test_a_socket_that_goes_on_after_its_access_began_shares_what_all_get(server: Running) -> None:
    there = await scene(server)
    wire = await server.connect(there.friend)
    await wire.say(op="subscribe", stream=f"chat/{there.chat_id}", after=server.cursor(there.since - 2))
    await wire.op("caught_up", stream=f"chat/{there.chat_id}")
    await there.owner.add(there.chat_id, "live")
    event = await wire.event(f"chat/{there.chat_id}", "message_added")
    assert "redacted" not in event


@pytest.mark.parametrize("form", ["markdown", "html", "open-webui"])
async def test_a_transcript_tells_what_the_chat_says_now(server: Running, form: str) -> None:
    there = await scene(server)
    for user in (there.owner, there.friend, there.admin):
        text = (await user.get(f"{there.path}/export", format=form, branch="all")).text
        assert [word for word in (*GONE, *LOST_SINCE, *there.said) if word in text] == []
        assert "blackthorn" in text


async def test_the_chat_of_now_its_snapshot_its_copies_and_searches_tell_nothing_that_is_gone(server: Running) -> None:
    there = await scene(server)
    wire = await server.connect(there.friend)
    await wire.say(op="subscribe", stream=f"chat/{there.chat_id}", after="start", snapshot=True)
    texts = [
        json.dumps(await wire.op("snapshot")),
        (await there.friend.get(there.path)).text,
        (await there.friend.get(f"{there.path}/messages")).text,
        (await there.friend.get(f"/api/v1/chats/{(await there.friend.post(f'{there.path}/clone', {})).json()['id']}")).text,
    ]
    for text in texts:
        assert [word for word in (*GONE, *LOST_SINCE, *there.said) if word in text] == []
        assert "blackthorn" in text
    for word in (*GONE, *LOST_SINCE):
        for user in (there.owner, there.friend):
            assert (await user.get("/api/v1/chats/search", text=word)).json() == [], word


@pytest.mark.parametrize("way", ["", "/messages", "/export", "/export?format=markdown&branch=all", "/export?format=open-webui"])
async def test_the_chat_as_it_was_tells_only_what_still_stood_when_the_access_began(server: Running, way: str) -> None:
    there = await scene(server)
    known = set[str]()

    async def told(client: PlainClient, at: str) -> str:
        answer = await client.request("GET", f"{there.path}{way}{'&' if '?' in way else '?'}at={at}")
        assert answer.status_code == 200, answer.body
        return answer.body.decode()

    events = (await there.owner.get(there.stream)).json()["events"]
    with (
        plain_client(server, there.friend) as friend,
        plain_client(server, there.owner) as owner,
        plain_client(server, there.admin) as admin,
    ):
        for version in range(2, there.head + 1):
            text, whole = await told(friend, server.cursor(version)), await told(owner, server.cursor(version))
            assert [word for word in (*GONE, *there.said) if word in text] == [], version
            assert [word for word in (*LOST_SINCE, "blackthorn") if (word in text) != (word in whole)] == [], version
            assert await told(admin, server.cursor(version)) == whole
            known |= {word for word in (*GONE, *there.said) if word in whole}
            if version > there.since and way != "/export":  # which holds the events before it, too
                assert text == whole
        assert "elderflower" in known
        assert "elderflower" not in await told(friend, events[3]["at"].replace("+", "%2B")), "by its time, too"


async def test_a_link_shows_its_version_without_what_was_deleted(server: Running) -> None:
    there = await scene(server)
    stranger = await server.sign_up("Eve")
    text = (await stranger.get(f"/api/v1/chats/share/{there.link}")).text
    assert [word for word in (*GONE, *LOST_SINCE, *there.said) if word in text] == []
    assert "mulberry" in text


async def test_access_that_was_given_anew_begins_anew(server: Running) -> None:
    there = await scene(server)
    for permission in (None, "read"):
        await there.owner.post(f"{there.path}/access", {"user_id": there.friend.id, "permission": permission})
    said = json.dumps(await by_page(there, there.friend, server))
    assert [word for word in (*GONE, *LOST_SINCE) if word in said] == []
    assert "mulberry jam" in said


async def test_a_redacted_export_plays_without_a_gap(server: Running, tmp_path: Path) -> None:
    there = await scene(server)
    file = tmp_path / "chat.jsonl"
    file.write_text((await there.friend.get(f"{there.path}/export")).text, encoding="utf-8")
    assert [event.version async for event in of_file(file, None)] == list(range(1, there.head + 1))
