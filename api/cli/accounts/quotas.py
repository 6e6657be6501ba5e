"""``steno user show`` and ``steno user quota``: what an account has, and what it may have."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import rich_click as click

from api.cli.login import Failed, Target, default_url, run, with_client
from stenograph_client import Client

DEFAULT: Final = "default"
NAMES: Final = {
    "chats": "chats",
    "storage_bytes": "storage",
    "bytes_a_day": "written today",
    "runs": "answers at once",
    "connections": "live connections",
}
BYTES: Final = frozenset({"storage_bytes", "bytes_a_day"})
UNITS: Final[Sequence[str]] = ("B", "KiB", "MiB", "GiB", "TiB")


def of_account(command: Callable[..., None]) -> Callable[..., None]:
    """EMAIL, and where to ask."""
    for decorate in (
        click.option("--token", help="An admin's token or API key, instead of the login that `steno login` keeps."),
        click.option("--url", help="The server. Default: the one used last, else this machine's."),
        click.argument("email"),
    ):
        command = decorate(command)
    return command


@click.command()
@of_account
def show(email: str, url: str | None, token: str | None) -> None:
    """Say what the account of EMAIL has, and may have. Your own, or any for an admin."""

    async def work(client: Client) -> None:
        account = await account_of(client, email)
        print_account(account, await client.http.get(f"/api/v1/users/{account['id']}/quotas"))

    run(with_client(target(url, token), work))


@click.command()
@click.option("--chats", help="How many chats its list may hold.")
@click.option("--storage-bytes", help="What its chats may take.")
@click.option("--bytes-a-day", help="What it may write from midnight to midnight UTC.")
@click.option("--runs", help="How many answers it may have generated at once.")
@click.option("--connections", help="How many live connections it may have to one server process.")
@of_account
def quota(email: str, url: str | None, token: str | None, **given: str | None) -> None:
    """Change what the account of EMAIL may have (admin). `default`: what every account may have."""
    quotas = {name: number_of(name, text) for name, text in given.items() if text is not None}
    if not quotas:
        raise click.UsageError("there is nothing to change: give at least one quota")

    async def work(client: Client) -> None:
        account = await account_of(client, email)
        print_account(account, await client.http.post(f"/api/v1/users/{account['id']}/quotas", quotas))

    run(with_client(target(url, token), work))


def target(url: str | None, token: str | None) -> Target:
    return Target(url=(url or default_url()).rstrip("/"), token=token)


def number_of(name: str, text: str) -> int | None:
    if text == DEFAULT:
        return None
    if not text.isdecimal():
        raise click.UsageError(f"expected a whole number or {DEFAULT} for --{name.replace('_', '-')}, received {text}")
    return int(text)


async def account_of(client: Client, email: str) -> dict[str, Any]:
    """Raises ``Failed`` where there is no such account."""
    own = await client.me()
    wanted = email.strip().lower()
    if own.email == wanted:
        return {"id": own.id, "name": own.name, "email": own.email, "role": own.role}
    page, seen = 1, 0
    while True:
        found = await client.http.get("/api/v1/users/", page=page)
        for account in found["users"]:
            if account["email"] == wanted:
                return dict(account)
        seen += len(found["users"])
        if not found["users"] or seen >= found["total"]:
            raise Failed(f"Nobody here has the address {email}.")
        page += 1


def print_account(account: dict[str, Any], quotas: dict[str, dict[str, int]]) -> None:
    ended = ", deactivated" if account.get("deactivated") else ""
    click.echo(f"{account['name']} <{account['email']}>, {account['role']}{ended}")
    for name, words in NAMES.items():
        shown = in_bytes if name in BYTES else "{:,}".format
        click.echo(f"  {words:<18} {shown(quotas[name]['used']):>12} of {shown(quotas[name]['limit'])}")


def in_bytes(size: int) -> str:
    amount, unit = float(size), 0
    while amount >= 1024 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit else f"{size} B"
