"""``steno tail``: a stream's events as they come, for ever."""

import contextlib
from datetime import UTC
from typing import Final

import msgspec
import rich_click as click

from api.cli.login import Target, chat_stream, options, run, with_client
from api.cli.safe_text import safe_json, safe_line
from stenograph_client import CaughtUp, Client, Event, State, parse_cursor

SUMMARY_CHARACTERS: Final = 100
FIRST: Final = frozenset({"title", "role", "model", "content", "code", "detail", "finish_reason", "name", "rating"})


def summary(event: Event) -> str:
    """The facts of one event in a line."""
    data = event.data
    if event.type == "message_delta" and isinstance(data, dict):
        said = msgspec.json.encode(data.get("text", "")).decode()
    elif isinstance(data, dict):
        # What a person looks for first; the long rest of ids and sums is cut off here, and whole with --json.
        ordered = sorted(data, key=lambda name: name not in FIRST)
        said = "  ".join(f"{name}={format_value(data[name])}" for name in ordered if data[name] not in (None, "", {}, []))
    else:
        said = format_value(data)
    return said if len(said) <= SUMMARY_CHARACTERS else said[: SUMMARY_CHARACTERS - 1] + "…"


def format_value(value: object) -> str:
    return msgspec.json.encode(value).decode()


def line_of(event: Event) -> str:
    """``version  time  who  type  message  facts``; the time is local."""
    at = event.at.replace(tzinfo=event.at.tzinfo or UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    who = safe_line(event.user.name) if event.user is not None else "·"
    message = event.message_id[-6:] if event.message_id is not None else ""
    version, kind = click.style(f"{event.version:>6}", dim=True), click.style(f"{safe_line(event.type):<16}", fg="cyan")
    return f"{version} {at} {who[:12]:<12} {kind} {click.style(f'{message:<6}', dim=True)} {safe_line(summary(event))}"


def json_of(event: Event) -> str:
    return safe_json(msgspec.json.encode({**msgspec.to_builtins(event), "cursor": event.cursor}).decode())


def cursor(_: click.Context, __: click.Parameter, value: str) -> str:
    if value not in ("start", "now"):
        try:
            parse_cursor(value)
        except ValueError as error:
            raise click.BadParameter(f"{error}, or start or now") from None
    return value


@click.command()
@click.argument("stream")
@click.option("--after", default="now", show_default=True, callback=cursor, help="`start`, `now`, or a cursor (epoch:version) of before.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines; each has the `cursor` to go on from.")
@options
def tail(target: Target, stream: str, after: str, as_json: bool) -> None:
    """Show the events of STREAM as they happen; when the connection is lost, go on where it was.

    STREAM is `chat/UUID`, a chat's id, `last` (your newest chat), or `me` (your own user stream). Ctrl-C ends it.
    """
    lost = False

    def note(state: State) -> None:
        nonlocal lost
        if state.connected and lost:
            click.secho("[back]", dim=True, err=True)
        elif not state.connected and not lost:
            click.secho(f"[connection lost ({safe_line(str(state.reason))}); reconnecting …]", dim=True, err=True)
        lost = not state.connected

    async def follow(client: Client) -> None:
        named = await chat_stream(client, stream)
        async with contextlib.aclosing(client.follow(named, after, caught_up=True)) as items:
            async for item in items:
                if isinstance(item, Event):
                    click.echo(json_of(item) if as_json else line_of(item))
                elif isinstance(item, CaughtUp) and not as_json and not lost:
                    click.secho(f"[caught up at {item.cursor}; waiting for more]", dim=True, err=True)

    run(with_client(target, follow, on_state=note))
