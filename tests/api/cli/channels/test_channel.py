"""``steno channels`` and ``steno channel`` as people run them: a process of its own, against a real server."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.settings import Settings
from domain.log.event import Actor
from domain.log.stream import channel_stream
from stenograph_client import ChannelView
from tests.api.channels.test_channels import made, said
from tests.api.cli.shell import EMAIL, PASSWORD, WAIT_S, Shell
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio


async def joined(server: Running, tmp_path: Path) -> tuple[Shell, User, str]:
    """Ann at her terminal, Bob, and a channel of both."""
    shell = await Shell(tmp_path / "config", server.url).sign_in()
    bob = await server.sign_up("Bob")
    ann = await ann_of(bob)
    return shell, bob, await made(bob, ann, name="general")


async def test_a_room_shows_what_happens_and_says_what_is_typed(tmp_path: Path) -> None:
    async with running(Settings(data=tmp_path / "data", drain_s=0.2)) as server:
        shell, bob, channel_id = await joined(server, tmp_path)
        first = await said(bob, channel_id, "Welcome")
        listed = await shell.run("channels")
        assert (listed.code, "general" in listed.out, "1 new" in listed.out) == (0, True, True)
        async with shell.at_terminal("channel", "general") as (process, terminal):
            await terminal.until(r"#1.*Bob.*: Welcome")
            await said(bob, channel_id, "a \x1b[2J reply", parent_id=first["id"])
            shown = await terminal.until(r"#2.*Bob.*#1.*: a .*reply")
            assert "\x1b[2J" not in shown
            terminal.type("hello Bob\n")
            await terminal.until(r"#3.*hello Bob")
            terminal.type("/reply 1 in the thread\n")
            await terminal.until(r"#4.*#1.*in the thread")
            terminal.type("/edit 4 in this thread\n")
            await terminal.until(r"#4.*in this thread")
            terminal.type("/pin 99\n")
            await terminal.until("no message 99")
            terminal.type("/quit\n")
            async with asyncio.timeout(WAIT_S):
                assert await process.wait() == 0
        thread = (await bob.get(f"/api/v1/channels/{channel_id}/messages/{first['id']}/thread")).json()
        assert [one["content"] for one in thread][0::2] == ["in this thread", "Welcome"]
        assert (await shell.run("channels")).out.count("new") == 0


async def test_a_pipe_says_each_of_its_lines(tmp_path: Path) -> None:
    async with running(Settings(data=tmp_path / "data", drain_s=0.2)) as server:
        shell, bob, channel_id = await joined(server, tmp_path)
        done = await shell.run("channel", "#General", stdin="one\n\ntwo\n")
        assert (done.code, done.out) == (0, "")
        view = ChannelView()
        messages = (await bob.get(f"/api/v1/channels/{channel_id}/messages/")).json()
        view.add_older(messages)
        assert [one["content"] for one in view.timeline()] == ["two", "one"]
        unknown = await shell.run("channel", "elsewhere")
        assert unknown.code == 1
        assert "You are in no channel elsewhere" in unknown.err
        assert channel_id in unknown.err


async def test_what_a_function_asks_in_the_room_is_answered_there(tmp_path: Path) -> None:
    async with running(Settings(data=tmp_path / "data", drain_s=0.2)) as server:
        shell, bob, channel_id = await joined(server, tmp_path)
        ann = (await ann_of(bob)).id
        message = await said(bob, channel_id, "Welcome")

        def ask(user_id: str, kind: str, data: Any) -> "asyncio.Task[Any]":
            stream, actor = channel_stream(UUID(channel_id)), Actor(UUID(user_id), "x", "user")
            return asyncio.create_task(server.systems[0].calls.ask(actor, stream, UUID(message["id"]), kind, data))

        async with shell.at_terminal("channel", "general") as (process, terminal):
            await terminal.until(r"#1.*Bob.*: Welcome")
            terminal.type("half")
            await terminal.until("> half")
            sure = ask(ann, "confirmation", {"title": "Sure?"})
            await terminal.until(r"\? Sure\?")
            terminal.type("perhaps\n")
            await terminal.until("Enter once more")
            terminal.type("\n")
            await terminal.until("Type y or n")
            terminal.type("y\n")
            async with asyncio.timeout(WAIT_S):
                assert await sure is True
            terminal.type(" a message\n")
            await terminal.until(r"#2.*half a message")
            word = ask(ann, "input", {"title": "Word?", "type": "password"})
            await terminal.until(r"\? Word\?")
            terminal.type("open sesame\n")
            async with asyncio.timeout(WAIT_S):
                assert await word == "open sesame"
            expired = ask(ann, "input", {"title": "Expires?", "type": "password"})
            await terminal.until(r"\? Expires\?")
            terminal.type("correct ho")
            expired.cancel()
            await terminal.until("discarded up to the next Enter")
            terminal.type("rse battery\n")
            left = ask(ann, "input", {"title": "Left?"})
            await terminal.until(r"\? Left\?")
            terminal.type("\x04")
            others = ask(bob.id, "confirmation", {"title": "Of Bob?"})
            await said(bob, channel_id, "still here")
            shown = await terminal.until("still here")
            assert "Of Bob?" not in shown
            terminal.type("/quit\n")
            async with asyncio.timeout(WAIT_S):
                assert await process.wait() == 0
        texts = [one["content"] for one in (await bob.get(f"/api/v1/channels/{channel_id}/messages/")).json()]
        assert texts == ["still here", "half a message", "Welcome"]
        for one in (expired, left, others):
            one.cancel()
        await asyncio.gather(expired, left, others, return_exceptions=True)


async def ann_of(bob: User) -> User:
    answer = await bob.http.post("/api/v1/auths/signin", json={"email": EMAIL, "password": PASSWORD})
    return User(bob.http, answer.json()["id"], answer.json()["token"], EMAIL)
