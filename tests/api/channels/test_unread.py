"""What a person has not read: of a channel, its threads, and what mentions them; the same on every server and in every tab."""

from typing import Any

import pytest

from tests.api.channels.test_channels import BASE, made, said
from tests.api.channels.test_live import followed, group_of, standard, to_group
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def unread(user: User, channel_id: str) -> tuple[int, int, int]:
    """Messages, replies, mentions: as the channel and as the list say."""
    channel = (await user.get(f"{BASE}/{channel_id}")).json()
    listed = {one["id"]: one for one in (await user.get(f"{BASE}/")).json()}
    names = ("unread_count", "unread_replies", "unread_mentions")
    assert [listed[channel_id][name] for name in names] == [channel[name] for name in names]
    return channel["unread_count"], channel["unread_replies"], channel["unread_mentions"]


async def test_replies_and_mentions_are_counted_until_they_are_read(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    root, other = await said(ada, channel_id, "one"), await said(ada, channel_id, "two")
    reply = await said(ada, channel_id, f"<@U:{bob.id}|Bob> look", parent_id=root["id"])
    await said(ada, channel_id, "another reply", parent_id=root["id"])
    await said(ada, channel_id, f"<@U:{bob.id}|Bob> and here", parent_id=other["id"])
    assert await unread(bob, channel_id) == (2, 3, 2)
    assert await unread(ada, channel_id) == (0, 0, 0)
    path = f"{BASE}/{channel_id}/messages/{root['id']}/read"
    read = (await bob.post(path, {"version": reply["version"]})).json()
    assert (read["id"], read["version"]) == (root["id"], reply["version"])
    assert await unread(bob, channel_id) == (2, 2, 1)
    await bob.post(path, {"version": 1})
    assert await unread(bob, channel_id) == (2, 2, 1)
    await bob.post(path)
    assert await unread(bob, channel_id) == (2, 1, 1)
    await bob.post(f"{BASE}/{channel_id}/read", {"version": other["version"]})
    assert await unread(bob, channel_id) == (0, 1, 1)
    await bob.post(f"{BASE}/{channel_id}/read")
    assert await unread(bob, channel_id) == (0, 0, 0)
    assert (await bob.post(f"{BASE}/{channel_id}/messages/{reply['id']}/read")).json()["code"] == "not_a_thread"


async def test_a_deleted_message_mentions_nobody(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    message = await said(ada, channel_id, f"<@U:{bob.id}>")
    assert await unread(bob, channel_id) == (1, 0, 1)
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{message['id']}/delete")
    assert await unread(bob, channel_id) == (0, 0, 0)


async def test_a_mention_stands_in_ones_own_stream_and_in_nobodys_who_may_not_read(server: Running) -> None:
    admin, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    group_id = await group_of(admin, ada, bob)
    channel_id = await standard(admin, to_group(group_id, "write"))
    await server.settled()
    ours, theirs = await server.connect(bob), await server.connect(cat)
    for wire, user in ((ours, bob), (theirs, cat)):
        await wire.op("caught_up", stream=f"user/{user.id}")
    message = await said(ada, channel_id, f"<@G:{group_id}|Writers> and <@U:{cat.id}|Cat>, see <@U:{ada.id}>")
    told = await ours.event(f"user/{bob.id}", "mentioned")
    expected: dict[str, Any] = {"channel_id": channel_id, "message_id": message["id"], "version": message["version"], "parent_id": None}
    assert told["data"]["data"] == expected
    assert told["user"]["id"] == ada.id
    own = (await ada.get(f"/api/v1/streams/user/{ada.id}/events", types="mentioned")).json()["events"]
    hers = (await cat.get(f"/api/v1/streams/user/{cat.id}/events", types="mentioned")).json()["events"]
    assert own == hers == []


async def test_a_mention_of_nobody_is_no_failure(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    nobody = "00000000-0000-4000-8000-000000000000"
    await said(ada, channel_id, f"<@U:{nobody}> <@G:{nobody}> <@U:> <@U:x|y>")
    assert await unread(ada, channel_id) == (0, 0, 0)


async def test_what_one_tab_has_read_the_others_know(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    message = await said(ada, channel_id, "one")
    await said(ada, channel_id, "a reply", parent_id=message["id"])
    reading, other = await followed(server, bob, channel_id), await server.connect(bob)
    await other.op("caught_up", stream=f"user/{bob.id}")
    await reading.say(op="read", stream=f"channel/{channel_id}", version=message["version"])
    heard = await other.event(f"user/{bob.id}", "last_read_at")
    assert heard["data"]["data"] == {"stream": f"channel/{channel_id}", "version": message["version"]}
    assert await unread(bob, channel_id) == (0, 1, 0)
    await bob.post(f"{BASE}/{channel_id}/messages/{message['id']}/read")
    thread = await other.event(f"user/{bob.id}", "thread_read")
    assert thread["data"]["data"]["message_id"] == message["id"]


async def test_a_thread_is_read_over_the_socket(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    root = await said(ada, channel_id, "one")
    first, second = [await said(ada, channel_id, text, parent_id=root["id"]) for text in ("a reply", "another")]
    reading, other = await followed(server, bob, channel_id), await server.connect(bob)
    await other.op("caught_up", stream=f"user/{bob.id}")
    read = {"op": "read", "stream": f"channel/{channel_id}", "message_id": root["id"]}
    await reading.say(**read, version=first["version"])
    heard = await other.event(f"user/{bob.id}", "thread_read")
    assert heard["data"]["data"] == {"channel_id": channel_id, "message_id": root["id"], "version": first["version"]}
    assert await unread(bob, channel_id) == (1, 1, 0)
    await reading.say(**read, version=second["version"] + 100)
    assert (await reading.op("error"))["code"] == "bad_request"
    await reading.say(**{**read, "message_id": first["id"]}, version=second["version"])
    assert (await reading.op("error", code="not_a_thread"))["code"] == "not_a_thread"
    await reading.say(**{**read, "message_id": "nowhere"}, version=second["version"])
    assert (await reading.op("error", code="message_not_found"))["code"] == "message_not_found"
    assert await unread(bob, channel_id) == (1, 1, 0)


async def edited(user: User, channel_id: str, message_id: str, content: str) -> dict[str, Any]:
    answer = await user.post(f"{BASE}/{channel_id}/messages/{message_id}/update", {"content": content})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def told(user: User) -> list[tuple[str, str, int]]:
    """What the person's own stream says of mentions: type, message and version."""
    events = (await user.get(f"/api/v1/streams/user/{user.id}/events", types="mentioned,mention_removed")).json()["events"]
    return [(one["data"]["type"], one["data"]["data"]["message_id"], one["data"]["data"]["version"]) for one in events]


async def test_an_edit_tells_whom_it_begins_to_mention_and_takes_back_what_it_removes(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    channel_id = await made(ada, bob)
    message = await said(ada, channel_id, f"look, <@U:{ada.id}>")
    await bob.post(f"{BASE}/{channel_id}/read")
    assert await unread(bob, channel_id) == (0, 0, 0)
    now = await edited(ada, channel_id, message["id"], f"look, <@U:{bob.id}|Bob> and <@U:{cat.id}|Cat>")
    assert await unread(bob, channel_id) == (0, 0, 1)
    again = await edited(ada, channel_id, message["id"], f"look again, <@U:{bob.id}|Bob>")
    assert await told(bob) == [("mentioned", message["id"], now["version"])]
    gone = await edited(ada, channel_id, message["id"], "look")
    assert gone["version"] == again["version"] + 1
    assert await told(bob) == [("mentioned", message["id"], now["version"]), ("mention_removed", message["id"], gone["version"])]
    assert await unread(bob, channel_id) == (0, 0, 0)
    back = await edited(ada, channel_id, message["id"], f"<@U:{bob.id}>!")
    assert await unread(bob, channel_id) == (0, 0, 1)
    await bob.post(f"{BASE}/{channel_id}/read", {"version": back["version"]})
    assert await unread(bob, channel_id) == (0, 0, 0)
    assert await told(ada) == await told(cat) == []  # one's own mention of oneself, and of somebody who may not read it


async def test_an_edit_that_is_refused_tells_nobody(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    message = await said(ada, channel_id, "mine")
    refused = await bob.post(f"{BASE}/{channel_id}/messages/{message['id']}/update", {"content": f"<@U:{ada.id}>"})
    assert refused.status_code == 403
    assert await told(ada) == []


async def test_who_joins_a_group_later_is_not_called_by_an_edit_of_something_else(server: Running) -> None:
    admin, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    group_id = await group_of(admin, ada)
    channel_id = await standard(admin, to_group(group_id, "write"))
    await server.settled()
    message = await said(admin, channel_id, f"<@G:{group_id}|Writers>, hello")
    joined = await admin.post(f"/api/v1/groups/id/{group_id}/users/add", {"user_ids": [bob.id]})
    assert joined.status_code == 200, joined.text
    await server.settled()
    await edited(admin, channel_id, message["id"], f"<@G:{group_id}|Writers>, hello!")
    assert [kind for kind, _, _ in await told(ada)] == ["mentioned"]
    assert await told(bob) == []
    await edited(admin, channel_id, message["id"], "hello!")
    assert [kind for kind, _, _ in await told(ada)] == ["mentioned", "mention_removed"]
    assert await told(bob) == []
