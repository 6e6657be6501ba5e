"""``steno key``: the API keys of an account. ``steno session``: where it is signed in."""

import re
import time
from datetime import datetime
from typing import Any, Final

import rich_click as click

from api.cli.login import Failed, Target, options, run, with_client
from api.cli.safe_text import safe_line
from stenograph_client import Client

SCOPES: Final = ("read", "chat", "account", "admin")
UNITS_S: Final = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
SPAN: Final = re.compile(r"([1-9]\d{0,4})([hdwy])")
KEYS: Final = "/api/v1/auths/keys"
SESSIONS: Final = "/api/v1/auths/sessions"


class Span(click.ParamType[int]):
    """How long something is to hold, in seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        matched = SPAN.fullmatch(str(value).strip())
        if matched is None:
            self.fail(f"expected a number and h, d, w or y, such as 90d, not {value!r}", param, ctx)
        return int(matched[1]) * UNITS_S[matched[2]]


def day(seconds: int | None, missing: str) -> str:
    return missing if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


@click.group()
def key() -> None:
    """API keys: one for each program that uses this account."""


@key.command()
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it may do. Default: all that you may.")
@click.option("--expires", "expires_s", type=Span(), metavar="SPAN", help="How long it holds, such as 12h, 90d or 1y.")
@options
def create(target: Target, name: str, scopes: tuple[str, ...], expires_s: int | None) -> None:
    """Make a key named NAME and print it, this once. Other keys stay."""
    body = {"name": name, "scopes": list(scopes) or None, "expires_at": None if expires_s is None else int(time.time()) + expires_s}

    async def work(client: Client) -> dict[str, Any]:
        return dict(await client.http.post(KEYS, body))

    made = run(with_client(target, work))
    click.echo(made["api_key"])
    click.secho("Keep it now: it is not shown again.", dim=True, err=True)


@key.command("list")
@options
def list_keys(target: Target) -> None:
    """List your keys."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return list(await client.http.get(KEYS))

    found = run(with_client(target, work))
    for one in found:
        scopes = "everything" if one["scopes"] is None else ",".join(one["scopes"])
        until, used = day(one["expires_at"], "no end"), day(one["last_used_at"], "never")
        click.echo(f"{one['id']}  {safe_line(one['name']) or '(no name)'}  {scopes}  until {until}  last used {used}")
    if not found:
        click.secho("No key yet. Make one:  steno key create NAME", dim=True, err=True)


@key.command()
@click.argument("name")
@options
def revoke(target: Target, name: str) -> None:
    """End the key NAME (or its id), everywhere and at once."""

    async def work(client: Client) -> None:
        found = [one["id"] for one in await client.http.get(KEYS) if name in (one["id"], one["name"])]
        if not found:
            raise Failed(f"You have no key {name}. List them:  steno key list")
        for key_id in found:
            await client.http.request("DELETE", f"{KEYS}/{key_id}")

    run(with_client(target, work))
    click.echo(f"The key {name} has ended.", err=True)


@click.group()
def session() -> None:
    """Where this account is signed in."""


@session.command("list")
@options
def list_sessions(target: Target) -> None:
    """List the sign-ins that still hold."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return list(await client.http.get(SESSIONS))

    for one in run(with_client(target, work)):
        here = "  (this one)" if one["current"] else ""
        last = day(one["last_used_at"], "just now" if one["current"] else "never")
        client = f"{safe_line(one['address'])}  {safe_line(one['user_agent'])}"
        click.echo(f"{one['id']}  since {day(one['created_at'], '')}  last used {last}  {client}{here}")


@session.command("end")
@click.argument("session_id", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Sign out everywhere, here too.")
@click.option("--revoke-keys", is_flag=True, help="With --all: end the API keys as well.")
@options
def end_session(target: Target, session_id: str | None, everywhere: bool, revoke_keys: bool) -> None:
    """End the sign-in SESSION_ID, or with --all every one."""
    if everywhere == (session_id is not None) or (revoke_keys and not everywhere):
        raise click.UsageError("name a sign-in of `steno session list`, or use --all")

    async def work(client: Client) -> None:
        params = {"revoke_keys": "true"} if revoke_keys else None
        await client.http.request("DELETE", SESSIONS if everywhere else f"{SESSIONS}/{session_id}", params=params)

    run(with_client(target, work))
    click.echo("Signed out everywhere. Sign in again:  steno login" if everywhere else "Signed out there.", err=True)
