"""A question of a function in a channel, over HTTP and WebSocket: the asked one sees it and answers, and nobody else."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from domain.log.event import Actor
from domain.log.stream import channel_stream
from tests.api.channels.test_channels import BASE, made, said
from tests.api.channels.test_live import followed
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


def asking(server: Running, user: User, channel_id: str, message_id: str, data: Any) -> "asyncio.Task[Any]":
    """As a function asks that runs for this person, in one of the servers."""
    calls, actor = server.systems[0].calls, Actor(UUID(user.id), "Bob", "user")
    asked = calls.ask(actor, channel_stream(UUID(channel_id)), UUID(message_id), "confirmation", data)
    return asyncio.create_task(asked)


async def opened(user: User, channel_id: str) -> list[dict[str, Any]]:
    answer = await user.get(f"{BASE}/{channel_id}/calls")
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def test_who_is_asked_answers_over_http_and_the_others_are_not_told_what(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    channel_id = await made(ada, bob)
    message = await said(bob, channel_id, "do it")
    wire = await followed(server, ada, channel_id)
    task = asking(server, bob, channel_id, message["id"], {"title": "Sure?"})
    event = await wire.event(f"channel/{channel_id}", "call")
    [call] = await opened(bob, channel_id)
    assert call["call_id"] == event["data"]["data"]["call_id"]
    assert (call["message_id"], call["kind"], call["data"], call["state"]) == (message["id"], "confirmation", {"title": "Sure?"}, "open")
    path = f"{BASE}/{channel_id}/calls/{call['call_id']}"
    assert await opened(ada, channel_id) == []
    assert (await ada.get(path)).json()["code"] == (await ada.post(f"{path}/answer", {"data": True})).json()["code"] == "call_not_found"
    assert (await cat.get(f"{BASE}/{channel_id}/calls")).status_code == (await cat.post(f"{path}/answer", {})).status_code == 403
    other = await made(bob)
    assert (await bob.post(f"{BASE}/{other}/calls/{call['call_id']}/answer", {"data": True})).json()["code"] == "call_not_found"
    answered = await bob.post(f"{path}/answer", {"data": {"yes": "between us"}})
    assert (answered.status_code, answered.json()["version"]) == (200, None)
    assert await asyncio.wait_for(task, WAIT_S) == {"yes": "between us"}
    end = await wire.event(f"channel/{channel_id}", "call_answered")
    assert "between us" not in str(end)
    assert await opened(bob, channel_id) == []
    assert (await bob.get(path)).json()["state"] == "answered"
    assert (await bob.post(f"{path}/answer", {"data": False})).json()["code"] == "call_answered"


async def test_who_is_asked_answers_over_the_socket(server: Running) -> None:
    _, ada, bob = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob")]
    channel_id = await made(ada, bob)
    message = await said(bob, channel_id, "do it")
    theirs, his = await followed(server, ada, channel_id), await followed(server, bob, channel_id)
    task = asking(server, bob, channel_id, message["id"], {"title": "Sure?"})
    call_id = (await his.event(f"channel/{channel_id}", "call"))["data"]["data"]["call_id"]
    await theirs.say(op="answer", call_id=call_id, data=False)
    assert (await theirs.op("error"))["code"] == "call_not_found"
    await his.say(op="answer", call_id=call_id, data=True)
    assert (await his.op("answer_ok"))["call_id"] == call_id
    assert await asyncio.wait_for(task, WAIT_S) is True
