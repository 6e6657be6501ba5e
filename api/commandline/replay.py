"""``steno replay``: a chat as it happened, at the pace it happened."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Final

import rich_click as click

from api.commandline.lanes import COLOURS, Lanes, Part
from api.commandline.place import Failed, Place, chat_stream, options, run, with_client
from api.commandline.screen import Wrap
from client import Client, Event

MAX_GAP_S: Final = 2.0


class Pace:
    """When each event is due, in seconds from the first. Kept as a sum, so that short waits do not add up their errors."""

    def __init__(self, speed: float, max_gap_s: float) -> None:
        self._speed, self._max_gap_s = speed, max_gap_s
        self._last_at: float | None = None
        self.due_s = 0.0

    def of(self, event: Event) -> float:
        at = event.at.timestamp()
        if self._last_at is not None and self._speed > 0:
            self.due_s += min(self._max_gap_s, max(0.0, at - self._last_at) / self._speed)
        self._last_at = at
        return self.due_s


def write(part: Part, wrap: Wrap | None) -> None:
    colour = COLOURS[part.lane % len(COLOURS)] if part.lane is not None else None
    text = part.text if wrap is None else wrap.of(part.text)
    click.echo(click.style(text, fg=colour, dim=part.dim or None), nl=False)


async def play(events: AsyncIterator[Event], pace: Pace, until: int | None) -> int:
    """Show the events when they are due. Returns the last version shown."""
    loop = asyncio.get_running_loop()
    lanes = Lanes()
    wrap = Wrap() if sys.stdout.isatty() else None
    began = loop.time()
    shown = 0
    async for event in events:
        if until is not None and event.version > until:
            break
        due = began + pace.of(event)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        for part in lanes.feed(event):
            write(part, wrap)
        shown = event.version
    for part in lanes.rest():
        write(part, wrap)
    return shown


@click.command()
@click.argument("chat")
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Times as fast; 0: no waiting at all.")
@click.option("--until", type=click.IntRange(min=1), metavar="VERSION", help="Stop after this version: the chat as it was then.")
@click.option("--max-gap", type=click.FloatRange(min=0), default=MAX_GAP_S, show_default=True, metavar="SECONDS", help="No wait is longer.")
@options
def replay(place: Place, chat: str, speed: float, until: int | None, max_gap: float) -> None:
    """Play CHAT (an id, or `last`) as it happened: every token at its original pace, edits, deletes and ends where they were."""

    async def work(client: Client) -> None:
        stream = await chat_stream(client, chat)
        shown = await play(client.events(stream), Pace(speed, max_gap), until)
        if not shown:
            raise Failed(f"{stream} has no events.")
        click.secho(f"\n── version {shown}", dim=True)

    run(with_client(place, work))
