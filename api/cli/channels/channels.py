"""``steno channels`` lists a person's channels. ``steno channel`` shows one live and sends what is typed; it reconnects by itself."""

import asyncio
import contextlib
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import rich_click as click

from api.cli.channels.keyboard import Keyboard
from api.cli.channels.line_editor import LineEditor
from api.cli.channels.room import LeftRoom, Room
from api.cli.login import Failed, Target, client_for, error_text, options, run, token_for, with_client
from api.cli.safe_text import safe, safe_line
from stenograph_client import Channel, ChannelView, Client, ClientError, Event, FollowFailed, Signal, Snapshot, State

RETRY_S: Final = 120.0  # how long a message that was typed waits for a server that restarts
TYPING_EVERY_S: Final = 2.0
LEAVING_S: Final = 2.0  # for saying how far one has read
UNIT_NANOSECONDS: Final = 1e9


@click.command()
@options
def channels(target: Target) -> None:
    """List your channels, the one with the newest message first, with what you have not read."""

    async def work(client: Client) -> None:
        me = (await client.me()).id
        listed = await client.channels()
        for one in listed:
            at = one["last_message_at"] or one["created_at"]
            when = click.style(f"{datetime.fromtimestamp(at / UNIT_NANOSECONDS).astimezone():%Y-%m-%d %H:%M}", dim=True)
            counts = ((one["unread_count"], "new"), (one["unread_replies"], "replies"), (one["unread_mentions"], "mention you"))
            unread = ", ".join(f"{count} {of}" for count, of in counts if count)
            click.echo(f"{one['id']}  {when}  {safe_line(name_of(one, me))}" + (click.style(f"  {unread}", fg="yellow") if unread else ""))
        if not listed:
            click.secho("You are in no channel.", dim=True, err=True)

    run(with_client(target, work))


@click.command()
@click.argument("name")
@click.option("--shown", default=20, show_default=True, help="How many of the newest messages are shown at first, 50 at most.")
@options
def channel(target: Target, name: str, shown: int) -> None:
    """Be in the channel NAME: see what is said as it is said, and say something. `/help` there lists what can be typed.

    NAME is a channel's name or id, or `@PERSON` for the dm with a person. From a pipe each line is said, and nothing is shown.
    """

    async def work() -> None:
        token = await token_for(target)
        bottom = Bottom()
        async with client_for(target, token, retry_s=RETRY_S, on_state=bottom.on_state) as client:
            me = (await client.me()).id
            found = await channel_named(client, name, me)
            if not sys.stdin.isatty():
                for line in sys.stdin:
                    if line.strip():
                        await found.post(line.rstrip("\n"))
                return
            await Visit(client, found, Room(found, me, bottom.editor.above), bottom).stay(shown)

    run(work())


def name_of(one: dict[str, Any], me: str) -> str:
    """A channel's name; of a dm the others' names."""
    if one["type"] != "dm":
        return str(one["name"])
    others = [person["name"] for person in one.get("users") or [] if person["id"] != me]
    return "@" + ", ".join(others or ["yourself"])


async def channel_named(client: Client, name: str, me: str) -> Channel:
    """Raises ``Failed`` with what there is instead, if there is none or more than one of the name."""
    listed = await client.channels()
    wanted = name.strip().removeprefix("#").casefold()
    found = [one for one in listed if one["id"] == wanted] or [one for one in listed if name_of(one, me).casefold() == wanted]
    if len(found) == 1:
        return client.channel(found[0]["id"])
    lines = [f"  {one['id']}  {safe_line(name_of(one, me))}" for one in found or listed]
    if found:
        raise Failed("\n".join([f"Several channels are named {safe_line(name)}. Give the id of one:", *lines]))
    raise Failed("\n".join([f"You are in no channel {safe_line(name)}. You are in:", *lines]) if listed else "You are in no channel.")


class Bottom:
    """The line at the bottom, which also says whether the connection is lost."""

    def __init__(self) -> None:
        self.editor = LineEditor(self._write)
        self.connected = True
        self.typing = ""

    def _write(self, text: str) -> None:
        click.echo(text, nl=False)

    def on_state(self, state: State) -> None:
        self.connected = state.connected
        self.show()

    def show(self) -> None:
        """Draw it anew, where it has changed."""
        status = self.typing if self.connected else "[reconnecting …] "
        if status != self.editor.status:
            self.editor.status = status
            self.editor.show()


class Visit:
    """From entering a room to leaving it. Keys are read as they are typed; one line after the other is carried out."""

    def __init__(self, client: Client, channel: Channel, room: Room, bottom: Bottom) -> None:
        self._client = client
        self._channel = channel
        self._room = room
        self._bottom = bottom
        self._keyboard = Keyboard(bottom.editor, sys.stdin.fileno())
        self._said_typing_at = 0.0
        self._entered = False

    async def stay(self, shown: int) -> None:
        """Raises ``ClientError`` where the room may not be entered, or its access has ended."""
        loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
        with cbreak(keyboard):
            loop.add_reader(keyboard, self._keyboard.read)
            loop.add_signal_handler(signal.SIGWINCH, self._bottom.editor.show)
            tasks = [asyncio.create_task(self._watch(shown)), asyncio.create_task(self._carry_out())]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await self._note_read()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                loop.remove_reader(keyboard)
                loop.remove_signal_handler(signal.SIGWINCH)
                self._bottom.editor.hide()

    async def _note_read(self) -> None:
        """What was on the screen is read, also where the socket has not said so yet; without a server that is lost."""
        if self._entered:
            with contextlib.suppress(ClientError, TimeoutError):
                async with asyncio.timeout(LEAVING_S):
                    await self._channel.read(self._room.view.version)

    async def _watch(self, shown: int) -> None:
        async with contextlib.aclosing(self._channel.follow(snapshot=True, signals=True, on_call=self._keyboard.questions.ask)) as items:
            async for item in items:
                if isinstance(item, Snapshot):
                    self._room.begin(ChannelView(item), shown)
                    self._entered = True
                elif isinstance(item, Event):
                    self._room.on_event(item)
                elif isinstance(item, Signal):
                    self._room.on_signal(item)
                self._bottom.typing = self._room.status
                self._bottom.show()
                if self._entered and not isinstance(item, Signal):
                    read = {"op": "read", "stream": self._channel.stream, "version": self._room.view.version}
                    await self._client.say(read, about=self._channel.stream)

    async def _carry_out(self) -> None:
        while (line := await self._next_line()) is not None:
            try:
                await self._room.obey(line)
            except LeftRoom:
                return
            except FollowFailed:
                raise
            except ClientError as error:
                self._bottom.editor.above(click.style(safe(error_text(error)), fg="red"))
            except Failed as failed:
                self._bottom.editor.above(click.style(safe(failed.message), fg="red"))

    async def _next_line(self) -> str | None:
        """The next line that was typed; None at the end. Meanwhile the others see that something is typed."""
        loop = asyncio.get_running_loop()
        while self._keyboard.lines.empty():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TYPING_EVERY_S / 4):
                    return await self._keyboard.lines.get()
            if not self._bottom.editor.is_empty and loop.time() - self._said_typing_at > TYPING_EVERY_S:
                self._said_typing_at = loop.time()
                await self._channel.typing()
        return self._keyboard.lines.get_nowait()


@contextlib.contextmanager
def cbreak(keyboard: int) -> Iterator[None]:
    """Keys one by one and without echo, until the end of the block. Ctrl-C still interrupts."""
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
