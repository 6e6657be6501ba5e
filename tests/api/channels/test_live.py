"""Channels as they happen: who follows a channel's stream, by which way, and that it ends at once on every server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx_sse
import pytest

from api.settings import Settings
from domain.log.stream import Stream
from tests.api.channels.test_channels import BASE, made, said
from tests.api.conftest import WAIT_S, Running, Serving, User, Wire, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]
EVERYBODY = {"principal_type": "user", "principal_id": "*"}
REPLAYED = 220  # messages of 60 kB: more than the buffers of both ends hold, so a replay that nobody reads stands still


async def followed(server: Running, user: User, channel_id: str, after: str = "start") -> Wire:
    """A socket that has caught up with the channel."""
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=f"channel/{channel_id}", after=after)
    await wire.op("caught_up", stream=f"channel/{channel_id}")
    return wire


async def refused(server: Running, user: User, channel_id: str) -> dict[str, Any]:
    """The error frame of a socket that asks for the channel."""
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=f"channel/{channel_id}", after="start")
    return await wire.op("error", id=1)


async def granted(admin: User, channel_id: str, *grants: dict[str, str]) -> None:
    answer = await admin.post(f"{BASE}/{channel_id}/access/update", {"access_grants": list(grants)})
    assert answer.status_code == 200, answer.text


async def standard(admin: User, *grants: dict[str, str]) -> str:
    return await made(admin, type="", name="general", user_ids=None, access_grants=list(grants))


async def group_of(admin: User, *members: User) -> str:
    group_id = (await admin.post("/api/v1/groups/create", {"name": "Writers", "description": ""})).json()["id"]
    await admin.post(f"/api/v1/groups/id/{group_id}/users/add", {"user_ids": [one.id for one in members]})
    return str(group_id)


def to_group(group_id: str, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "group", "principal_id": group_id, "permission": permission}


def contents(wire: Wire, channel_id: str) -> list[Any]:
    return [event["data"]["data"]["content"] for event in wire.events(f"channel/{channel_id}") if event["data"]["type"] == "message"]


async def until_said(wire: Wire, channel_id: str, content: str) -> None:
    while content not in contents(wire, channel_id):
        await wire.frame()


# ------------------------------------------------------------------------------------------------------------- following


async def test_a_member_sees_every_change_live_and_others_see_nothing(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada)
    assert (await refused(server, bob, channel_id))["code"] == "stream_not_found"
    await ada.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [bob.id]})
    wire = await followed(server, bob, channel_id)
    message = await said(ada, channel_id, "hello")
    await ada.post(f"{BASE}/{channel_id}/messages/{message['id']}/update", {"content": "hello!"})
    await bob.post(f"{BASE}/{channel_id}/messages/{message['id']}/reactions/add", {"name": "wave"})
    await bob.post(f"{BASE}/{channel_id}/messages/{message['id']}/pin", {"is_pinned": True})
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{message['id']}/delete")
    await ada.post(f"{BASE}/{channel_id}/update", {"name": "Pals"})
    await ada.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [admin.id]})
    while len(wire.versions(f"channel/{channel_id}")) < 10:
        await wire.frame()
    assert [event["data"]["type"] for event in wire.events(f"channel/{channel_id}")] == [
        *("channel:created", "member:joined", "member:joined", "message", "message:update", "message:reaction:add", "message:pin"),
        *("message:delete", "channel:update", "member:joined"),
    ]
    assert {event["channel_id"] for event in wire.events(f"channel/{channel_id}")} == {channel_id}
    assert wire.versions(f"channel/{channel_id}") == list(range(1, 11))


async def test_pages_event_streams_and_long_polls_are_for_members_too(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    channel_id = await made(ada, bob)
    path = f"/api/v1/streams/channel/{channel_id}/events"
    await said(ada, channel_id, "hello")
    assert (await cat.get(path)).status_code == 404
    page = (await bob.get(path)).json()
    assert [event["data"]["type"] for event in page["events"]] == ["channel:created", "member:joined", "member:joined", "message"]
    poll = asyncio.create_task(bob.get(path, after=page["next"], live="long-poll"))
    await said(ada, channel_id, "again")
    assert [event["data"]["data"]["content"] for event in (await poll).json()["events"]] == ["again"]
    async with asyncio.timeout(WAIT_S), httpx_sse.aconnect_sse(bob.http, "GET", path, params={"after": page["next"]}) as source:
        frames = source.aiter_sse()
        assert json.loads((await anext(frames)).data)["data"]["data"]["content"] == "again"
        while (await anext(frames)).event != "caught_up":
            pass
        await said(ada, channel_id, "live")
        assert json.loads((await anext(frames)).data)["data"]["data"]["content"] == "live"
        await ada.post(f"{BASE}/{channel_id}/update/members/remove", {"user_ids": [bob.id]})
        left = [json.loads(frame.data)["data"]["type"] async for frame in frames]
        assert left == ["member:left"]


async def test_a_standard_channel_is_followed_by_everybody_or_by_a_group(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    group_id = await group_of(admin, ada)
    of_group, of_all = await standard(admin, to_group(group_id)), await standard(admin, {**EVERYBODY, "permission": "read"})
    await server.settled()
    for user, channel_id in ((ada, of_group), (ada, of_all), (bob, of_all)):
        await followed(server, user, channel_id)
    assert (await refused(server, bob, of_group))["code"] == "stream_not_found"


async def test_who_may_write_is_said_at_first_and_when_it_changes(server: Running) -> None:
    admin, ada = [await server.sign_up(name) for name in ("Admin", "Ada")]
    channel_id = await standard(admin, {**EVERYBODY, "permission": "read"})
    wire = await server.connect(ada)
    await wire.say(op="subscribe", id=1, stream=f"channel/{channel_id}", after="now")
    assert (await wire.op("subscribed", id=1))["write_access"] is False
    await granted(admin, channel_id, {**EVERYBODY, "permission": "write"})
    assert await wire.op("access") == {"op": "access", "stream": f"channel/{channel_id}", "write_access": True}
    await admin.post(f"{BASE}/{channel_id}/archive", {"archived": True})
    assert (await wire.op("access"))["write_access"] is False
    await admin.post(f"{BASE}/{channel_id}/archive", {"archived": False})
    assert (await wire.op("access"))["write_access"] is True


async def test_a_snapshot_is_the_channel_and_its_suffix_goes_on(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    first = await said(ada, channel_id, "one")
    await said(bob, channel_id, "a reply", parent_id=first["id"])
    await ada.post(f"{BASE}/{channel_id}/messages/{first['id']}/pin", {"is_pinned": True})
    wire = await server.connect(bob)
    await wire.say(op="subscribe", id=1, stream=f"channel/{channel_id}", after="start", snapshot=True)
    snapshot = await wire.op("snapshot")
    state = snapshot["state"]
    assert (state["version"], state["name"], state["deleted"]) == (snapshot["version"], "Friends", False)
    assert {one["user_id"]: one["role"] for one in state["members"]} == {ada.id: "manager", bob.id: "member"}
    assert state["messages"] == (await bob.get(f"{BASE}/{channel_id}/messages/")).json()
    assert state["messages"][0]["reply_count"] == 1
    assert state["pinned"] == (await bob.get(f"{BASE}/{channel_id}/messages/pinned")).json()
    await said(ada, channel_id, "two")
    await until_said(wire, channel_id, "two")
    assert wire.versions(f"channel/{channel_id}") == [snapshot["version"] + 1]


async def test_who_joins_later_does_not_read_what_was_gone_by_then(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada)
    kept, edited, deleted = [await said(ada, channel_id, text) for text in ("kept", "secret words", "another secret")]
    await ada.post(f"{BASE}/{channel_id}/messages/{edited['id']}/update", {"content": "plain words"})
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{deleted['id']}/delete")
    await ada.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [bob.id]})
    later = await said(ada, channel_id, "gone later")
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{later['id']}/delete")
    wire = await followed(server, bob, channel_id)
    events = wire.events(f"channel/{channel_id}")
    assert contents(wire, channel_id) == ["kept", "", "", "gone later"]
    assert [event["version"] for event in events if event.get("redacted")] == [edited["version"], deleted["version"]]
    assert "secret" not in json.dumps(events)
    page = (await bob.get(f"/api/v1/streams/channel/{channel_id}/events")).json()
    assert page["events"] == events
    assert contents(await followed(server, ada, channel_id), channel_id) == ["kept", "secret words", "another secret", "gone later"]
    assert kept["id"] in {event["message_id"] for event in events}


# --------------------------------------------------------------------------------------------------------------- the end


async def removed(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    channel_id = await made(ada, bob)
    return channel_id, lambda: ada.post(f"{BASE}/{channel_id}/update/members/remove", {"user_ids": [bob.id]})


async def left(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    channel_id = await made(ada, bob)
    return channel_id, lambda: bob.post(f"{BASE}/{channel_id}/leave")


async def deleted(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    channel_id = await made(ada, bob)
    return channel_id, lambda: ada.http.delete(f"{BASE}/{channel_id}/delete")


async def grant_changed(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    to = [{"principal_type": "user", "principal_id": one.id, "permission": "write"} for one in (ada, bob)]
    channel_id = await standard(admin, *to)
    return channel_id, lambda: granted(admin, channel_id, to[0])


async def group_lost_a_member(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    group_id = await group_of(admin, ada, bob)
    channel_id = await standard(admin, to_group(group_id, "write"))
    return channel_id, lambda: admin.post(f"/api/v1/groups/id/{group_id}/users/remove", {"user_ids": [bob.id]})


async def group_deleted(server: Running, admin: User, ada: User, bob: User) -> tuple[str, Callable[[], Awaitable[Any]]]:
    group_id = await group_of(admin, bob)
    to_ada = {"principal_type": "user", "principal_id": ada.id, "permission": "write"}
    channel_id = await standard(admin, to_group(group_id, "write"), to_ada)
    return channel_id, lambda: admin.http.delete(f"/api/v1/groups/id/{group_id}/delete")


WAYS = [removed, left, deleted, grant_changed, group_lost_a_member, group_deleted]


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_of_access_is_at_once_for_every_tab_on_every_server(server: Running, way: Any) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id, end = await way(server, admin, ada, bob)
    await server.settled()
    tabs = [await followed(server, bob, channel_id) for _ in range(2)]
    answer = await end()
    assert answer is None or answer.status_code == 200, answer.text
    if way is not deleted:
        await said(ada, channel_id, "not for Bob")
    for tab in tabs:
        ended = await tab.op("unsubscribed", stream=f"channel/{channel_id}")
        assert ended["code"] == ("channel_deleted" if way is deleted else "access_ended")
        await tab.say(op="subscribe", id=2, stream=f"channel/{channel_id}", after="start")
        assert (await tab.op("error", id=2))["code"] == "stream_not_found"
        assert "not for Bob" not in contents(tab, channel_id)
        assert tab.events(f"channel/{channel_id}")[-1]["data"]["type"] != "message"
    assert (await bob.get(f"/api/v1/streams/channel/{channel_id}/events")).status_code == 404


async def test_a_deactivated_account_gets_nothing_more(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    tab = await followed(server, bob, channel_id)
    answer = await admin.http.delete(f"/api/v1/users/{bob.id}")
    assert answer.status_code == 200, answer.text
    await said(ada, channel_id, "not for Bob")
    assert await tab.closed() == 4401
    assert "not for Bob" not in contents(tab, channel_id)


async def test_a_removal_ends_a_replay_in_its_middle(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    text = "x" * 60_000
    for number in range(REPLAYED):
        await said(ada, channel_id, f"{number} {text}")
    await server.settled()
    slow = await server.connect(bob)
    await slow.say(op="subscribe", id=1, stream=f"channel/{channel_id}", after="start")
    await slow.op("subscribed", id=1)
    await ada.post(f"{BASE}/{channel_id}/update/members/remove", {"user_ids": [bob.id]})
    await server.settled()
    await slow.op("unsubscribed", stream=f"channel/{channel_id}")
    types = [event["data"]["type"] for event in slow.events(f"channel/{channel_id}")]
    assert types.count("message") < REPLAYED
    assert "member:left" not in types


async def test_a_new_permission_does_not_interrupt_who_follows(server: Running) -> None:
    admin, ada = [await server.sign_up(name) for name in ("Admin", "Ada")]
    channel_id = await standard(admin, {**EVERYBODY, "permission": "read"})
    wire = await followed(server, ada, channel_id)
    await granted(admin, channel_id, {**EVERYBODY, "permission": "write"})
    await said(ada, channel_id, "now I may")
    await until_said(wire, channel_id, "now I may")
    assert not any(frame["op"] == "unsubscribed" for frame in wire.frames)


# -------------------------------------------------------------------------------------------------------------- ``follow``


async def test_one_follow_is_all_channels_now_and_later(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    group_id = await group_of(admin)
    first = await made(ada, bob)
    await server.settled()
    wire = await server.connect(bob)
    await wire.say(op="follow", id="all", kind="channel", cursors={f"channel/{first}": "start"})
    assert (await wire.op("subscribed", id="all"))["stream"] == f"channel/{first}"
    await wire.op("caught_up", stream=f"channel/{first}")
    assert wire.versions(f"channel/{first}") == [1, 2, 3]
    second = await made(ada, bob)
    assert (await wire.op("subscribed", stream=f"channel/{second}"))["id"] == "all"
    third = await standard(admin, to_group(group_id))
    await admin.post(f"/api/v1/groups/id/{group_id}/users/add", {"user_ids": [bob.id]})
    await wire.op("subscribed", stream=f"channel/{third}")
    fourth = await standard(admin)
    await granted(admin, fourth, {**EVERYBODY, "permission": "read"})
    await wire.op("subscribed", stream=f"channel/{fourth}")
    fifth = await standard(admin, {**EVERYBODY, "permission": "read"})
    await wire.op("subscribed", stream=f"channel/{fifth}")
    for channel_id, by in ((first, ada), (second, ada), (third, admin), (fourth, admin), (fifth, admin)):
        await said(by, channel_id, f"in {channel_id}")
        await until_said(wire, channel_id, f"in {channel_id}")
    await ada.post(f"{BASE}/{first}/update/members/remove", {"user_ids": [bob.id]})
    await wire.op("unsubscribed", stream=f"channel/{first}")
    await ada.post(f"{BASE}/{first}/update/members/add", {"user_ids": [bob.id]})
    await wire.op("subscribed", stream=f"channel/{first}")
    await wire.say(op="unsubscribe", id=9, stream=f"channel/{first}")
    await wire.op("unsubscribed", id=9)
    await said(ada, first, "unheard")
    await said(ada, second, "heard")
    await until_said(wire, second, "heard")
    assert "unheard" not in contents(wire, first)


async def test_a_follow_can_begin_with_snapshots_and_knows_no_channels_of_others(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    ours, theirs = await made(ada, bob), await made(ada, cat)
    await said(ada, ours, "before")
    await said(ada, theirs, "not for Bob")
    await server.settled()
    wire = await server.connect(bob)
    cursors = {f"channel/{theirs}": "start"}
    await wire.say(op="follow", id="all", kind="channel", cursors=cursors, snapshot=True)
    snapshot = await wire.op("snapshot")
    assert [one["content"] for one in snapshot["state"]["messages"]] == ["before"]
    await said(ada, ours, "after")
    await until_said(wire, ours, "after")
    assert {frame["stream"] for frame in wire.frames if frame["op"] in ("subscribed", "events", "snapshot")} <= {
        f"channel/{ours}",
        f"user/{bob.id}",
    }


async def test_a_follow_asks_for_no_head_of_a_channel_that_it_does_not_join(tmp_path: Path, serving: Serving, monkeypatch: Any) -> None:
    heads: list[Stream] = []

    async def asks(log: Any, stream: Stream) -> int:
        heads.append(stream)
        return int(await type(log).version(log, stream))

    async with serving(Settings(data=tmp_path, drain_s=0.2, subscriptions_max=3)) as server:
        _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
        channel_ids = [await made(ada, bob, name=f"channel {number}") for number in range(6)]
        await server.settled()
        wire = await server.connect(bob)
        for system in server.systems:
            monkeypatch.setattr(system.log, "version", partial(asks, system.log))
        for follow in ("first", "second"):
            await wire.say(op="follow", id=follow, kind="channel", cursors={})
            assert (await wire.op("error", id=follow))["code"] == "too_many_subscriptions"
            assert len([one for one in heads if str(one.id) in channel_ids]) == 3


async def test_membership_stands_in_ones_own_stream(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    wire = await server.connect(bob)
    await wire.op("caught_up", stream=f"user/{bob.id}")
    channel_id = await made(ada, bob)
    assert (await wire.event(f"user/{bob.id}", "channel_joined"))["data"]["data"] == {"channel_id": channel_id}
    await ada.post(f"{BASE}/{channel_id}/update/members/remove", {"user_ids": [bob.id]})
    assert (await wire.event(f"user/{bob.id}", "channel_left"))["data"]["data"] == {"channel_id": channel_id}


# ---------------------------------------------------------------------------------------------------------------- typing


async def test_who_may_write_is_seen_typing_and_who_may_not_is_refused(server: Running) -> None:
    admin, ada = [await server.sign_up(name) for name in ("Admin", "Ada")]
    channel_id = await standard(admin, {**EVERYBODY, "permission": "read"})
    theirs, ours = await followed(server, admin, channel_id), await followed(server, ada, channel_id)
    await ours.say(op="typing", stream=f"channel/{channel_id}", typing=True)
    assert (await ours.op("error"))["code"] == "forbidden"
    await theirs.say(op="typing", stream=f"channel/{channel_id}", message_id="a thread", typing=True)
    heard = await ours.op("ephemeral", stream=f"channel/{channel_id}")
    assert (heard["user"]["id"], heard["data"]["message_id"], heard["data"]["data"]) == (admin.id, "a thread", {"typing": True})
    await theirs.socket.close()
    assert (await ours.op("ephemeral", stream=f"channel/{channel_id}"))["data"]["data"] == {"typing": False}
