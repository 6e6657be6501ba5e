"""A client that was away comes back to the same channel as one that stayed, by its cursor alone: through one server and through two."""

import random
from typing import Any

import msgspec
import pytest

from stenograph_client import ChannelView, Snapshot
from stenograph_client.events import decode_event
from tests.api.channels.test_channels import BASE, made
from tests.api.conftest import Running, User, Wire, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def act(choose: random.Random, people: list[User], channel_id: str, ids: list[str], steps: int) -> None:
    """Edits, deletions, reactions, pins, replies and renames; a refusal is no failure."""
    messages = f"{BASE}/{channel_id}/messages"
    for step in range(steps):
        by, one = choose.choice(people), choose.choice(ids) if ids else None
        match choose.randrange(8):
            case 1 if one is not None:
                await by.post(f"{messages}/{one}/update", {"content": f"edited {step}"})
            case 2 if one is not None and choose.random() < 0.5:
                await by.http.delete(f"{messages}/{one}/delete")
            case 3 if one is not None:
                await by.post(f"{messages}/{one}/reactions/{choose.choice(('add', 'remove'))}", {"name": choose.choice("ab")})
            case 4 if one is not None:
                await by.post(f"{messages}/{one}/pin", {"is_pinned": choose.random() < 0.7})
            case 5:
                await people[0].post(f"{BASE}/{channel_id}/update", {"name": f"name {step}"})
            case _:
                reply = {"parent_id": one} if one is not None and choose.random() < 0.4 else {}
                answer = await by.post(f"{messages}/post", {"content": f"said {step}", **reply})
                ids += [answer.json()["id"]] if answer.status_code == 200 else []


def applied(view: ChannelView, wire: Wire, channel_id: str, epoch: str) -> None:
    for event in wire.events(f"channel/{channel_id}"):
        view.apply(decode_event(msgspec.json.encode(event)).seen_in(epoch))


async def until_version(wire: Wire, channel_id: str, version: int) -> None:
    """Reads on until the events up to this version have come."""
    while version not in wire.versions(f"channel/{channel_id}"):
        await wire.frame()


@pytest.mark.parametrize("seed", range(2))
async def test_who_was_away_converges_by_cursor(server: Running, seed: int) -> None:
    choose = random.Random(seed)
    people = [await server.sign_up(name) for name in ("Ada", "Bob")]
    channel_id = await made(people[0], people[1])
    stream = f"channel/{channel_id}"
    ids: list[str] = []
    await act(choose, people, channel_id, ids, 20)
    first = await server.connect(people[1])
    await first.say(op="subscribe", id=1, stream=stream, after="start", snapshot=True)
    frame = await first.op("snapshot", stream=stream)
    view = ChannelView(Snapshot(stream, server.epoch, frame["version"], frame["state"], "asked"))
    await act(choose, people, channel_id, ids, 10)
    head = (await people[0].get(f"{BASE}/{channel_id}")).json()["version"]
    if head > view.version:
        await until_version(first, channel_id, head)
    applied(view, first, channel_id, server.epoch)
    await first.socket.close()
    await act(choose, people, channel_id, ids, 40)
    head = (await people[0].get(f"{BASE}/{channel_id}")).json()["version"]
    again = await server.connect(people[1])
    cursor = server.cursor(view.version)
    await again.say(op="follow", id="all", kind="channel", cursors={stream: cursor})
    assert (await again.op("subscribed", stream=stream))["replay"] == "suffix"
    await until_version(again, channel_id, head)
    applied(view, again, channel_id, server.epoch)
    assert again.versions(stream) == list(range(int(cursor.rpartition(":")[2]) + 1, head + 1))
    messages: list[dict[str, Any]] = (await people[1].get(f"{BASE}/{channel_id}/messages/", limit=200)).json()
    assert view.timeline() == messages
    channel = (await people[1].get(f"{BASE}/{channel_id}")).json()
    assert {name: channel[name] for name in view.channel} == view.channel
    assert view.version == channel["version"]
