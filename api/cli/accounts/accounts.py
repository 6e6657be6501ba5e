"""``steno login``, ``whoami``, ``user add``, and the lists that one looks things up in."""

import contextlib
import sys
from datetime import datetime

import msgspec
import rich_click as click

from api.cli.accounts.quotas import quota, show
from api.cli.login import (
    FIRST_CONTACT_RETRY_S,
    Failed,
    Target,
    options,
    read_logins,
    remember,
    run,
    sign_in_or_up,
    sign_up,
    with_client,
    write_logins,
)
from api.cli.prompts import ask_password
from api.cli.safe_text import safe_line
from stenograph_client import Account, Client, NotSignedIn

ROLES = ("admin", "user", "auditor", "analyst", "pending")


def password_from_stdin() -> str:
    return sys.stdin.readline().rstrip("\r\n")


@click.command()
@click.option("--sign-up", "new", is_flag=True, help="Make the account.")
@click.option("--name", help="With --sign-up: the name that others see. Default: what stands before the @.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@options
def login(target: Target, new: bool, name: str | None, password_stdin: bool) -> None:
    """Sign in, and keep the login in a file that only you can read."""
    if password_stdin:
        target = msgspec.structs.replace(target, password=password_from_stdin())

    async def work() -> Account:
        async with Client(target.url, token=target.token, retry_s=FIRST_CONTACT_RETRY_S) as client:
            if target.token is not None:
                account = await client.me()
                remember(target, target.token, account.email)
                return account
            account = await sign_up(client, target, name) if new else await sign_in_or_up(client, target)
            remember(target, account.token, account.email)
            return account

    account = run(work())
    click.echo(f"Signed in at {target.url} as {safe_line(account.name)} <{safe_line(account.email)}>, {account.role}.", err=True)
    if account.role == "pending":
        click.secho("An admin has to approve this account before it can be used.", fg="yellow", err=True)


@click.command()
@options
def logout(target: Target) -> None:
    """End the login, here and on the server."""
    logins = read_logins()
    known = logins.drop(target)
    if known is None:
        click.echo(f"You are not signed in at {target.url}.", err=True)
        return
    logins.last = None if logins.last == target.url else logins.last

    async def work() -> None:
        async with Client(target.url, token=known.token, retry_s=FIRST_CONTACT_RETRY_S) as client:
            with contextlib.suppress(NotSignedIn):  # it had ended already
                await client.http.post("/api/v1/auths/signout")

    try:
        run(work())
    finally:
        write_logins(logins)
    click.echo(f"Signed out of {target.url}.", err=True)


@click.command()
@options
def whoami(target: Target) -> None:
    """Say which account is used, and where."""

    async def work(client: Client) -> Account:
        return await client.me()

    account = run(with_client(target, work, may_ask=False))
    click.echo(f"{safe_line(account.name)} <{safe_line(account.email)}>, {account.role}, at {target.url}")
    if account.expires_at is not None:
        click.secho(f"until {datetime.fromtimestamp(account.expires_at).astimezone():%Y-%m-%d %H:%M}", dim=True, err=True)


@click.command()
@options
def models(target: Target) -> None:
    """List the models that can be asked."""

    async def work(client: Client) -> None:
        found = await client.models()
        for model in found:
            click.echo(safe_line(f"{model['id']:<24} {model.get('name', '')}"))
        if not found:
            click.secho("No model is configured on this server.", err=True)

    run(with_client(target, work))


@click.command()
@click.option("--page", type=click.IntRange(min=1), default=1, show_default=True, help="Of 60 chats each.")
@click.option("--folder", help="Only those in this folder and below it: its name, with case as you like, or its id.")
@click.option(
    "--search",
    "text",
    help='Only those in which this is found: words, "phrases", tag:NAME, folder:NAME, pinned:true, archived:true, shared:true.',
)
@options
def chats(target: Target, page: int, folder: str | None, text: str | None) -> None:
    """List your chats, the one that changed last first."""

    async def work(client: Client) -> None:
        folder_id = await folder_named(client, folder) if folder is not None else None
        if text is None:
            found = await client.chats(page, folder_id=folder_id)
        else:
            found = await client.search(text if folder_id is None else f"{text} folder:{folder_id} ", page)
        for chat in found:
            changed = datetime.fromtimestamp(chat["updated_at"]).astimezone()
            title = safe_line(chat["title"])
            click.echo(f"{chat['id']}  {click.style(f'{changed:%Y-%m-%d %H:%M}', dim=True)}  {title}")
            if chat.get("message_id") is not None:  # else it is the title that was found
                click.echo(f"    {safe_line(chat['snippet'])}")
        if not found:
            click.secho("No more chats." if page > 1 else "No chat yet." if text is None else "Nothing is found.", dim=True, err=True)

    run(with_client(target, work))


async def folder_named(client: Client, name: str) -> str:
    """The id of the folder. Raises ``Failed`` with what there is instead, if there is none or more than one of the name."""
    folders = await client.folders()
    found = [one for one in folders if one["id"] == name.lower() or one["name"].casefold() == name.strip().casefold()]
    if len(found) == 1:
        return str(found[0]["id"])
    names = {one["id"]: one["name"] for one in folders}
    lines = [f"  {one['id']}  {one['name']}" + (f"  in {names[one['parent_id']]}" if one["parent_id"] else "") for one in found or folders]
    if found:
        raise Failed("\n".join([f"Several folders are named {name}. Give the id of one:", *lines]))
    raise Failed("\n".join([f"You have no folder {name}. You have:", *lines]) if folders else f"You have no folder {name}, and no other.")


@click.group()
def user() -> None:
    """Accounts, for admins."""


@user.command()
@click.argument("email")
@click.option("--name", help="The name that others see. Default: what stands before the @.")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the new account's password from standard input.")
@click.option("--url", help="The server. Default: the one used last, else this machine's.")
@click.option("--token", help="An admin's token or API key, instead of the login that `steno login` keeps.")
def add(email: str, name: str | None, role: str, password_stdin: bool, url: str | None, token: str | None) -> None:
    """Make an account for EMAIL."""
    from api.cli.login import default_url

    if password_stdin:
        password = password_from_stdin()
    elif sys.stdin.isatty():
        password = ask_password("Password of the new account", again="Once more")
    else:
        raise click.UsageError("there is no terminal to ask for the password: use --password-stdin")
    if not password:
        raise click.UsageError("the password is empty")

    async def work(client: Client) -> Account:
        return await client.add_user(name or email.partition("@")[0], email, password, role)

    account = run(with_client(Target(url=(url or default_url()).rstrip("/"), token=token), work))
    click.echo(f"{safe_line(account.name)} <{safe_line(account.email)}> is here now, as {account.role}.", err=True)


user.add_command(show)
user.add_command(quota)
