"""A channel's past over HTTP: the channel as it was, its events forwards and backwards, and what of it a later member is shown."""

import json
from typing import Any

import pytest

from tests.api.channels.test_channels import BASE, made, said
from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def events(user: User, channel_id: str, **query: Any) -> dict[str, Any]:
    answer = await user.get(f"{BASE}/{channel_id}/events", **query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def versions(page: dict[str, Any]) -> list[int]:
    return [one["event"]["version"] for one in page["events"]]


async def test_a_channel_is_shown_as_it_was(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada)
    path = f"{BASE}/{channel_id}"
    before = (await ada.get(f"{path}/")).json()
    await ada.post(f"{path}/update", {"name": "renamed", "data": {"a": 1}})
    await ada.post(f"{path}/update/members/add", {"user_ids": [bob.id]})
    now = (await ada.get(f"{path}/")).json()
    was = (await ada.get(f"{path}/", at=before["version"])).json()
    assert was == {name: before[name] for name in was}
    assert {"unread_count", "write_access"} & set(was) == set()
    is_now = (await ada.get(f"{path}/", at=now["version"])).json()
    assert {**is_now, "updated_at": None} == {**{name: now[name] for name in is_now}, "updated_at": None}
    assert (is_now["name"], is_now["user_ids"], was["user_ids"]) == ("renamed", [ada.id, bob.id], [ada.id])
    assert (await ada.get(f"{path}/", at="2001-01-01T00:00:00Z")).json()["code"] == "before_first_event"
    assert (await ada.get(f"{path}/", at=0)).status_code == 404
    assert (await ada.get(f"{path}/", at="nonsense")).status_code == 400


async def test_who_came_later_is_not_shown_what_the_channel_was_called(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    channel_id = await made(ada)
    path = f"{BASE}/{channel_id}"
    first = (await ada.get(f"{path}/")).json()
    await ada.post(f"{path}/update", {"name": "renamed", "description": "said later"})
    await ada.post(f"{path}/update/members/add", {"user_ids": [bob.id]})
    was = (await bob.get(f"{path}/", at=first["version"])).json()
    assert (was["name"], was["description"], was["user_ids"]) == ("renamed", "said later", [ada.id])
    assert (await ada.get(f"{path}/", at=first["version"])).json()["name"] == first["name"]
    assert (await cat.get(f"{path}/", at=first["version"])).status_code == 403
    assert (await cat.get(f"{path}/events")).status_code == 403


async def test_events_tell_what_each_change_changed(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    message = await said(ada, channel_id, "one")
    await ada.post(f"{BASE}/{channel_id}/messages/{message['id']}/update", {"content": "two"})
    await ada.post(f"{BASE}/{channel_id}/messages/{message['id']}/reactions/add", {"name": "+1"})
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{message['id']}/delete")
    page = await events(ada, channel_id)
    assert versions(page) == list(range(1, page["head"] + 1))
    by_type = {one["event"]["data"]["type"]: one for one in page["events"]}
    edit, removal = by_type["message:update"], by_type["message:delete"]
    assert (edit["before"]["content"], edit["after"]["content"]) == ("one", "two")
    assert (removal["before"]["content"], removal["after"]) == ("two", None)
    assert [(one["before"], one["after"]) for name, one in by_type.items() if name == "message:reaction:add"] == [(None, None)]
    assert page["next"] == f"{page['epoch']}:{page['head']}"


async def test_events_are_read_forwards_and_backwards(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    for number in range(7):
        await said(ada, channel_id, str(number))
    head = (await events(ada, channel_id))["head"]
    forwards: list[int] = []
    after = "start"
    while len(forwards) < head:
        page = await events(ada, channel_id, after=after, limit=3)
        forwards += versions(page)
        after = page["next"]
    assert forwards == list(range(1, head + 1))
    assert versions(await events(ada, channel_id, after=after)) == []
    backwards: list[int] = []
    before: str | None = "now"
    while before is not None:
        page = await events(ada, channel_id, before=before, limit=3)
        backwards = [*versions(page), *backwards]
        before = page["previous"]
    assert backwards == list(range(1, head + 1))
    middle = await events(ada, channel_id, before=f"{page['epoch']}:5", limit=2)
    assert versions(middle) == [3, 4]
    assert versions(await events(ada, channel_id, after=middle["next"], limit=1)) == [5]
    both = await ada.get(f"{BASE}/{channel_id}/events", after="start", before="now")
    assert (both.status_code, both.json()["param"]) == (400, "before")
    assert (await ada.get(f"{BASE}/{channel_id}/events", before=f"{page['epoch']}:{head + 9}")).status_code == 410


async def test_what_was_gone_before_somebody_joined_is_hidden_in_events(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada)
    gone, edited = await said(ada, channel_id, "a secret"), await said(ada, channel_id, "first words")
    await ada.post(f"{BASE}/{channel_id}/messages/{edited['id']}/update", {"content": "better words"})
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{gone['id']}/delete")
    await ada.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [bob.id]})
    await ada.post(f"{BASE}/{channel_id}/messages/{edited['id']}/update", {"content": "best words"})
    theirs = await events(bob, channel_id)
    assert versions(theirs) == list(range(1, theirs["head"] + 1))
    text = json.dumps(theirs)
    assert "secret" not in text
    assert "first words" not in text
    assert "better words" in text
    last = theirs["events"][-1]
    assert (last["before"]["content"], last["after"]["content"]) == ("better words", "best words")
    hidden = [one["event"]["version"] for one in theirs["events"] if one["event"].get("redacted")]
    assert {gone["version"], edited["version"]} <= set(hidden)
    whole = json.dumps(await events(ada, channel_id))
    assert "secret" in whole
