"""One socket: what its client may say, what it is answered, and what ends it."""

import asyncio
import json

import pytest
import websockets

from tests.api.conftest import Running

pytestmark = pytest.mark.anyio


async def test_without_a_hello_the_connection_ends(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.socket_reader.HELLO_TIMEOUT_S", 0.2)
    wire = await server.connect()
    assert await wire.closed() == 4408


async def test_before_hello_nothing_else_is_done(server: Running) -> None:
    wire = await server.connect()
    await wire.say(op="subscribe", id=1, stream="user/0190a000-0000-7000-8000-000000000000", after="start")
    assert (await wire.op("error"))["code"] == "not_authenticated"
    assert await wire.closed() == 4408


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "bad_request"),
        ("[]", "bad_request"),
        ('"x"', "bad_request"),
        ("{}", "unknown_op"),
        ('{"op": "dance"}', "unknown_op"),
        ('{"op": 7}', "bad_request"),
        ('{"op": "subscribe"}', "bad_request"),
        ('{"op": "subscribe", "stream": 5, "after": "start"}', "bad_request"),
        ('{"op": "subscribe", "stream": "chat/x", "after": "start"}', "bad_stream_name"),
        ('{"op": "subscribe", "stream": "toast/0190a000-0000-7000-8000-000000000000", "after": "start"}', "bad_stream_name"),
        ('{"op": "subscribe", "stream": "chat/0190a000-0000-7000-8000-000000000000", "after": "start", "x": 1}', "bad_request"),
        ('{"op": "subscribe", "stream": "chat/0190a000-0000-7000-8000-000000000000", "after": "start"}', "stream_not_found"),
        ('{"op": "unsubscribe", "stream": "chat/0190a000-0000-7000-8000-000000000000"}', "bad_request"),
        ('{"op": "read", "stream": "chat/0190a000-0000-7000-8000-000000000000", "version": 1}', "bad_request"),
        ('{"op": "follow", "id": 1, "kind": "chat", "cursors": {}}', "bad_request"),
        ('{"op": "answer", "call_id": "x", "data": 1}', "call_not_found"),
        ('{"op": "hello"}', "bad_request"),
        ("[" * 5000, "bad_request"),
    ],
)
async def test_a_frame_that_means_nothing_is_answered_and_the_connection_lives(server: Running, frame: str, code: str) -> None:
    user = await server.sign_up()
    wire = await server.connect(user)
    await wire.socket.send(frame)
    assert (await wire.op("error"))["code"] == code
    chat_id = await user.new_chat()
    await wire.say(op="subscribe", id="still here", stream=f"chat/{chat_id}", after="start")
    assert (await wire.op("subscribed", id="still here"))["write_access"] is True


async def test_what_is_no_text_or_too_much_ends_the_connection(server: Running) -> None:
    user = await server.sign_up()
    binary = await server.connect(user)
    await binary.socket.send(b"\x00\x01")
    assert await binary.closed() == 1003
    huge = await server.connect(user)
    await huge.socket.send("x" * 70_000)
    assert await huge.closed() == 1009


async def test_who_sends_without_end_is_closed_out(server: Running) -> None:
    user = await server.sign_up()
    wire = await server.connect(user)
    with pytest.raises(websockets.ConnectionClosed):
        for _ in range(5_000):
            await wire.socket.send('{"op": "heartbeat"}')
            await asyncio.sleep(0)
        await wire.closed()
        raise websockets.ConnectionClosedOK(None, None)
    assert wire.socket.close_code == 4429


async def test_a_second_subscription_to_a_stream_is_an_error(server: Running) -> None:
    user = await server.sign_up()
    stream = f"chat/{await user.new_chat()}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    await wire.say(op="subscribe", id=2, stream=stream, after="start")
    assert (await wire.op("error"))["id"] == 2
    await wire.say(op="unsubscribe", stream=stream)
    assert (await wire.op("unsubscribed"))["code"] == "asked"
    await wire.say(op="subscribe", id=3, stream=stream, after="start")
    assert (await wire.op("subscribed", stream=stream))["id"] == 3


async def test_ones_own_stream_is_joined_at_welcome_and_taken_up_from_a_cursor(server: Running) -> None:
    user = await server.sign_up()
    own = f"user/{user.id}"
    wire = await server.connect(user)
    await wire.op("caught_up", stream=own)
    chat_id = await user.new_chat()
    listed = await wire.event(own, "chat_listed")
    assert listed["data"]["data"]["chat_id"] == chat_id
    assert listed["user_id"] == user.id
    again = await server.connect(user)
    await again.say(op="subscribe", id=1, stream=own, after=server.cursor(1))
    await again.event(own, "chat_listed")
    assert again.versions(own) == [2]


async def test_who_is_known_here_is_welcomed_without_a_query(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await server.sign_up()
    own = f"user/{user.id}"

    async def asked(*_: object, **__: object) -> None:
        raise AssertionError("the log was asked")

    with monkeypatch.context() as patch:
        for query in ("version", "read"):
            patch.setattr(server.system.log, query, asked)
        wire = await server.connect(user)
        said = await wire.op("subscribed", stream=own)
        assert (said["head"], said["from"]) == (1, 2)
        await wire.op("caught_up", stream=own)
    await user.new_chat()
    await wire.event(own, "chat_listed")
    assert wire.versions(own) == [2]


async def test_taken_away_access_ends_the_subscription_at_that_version(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    stream, share = f"chat/{chat_id}", f"/api/v1/chats/{chat_id}/access"
    await ada.post(share, {"user_id": bob.id, "permission": "read"})
    wire = await server.connect(bob)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    await wire.op("caught_up", stream=stream)
    ended_at = (await ada.post(share, {"user_id": bob.id, "permission": None})).json()["version"]
    for number in range(10):
        await ada.add(chat_id, f"secret {number}")
    ended = await wire.op("unsubscribed", stream=stream)
    assert ended["code"] == "access_ended"
    assert wire.versions(stream)[-1] == ended_at
    assert "secret" not in json.dumps(wire.frames)
    await wire.say(op="subscribe", id=2, stream=stream, after=server.cursor(ended_at))
    assert (await wire.op("error"))["code"] == "stream_not_found"


async def test_a_deleted_chat_ends_for_everybody(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await bob.new_chat()
    await bob.post(f"/api/v1/chats/{chat_id}/access", {"user_id": ada.id, "permission": "read"})
    wires = [await server.connect(user) for user in (ada, bob)]
    for wire in wires:
        await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="now")
        await wire.op("caught_up", stream=f"chat/{chat_id}")
    await bob.http.delete(f"/api/v1/chats/{chat_id}")
    for wire in wires:
        assert (await wire.op("unsubscribed"))["code"] == "chat_deleted"
        assert wire.events(f"chat/{chat_id}")[-1]["data"]["type"] == "chat_deleted"


async def test_typing_ends_with_the_access_also_for_who_has_not_heard_of_it_yet(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    stream, share = f"chat/{chat_id}", f"/api/v1/chats/{chat_id}/access"
    await ada.post(share, {"user_id": bob.id, "permission": "write"})
    mine, theirs = await server.connect(ada), await server.connect(bob)
    for wire in (mine, theirs):
        await wire.say(op="subscribe", id=1, stream=stream, after="now")
        await wire.op("caught_up", stream=stream)
    live = server.system.live
    fresh, live.has_recent_contact = live.has_recent_contact, lambda: False  # events wait, as they do for a slow reader
    await ada.post(share, {"user_id": bob.id, "permission": None})
    for wire in (mine, theirs):
        await wire.say(op="typing", stream=stream, typing=True)
    for wire in (mine, theirs, mine):  # whatever was said before has arrived by then
        await wire.say(op="subscribe", id=2, stream="chat/none", after="now")
        await wire.op("error")
    live.has_recent_contact = fresh
    await theirs.op("unsubscribed", stream=stream)
    assert not any(frame["op"] == "ephemeral" for wire in (mine, theirs) for frame in wire.frames)


async def test_a_page_that_cannot_be_read_for_a_mistake_of_ours_ends_the_connection(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await server.sign_up()
    stream = f"chat/{await user.new_chat()}"

    async def broken(_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(server.system.hub, "fetch", broken)
    monkeypatch.setattr(server.system.hub, "next_batch", lambda *_, **__: None)
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    assert await wire.closed() == 1011  # so that it comes back; it would wait for ever otherwise


async def test_how_far_was_read_is_written_once_however_often_it_is_said(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    for content in ("one", "two"):
        await user.add(chat_id, content)
    stream, own = f"chat/{chat_id}", f"user/{user.id}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    for version in (1, 3, 2):
        await wire.say(op="read", stream=stream, version=version)
    read = await wire.event(own, "last_read_at")
    assert read["data"]["data"] == {"stream": stream, "version": 3}


@pytest.mark.parametrize("impossible", [0, -1, 4, 2**31 - 1, 2**31, 2**62])
async def test_an_impossible_read_version_is_refused_and_loses_no_other(server: Running, impossible: int) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    for content in ("one", "two"):
        await user.add(chat_id, content)
    stream, own = f"chat/{chat_id}", f"user/{user.id}"
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=stream, after="start")
    for version in (1, impossible, 2):
        await wire.say(op="read", stream=stream, version=version)
    refused = await wire.op("error", code="bad_request")
    assert refused["detail"] == f"expected a version from 1 to 3, received {impossible}"
    read = await wire.event(own, "last_read_at")
    assert read["data"]["data"] == {"stream": stream, "version": 2}


async def test_a_fresh_token_takes_over_and_another_persons_does_not(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    fresh = (await ada.post("/api/v1/auths/signin", {"email": ada.email, "password": "correct horse"})).json()["token"]
    wire = await server.connect(ada)
    await wire.say(op="hello", token=fresh)
    await wire.op("welcome")
    await ada.post("/api/v1/auths/signout")  # ends the token that it came with, and not the connection
    ada.http.headers["authorization"] = f"Bearer {fresh}"
    ada.http.cookies.clear()
    chat_id = await ada.new_chat()
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.op("caught_up", stream=f"chat/{chat_id}")
    await wire.say(op="hello", token=bob.token)
    assert await wire.closed() == 4403


async def test_a_process_cut_off_from_the_log_serves_nothing_from_memory(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    wire = await server.connect(user)
    stream = f"chat/{chat_id}"
    await wire.say(op="subscribe", id=1, stream=stream, after="now")
    await wire.op("caught_up", stream=stream)
    live = server.system.live
    fresh, live.has_recent_contact = live.has_recent_contact, lambda: False
    await user.add(chat_id, "unseen")
    await wire.say(op="subscribe", id=2, stream="chat/none", after="now")
    await wire.op("error")
    assert wire.events(stream) == []
    live.has_recent_contact = fresh
    await wire.event(stream, "message_added")
