"""Calls to the user over the wire: who sees them, who answers, and what others are told. A part of the server asks, as a function does."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from commands.calls.calls import ANSWER_BYTES_MAX
from domain.errors import CallExpired
from domain.log.event import Actor
from domain.log.stream import chat_stream
from tests.api.conftest import Running, User, Wire, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

UNKNOWN = "0190aaaa-0000-7000-8000-000000000001"


class Asking:
    """A function that asks ``user`` in one of their chats, at the first server."""

    def __init__(self, server: Running, user: User, chat_id: str, message_id: str) -> None:
        self.server, self.user, self.chat_id, self.message_id = server, user, chat_id, message_id
        self.tasks: list[asyncio.Task[Any]] = []

    @property
    def stream(self) -> str:
        return f"chat/{self.chat_id}"

    async def ask(self, kind: str = "confirmation", data: Any = None, *, actor: User | None = None, role: str = "user", **more: Any) -> str:
        """Returns the id of the call, once it is open."""
        asked = actor or self.user
        before = {one["call_id"] for one in await self.listed(asked)}
        calls = self.server.systems[0].calls
        actor_ = Actor(UUID(asked.id), "A name", role)
        self.tasks.append(
            asyncio.create_task(calls.ask(actor_, chat_stream(UUID(self.chat_id)), UUID(self.message_id), kind, data, **more))
        )
        while True:
            now = {one["call_id"] for one in await self.listed(asked)} - before
            if now:
                return str(now.pop())
            if self.tasks[-1].done():
                await self.tasks[-1]

    async def listed(self, user: User) -> list[dict[str, Any]]:
        answer = await user.get(f"/api/v1/chats/{self.chat_id}/calls")
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    async def answered(self) -> Any:
        async with asyncio.timeout(60):
            return await self.tasks[-1]

    def path(self, call_id: str, what: str = "/answer") -> str:
        return f"/api/v1/chats/{self.chat_id}/calls/{call_id}{what}"


@pytest.fixture
async def asking(server: Running) -> Any:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    made = Asking(server, user, chat_id, (await user.add(chat_id, "Hello"))["message_id"])
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def follow(wire: Wire, stream: str, after: str = "start") -> None:
    await wire.say(op="subscribe", id=1, stream=stream, after=after)
    await wire.op("caught_up", stream=stream)


# ------------------------------------------------------------------------------------------------------------- the answer


async def test_a_tab_sees_the_question_and_answers_it_by_its_id_alone(server: Running, asking: Asking) -> None:
    wire = await server.connect(asking.user)
    await follow(wire, asking.stream)
    call_id = await asking.ask("input", {"title": "Name?"}, session_id="my tab")
    event = await wire.event(asking.stream, "call")
    assert event["message_id"] == asking.message_id
    assert event["user"] is None
    asked = event["data"]["data"]
    assert (asked["call_id"], asked["kind"], asked["user_id"], asked["session_id"], asked["data"]) == (
        *(call_id, "input", asking.user.id, "my tab"),
        {"title": "Name?"},
    )
    await wire.say(op="answer", call_id=call_id, data={"value": "Ada"})
    await wire.op("answer_ok", call_id=call_id)
    assert await asking.answered() == {"value": "Ada"}
    answered = await wire.event(asking.stream, "call_answered")
    session = next(frame for frame in wire.frames if frame["op"] == "welcome")["session_id"]
    assert answered["data"]["data"] == {"call_id": call_id, "by": asking.user.id, "session_id": session, "data": {"value": "Ada"}}
    assert answered["user"]["id"] == asking.user.id


async def test_after_a_reload_a_new_tab_replays_the_question_as_open_and_answers_it(server: Running, asking: Asking) -> None:
    first = await server.connect(asking.user)
    await follow(first, asking.stream)
    call_id = await asking.ask(data={"title": "Sure?"})
    await first.socket.close()
    again = await server.connect(asking.user)
    await follow(again, asking.stream)
    assert again.event_of(asking.stream, "call") is not None
    (listed,) = await asking.listed(asking.user)
    assert (listed["call_id"], listed["state"], listed["data"], listed["message_id"]) == (
        *(call_id, "open"),
        {"title": "Sure?"},
        asking.message_id,
    )
    await again.say(op="answer", call_id=call_id, data=True)
    await again.op("answer_ok")
    assert await asking.answered() is True
    assert await asking.listed(asking.user) == []


async def test_the_first_answer_counts_and_the_second_is_told_who_gave_it(server: Running, asking: Asking) -> None:
    wires = [await server.connect(asking.user) for _ in range(2)]
    call_id = await asking.ask()
    await wires[0].say(op="answer", call_id=call_id, data="first")
    await wires[0].op("answer_ok")
    await wires[1].say(op="answer", call_id=call_id, data="second")
    refused = await wires[1].op("error")
    session = wires[0].frames[0]["session_id"]
    assert (refused["code"], refused["call_id"], refused["by"], refused["session_id"]) == (
        *("call_answered", call_id, asking.user.id),
        session,
    )
    late = await asking.user.post(asking.path(call_id), {"data": "third"})
    assert (late.status_code, late.json()["code"], late.json()["session_id"]) == (409, "call_answered", session)
    assert await asking.answered() == "first"


async def test_an_answer_that_is_repeated_with_its_key_is_the_same_answer(asking: Asking) -> None:
    call_id = await asking.ask()
    first = await asking.user.post(asking.path(call_id), {"data": 1}, **{"idempotency-key": "k"})
    again = await asking.user.post(asking.path(call_id), {"data": 1}, **{"idempotency-key": "k"})
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert first.json() == again.json()
    other = await asking.user.post(asking.path(call_id), {"data": 2}, **{"idempotency-key": "k"})
    assert other.status_code == 422
    assert await asking.answered() == 1


async def test_over_http_the_answer_has_its_place_in_the_log(asking: Asking) -> None:
    call_id = await asking.ask()
    answer = await asking.user.post(asking.path(call_id), {"data": [1, 2]})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["status"] is True
    page = (await asking.user.get(f"/api/v1/streams/{asking.stream}/events", types="call_answered")).json()["events"]
    assert [(one["version"], one["position"]) for one in page] == [(said["version"], said["position"])]
    assert await asking.answered() == [1, 2]
    one = (await asking.user.get(asking.path(call_id, ""))).json()
    assert (one["state"], one["reason"]) == ("answered", None)


async def test_a_password_reaches_the_function_and_not_the_log(server: Running, asking: Asking) -> None:
    wire = await server.connect(asking.user)
    await follow(wire, asking.stream)
    call_id = await asking.ask("input", {"title": "Password?", "type": "password"})
    (listed,) = await asking.listed(asking.user)
    assert (listed["relayed"], listed["data"]) == (True, {"title": "Password?", "type": "password"})
    await wire.say(op="chunk", call_id=call_id, seq=0, data="not an answer")
    await wire.op("chunk_ok")
    await wire.say(op="answer", call_id=call_id, data="correct horse battery")
    await wire.op("answer_ok")
    assert await asking.answered() == "correct horse battery"
    answered = await wire.event(asking.stream, "call_answered")
    assert answered["data"]["data"]["data"] == {"withheld": True}
    assert "correct horse" not in (await asking.user.get(f"/api/v1/streams/{asking.stream}/events", limit=1000)).text
    await wire.say(op="answer", call_id=call_id, data="another")
    assert (await wire.op("error"))["code"] == "call_answered"


async def test_a_password_that_nobody_types_expires(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.calls.calls.TIMEOUT_MIN_S", 0.0)
    await asking.ask("input", {"type": "password"}, timeout_s=0.5)
    with pytest.raises(CallExpired, match="timeout"):
        await asking.answered()
    assert await asking.listed(asking.user) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"action": "approve"}, True),
        ({"action": "reject"}, False),
        ({"action": "answer", "answers": {"q1": ["a"]}}, {"q1": ["a"]}),
        ({"action": "answer", "timed_out": True}, {"answers": None, "timed_out": True}),
    ],
)
async def test_the_reference_resolves_a_call_below_its_message(asking: Asking, body: dict[str, Any], expected: Any) -> None:
    call_id = await asking.ask()
    other = (await asking.user.add(asking.chat_id, "Another"))["message_id"]
    elsewhere = await asking.user.post(f"/api/v1/chats/{asking.chat_id}/messages/{other}/resolve", {"call_id": call_id, **body})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "call_not_found")
    path = f"/api/v1/chats/{asking.chat_id}/messages/{asking.message_id}/resolve"
    answer = await asking.user.post(path, {"call_id": call_id, **body})
    assert answer.status_code == 200, answer.text
    assert await asking.answered() == expected


# ------------------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize("who", ["stranger", "reader", "writer", "admin"])
async def test_nobody_answers_for_the_one_who_was_asked(server: Running, asking: Asking, who: str) -> None:
    """``asking.user`` signed up first and is an admin, so another user is asked in a chat of their own."""
    owner = await server.sign_up("Owner")
    chat_id = await owner.new_chat()
    message_id = (await owner.add(chat_id, "Hello"))["message_id"]
    theirs = Asking(server, owner, chat_id, message_id)
    other = asking.user if who == "admin" else await server.sign_up("Other")
    if who in ("reader", "writer"):
        permission = "read" if who == "reader" else "write"
        shared = await owner.post(f"/api/v1/chats/{chat_id}/access", {"user_id": other.id, "permission": permission})
        assert shared.status_code == 200, shared.text
    call_id = await theirs.ask()
    await server.settled()
    refused = [
        await other.post(theirs.path(call_id), {"data": True}),
        await other.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/resolve", {"call_id": call_id, "action": "approve"}),
        await other.get(theirs.path(call_id, "")),
    ]
    assert [(one.status_code, one.json()["code"]) for one in refused] == [(404, "call_not_found")] * 3
    wire = await server.connect(other)
    for frame in ({"op": "answer", "data": True}, {"op": "chunk", "seq": 0, "data": "data: x"}):
        await wire.say(**frame, call_id=call_id)
        error = await wire.op("error")
        assert (error["code"], error["call_id"]) == ("call_not_found", call_id)
    listed = await other.get(f"/api/v1/chats/{chat_id}/calls")
    assert listed.status_code == 401 if who == "stranger" else listed.json() == []
    assert (await owner.post(theirs.path(call_id), {"data": "mine"})).status_code == 200
    assert await theirs.answered() == "mine"


async def test_an_admin_who_is_asked_in_the_chat_of_another_answers_there(server: Running, asking: Asking) -> None:
    owner = await server.sign_up("Owner")
    chat_id = await owner.new_chat()
    theirs = Asking(server, owner, chat_id, (await owner.add(chat_id, "Hello"))["message_id"])
    call_id = await theirs.ask(actor=asking.user, role="admin")
    assert await theirs.listed(owner) == []
    assert (await owner.post(theirs.path(call_id), {"data": 1})).status_code == 404
    assert (await asking.user.post(theirs.path(call_id), {"data": 2})).status_code == 200
    assert await theirs.answered() == 2


async def test_a_key_that_may_only_read_does_not_answer(server: Running, asking: Asking) -> None:
    made = await asking.user.post("/api/v1/auths/keys", {"name": "reader", "scopes": ["read"]})
    assert made.status_code == 200, made.text
    reader = User(server.client(headers={"authorization": f"Bearer {made.json()['api_key']}"}), asking.user.id, made.json()["api_key"], "")
    call_id = await asking.ask()
    await server.settled()
    assert len(await asking.listed(reader)) == 1
    assert (await reader.post(asking.path(call_id), {"data": True})).json()["code"] == "scope_missing"
    wire = await server.connect(reader)
    await wire.say(op="answer", call_id=call_id, data=True)
    assert (await wire.op("error"))["code"] == "scope_missing"
    await reader.http.aclose()


# ------------------------------------------------------------------------------------------------------------- its end


async def test_a_timeout_is_an_event_and_a_late_answer_hears_of_it(
    server: Running, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.calls.calls.TIMEOUT_MIN_S", 0.0)
    wire = await server.connect(asking.user)
    await follow(wire, asking.stream)
    call_id = await asking.ask(timeout_s=0.5)
    with pytest.raises(CallExpired):
        await asking.answered()
    expired = await wire.event(asking.stream, "call_expired")
    assert expired["data"]["data"] == {"call_id": call_id, "reason": "timeout"}
    await server.settled()
    late = await asking.user.post(asking.path(call_id), {"data": True})
    assert (late.status_code, late.json()["code"], late.json()["reason"]) == (409, "call_expired", "timeout")
    await wire.say(op="answer", call_id=call_id, data=True)
    assert (await wire.op("error"))["reason"] == "timeout"
    assert (await asking.user.get(asking.path(call_id, ""))).json()["reason"] == "timeout"


async def test_a_call_ends_with_its_message(server: Running, asking: Asking) -> None:
    call_id = await asking.ask()
    deleted = await asking.user.http.delete(f"/api/v1/chats/{asking.chat_id}/messages/{asking.message_id}")
    assert deleted.status_code == 200, deleted.text
    with pytest.raises(CallExpired, match="cancelled"):
        await asking.answered()
    assert (await asking.user.post(asking.path(call_id), {"data": True})).json()["code"] == "call_expired"


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": "answer", "call_id": "no uuid", "data": 1}, "call_not_found"),
        ({"op": "answer", "call_id": "", "data": 1}, "call_not_found"),
        ({"op": "answer", "call_id": UNKNOWN}, "call_not_found"),
        ({"op": "answer", "call_id": 5}, "bad_request"),
        ({"op": "answer", "data": 5}, "bad_request"),
        ({"op": "answer", "call_id": "CALL", "by": "me"}, "bad_request"),
        ({"op": "answer", "call_id": "CALL", "data": "a\0b"}, "content_refused"),
        ({"op": "chunk", "call_id": "CALL", "seq": 0, "data": "data: x"}, "bad_request"),
        ({"op": "chunk", "call_id": UNKNOWN, "seq": 0}, "call_not_found"),
        ({"op": "chunk", "call_id": "CALL", "seq": -1}, "bad_request"),
        ({"op": "chunk", "call_id": "CALL", "seq": 2**31}, "bad_request"),
        ({"op": "chunk", "call_id": "CALL", "seq": 10**30}, "bad_request"),
        ({"op": "chunk", "call_id": "CALL", "seq": 1.5}, "bad_request"),
        ({"op": "chunk", "call_id": "CALL", "seq": "0"}, "bad_request"),
        ({"op": "chunk", "call_id": "CALL"}, "bad_request"),
    ],
    ids=lambda value: str(value)[:70],
)
async def test_a_frame_that_makes_no_sense_is_refused_and_the_call_stays_open(
    server: Running, asking: Asking, frame: dict[str, Any], code: str
) -> None:
    call_id = await asking.ask()
    wire = await server.connect(asking.user)
    await wire.say(**{**frame, **({"call_id": call_id} if frame.get("call_id") == "CALL" else {})})
    assert (await wire.op("error"))["code"] == code
    await wire.say(op="answer", call_id=call_id, data="fine")
    await wire.op("answer_ok")
    assert await asking.answered() == "fine"


async def test_an_answer_that_is_too_large_or_no_answer_is_refused(asking: Asking) -> None:
    call_id = await asking.ask()
    large = await asking.user.post(asking.path(call_id), {"data": "x" * ANSWER_BYTES_MAX})
    assert large.status_code == 413, large.text
    for body in ({"date": 1}, [], "x"):
        assert (await asking.user.post(asking.path(call_id), body)).status_code == 400
    path = f"/api/v1/chats/{asking.chat_id}/messages/{asking.message_id}/resolve"
    for wrong in ({"action": "approve"}, {"call_id": call_id, "action": "maybe"}, {"call_id": call_id, "action": "reject", "answers": [1]}):
        assert (await asking.user.post(path, wrong)).status_code == 400
    assert (await asking.user.post(path, {"call_id": "x", "action": "approve"})).status_code == 404
    assert len(await asking.listed(asking.user)) == 1


async def test_a_flood_of_forged_answers_is_refused_one_by_one_and_holds_up_nobody_else(server: Running, asking: Asking) -> None:
    call_id = await asking.ask()
    other = await server.sign_up("Other")
    flood = await server.connect(other)
    for _ in range(500):
        await flood.say(op="answer", call_id=call_id, data=True)
    assert (await asking.user.post(asking.path(call_id), {"data": "fine"})).status_code == 200
    assert await asking.answered() == "fine"
    errors = [await flood.op("error") for _ in range(500)]
    assert {one["code"] for one in errors} == {"call_not_found"}
