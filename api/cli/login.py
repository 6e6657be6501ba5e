"""Which server is meant, and who one is there: options, the file of logins, and the way in for a newcomer."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click

from api.cli.prompts import ask, ask_password, confirm
from api.cli.safe_text import safe
from api.running import running_servers, server_of_data, server_of_folder
from stenograph_client import Account, ApiError, Client, ClientError, NotSignedIn, State

FILE_NAME: Final = "login.json"
FIRST_CONTACT_RETRY_S: Final = 0.0  # whether anybody is there is known at once
T = TypeVar("T")


class Failed(click.ClickException):
    """A failure in words for the person who typed the command. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.secho(safe(self.message), fg="red", err=True)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say. Nothing of it is certain before ``token_for``."""

    url: str
    data: str | None = None  # the data folder of a server that this user runs on this machine
    token: str | None = None
    email: str | None = None
    password: str | None = None


class Login(msgspec.Struct):
    token: str
    email: str = ""
    model: str | None = None  # asked last


class Logins(msgspec.Struct):
    last: str | None = None  # the URL that was used last
    # By the data folder where that is known, so that a login outlives the port; by the URL of any other server.
    at: dict[str, Login] = {}

    def of(self, target: Target) -> Login | None:
        """The login at this server. ``localhost`` and ``127.0.0.1`` are one."""
        key = self._key(target)
        return self.at[key] if key is not None else None

    def put(self, target: Target, login: Login) -> None:
        self.drop(target)
        self.at[target.data or target.url] = login

    def drop(self, target: Target) -> Login | None:
        key = self._key(target)
        return self.at.pop(key) if key is not None else None

    def _key(self, target: Target) -> str | None:
        if target.data is not None and target.data in self.at:
            return target.data
        return next((known for known in self.at if same_server(known, target.url)), None)


def same_server(one: str, other: str) -> bool:
    return one.replace("://localhost", "://127.0.0.1", 1) == other.replace("://localhost", "://127.0.0.1", 1)


def login_file() -> Path:
    return Path(click.get_app_dir("stenograph")) / FILE_NAME


def read_logins() -> Logins:
    try:
        return msgspec.json.decode(login_file().read_bytes(), type=Logins)
    except FileNotFoundError:
        return Logins()
    except (msgspec.DecodeError, OSError) as error:
        raise Failed(f"{login_file()} cannot be read ({error}). Delete it and sign in again: steno login") from None


def write_logins(logins: Logins) -> None:
    """Whole or not at all, and never readable by others: not even for the moment before a chmod."""
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=FILE_NAME)  # made with 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(logins)))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remember(target: Target, token: str, email: str) -> None:
    logins = read_logins()
    known = logins.of(target)
    logins.put(target, Login(token, email, known.model if known is not None else None))
    logins.last = target.url
    write_logins(logins)


def remembered_model(target: Target) -> str | None:
    known = read_logins().of(target)
    return known.model if known is not None else None


def remember_model(target: Target, model: str) -> None:
    logins = read_logins()
    known = logins.of(target)
    if known is not None and known.model != model:
        known.model = model
        write_logins(logins)


def default_url() -> str:
    """The server that runs with this folder or its settings; else the one that was used last, or that would be started here."""
    from api.settings import Settings, SettingsError  # only here: most commands need no settings
    from api.settings_loading import load

    try:
        settings = load()
    except SettingsError:
        settings = Settings()  # a client has no business complaining about the server's settings
    here = server_of_data(settings.data) if settings.data != Settings().data else server_of_folder()
    if here is not None:
        return here.url
    last = read_logins().last
    if last is not None:
        return last
    elsewhere = server_of_data(settings.data)
    return elsewhere.url if elsewhere is not None else f"http://localhost:{settings.port or Settings().port}"


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The four options that say where and who, handed on as one ``target``."""

    def with_target(url: str | None, token: str | None, email: str | None, password: str | None, **rest: Any) -> None:
        address = (url or default_url()).rstrip("/")
        if not address.startswith(("http://", "https://")):
            address = f"http://{address}"
        if password is not None and email is None:
            raise click.UsageError("--password needs --email")
        data = next((server.data for server in running_servers() if same_server(server.url, address)), None)
        command(target=Target(url=address, data=data, token=token, email=email, password=password), **rest)

    with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
    with_target.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # where click keeps them
    for option in (
        click.option("--password", help="Its password; asked for when it is needed and absent."),
        click.option("--email", help="Sign in with this account."),
        click.option("--token", help="A token or an API key, instead of the login that `steno login` keeps."),
        click.option("--url", help="The server. Default: the one that was started in this folder, else the one used last."),
    ):
        option(with_target)
    return with_target


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, with failures in words. Raises ``Failed``; ``KeyboardInterrupt`` becomes click's ``Abort``."""
    try:
        return asyncio.run(work)
    except ClientError as error:
        raise Failed(error_text(error)) from None


def error_text(error: ClientError) -> str:
    from stenograph_client import AccessEnded, CursorGone, EpochChanged, Forbidden, NotFound, ServerUnreachable

    match error:
        case ServerUnreachable():
            return (
                f"Nothing answers at {error.url} ({error.reason}).\n"
                "Is the server running? Start it in another terminal:  steno serve\n"
                "Or name another one:  --url http://HOST:PORT"
            )
        case ApiError(code="chat_not_found" | "stream_not_found"):
            return f"{sentence(error.detail)}\nYour chats:  steno chats"
        case NotSignedIn():
            return f"{sentence(error.detail)}\nSign in:  steno login"
        case ApiError(code="model_not_found"):
            return f"{sentence(error.detail)}\nWhat this server has:  steno models"
        case EpochChanged() | CursorGone():
            return f"{sentence(str(error))}\nThe log was restored since that cursor was saved. Begin anew:  --after start"
        case Forbidden() | NotFound() | AccessEnded():
            return sentence(getattr(error, "detail", str(error)))
        case ApiError():
            return f"{sentence(error.detail)} (HTTP {error.status})"
        case _:
            return sentence(str(error))


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def client_for(target: Target, token: str | None, *, retry_s: float = 10.0, on_state: Callable[[State], None] | None = None) -> Client:
    """A client that is signed in with what ``token_for`` returned."""
    if target.email is not None and target.password is not None:
        return Client(target.url, token=token, email=target.email, password=target.password, retry_s=retry_s, on_state=on_state)
    return Client(target.url, token=token, retry_s=retry_s, on_state=on_state)


async def with_client(
    target: Target, work: Callable[[Client], Awaitable[T]], *, on_state: Callable[[State], None] | None = None, may_ask: bool = True
) -> T:
    """Enter, do ``work``, close. Without ``may_ask`` nobody is asked for a password: who is not signed in is told so."""
    token = await token_for(target, may_ask=may_ask)
    async with client_for(target, token, on_state=on_state) as client:
        return await work(client)


async def token_for(target: Target, *, may_ask: bool = True) -> str:
    """A token that works: the one given, the one kept, or that of a new sign-in or sign-up, which is then kept.

    Raises ``Failed``, ``ClientError``.
    """
    async with Client(target.url, retry_s=FIRST_CONTACT_RETRY_S) as client:
        if target.token is not None:
            client.credentials.token = target.token
            await client.me()
            return target.token
        kept = read_logins().of(target)
        if kept is not None and target.email in (None, kept.email):
            client.credentials.token = kept.token
            try:
                await client.me()
            except NotSignedIn:
                client.credentials.token = None
                if target.password is None:
                    if not (may_ask and interactive()):
                        raise Failed(f"Your login at {target.url} has ended. Sign in again:  steno login") from None
                    click.echo(f"Your login at {target.url} has ended.", err=True)
            else:
                remember(target, kept.token, kept.email)
                return kept.token
        if not may_ask and (target.email is None or target.password is None):
            raise Failed(f"You are not signed in at {target.url}.\nSign in:  steno login")
        account = await sign_in_or_up(client, target, kept.email if kept is not None else None)
        remember(target, account.token, account.email)
        return account.token


async def sign_in_or_up(client: Client, target: Target, known_email: str | None = None) -> Account:
    """Sign in; on a server without any account, sign up. Asks for what was not given, if there is somebody to ask."""
    fresh = await is_fresh(client)
    if fresh:
        if target.email is None and not interactive():
            raise Failed(f"The server at {target.url} is new: make its first account.  steno login --email YOU@EXAMPLE.ORG --password …")
        click.echo(f"The server at {target.url} is new. Make its first account, which is its admin's:", err=True)
        return await sign_up(client, target)
    if target.email is not None and target.password is not None:
        return await client.sign_in(target.email, target.password)
    if not interactive():
        raise Failed(f"You are not signed in at {target.url}.\nSign in once:  steno login\nOr pass --token, or --email and --password.")
    click.echo(f"Sign in at {target.url}:", err=True)
    email = target.email or ask("E-mail", default=known_email, checked=an_email)
    password = target.password or ask_password()
    try:
        return await client.sign_in(email, password)
    except ApiError as refused:
        if refused.code != "wrong_credentials":
            raise
        click.secho(safe(sentence(refused.detail)), fg="red", err=True)
        if not confirm("Is this a new account? Make it"):
            raise Failed("Not signed in. Try again:  steno login") from None
        return await sign_up(client, msgspec.structs.replace(target, email=email, password=password))


def an_email(typed: str) -> str:
    """What was typed, if it can be an address: it is asked for again at once, not after the password."""
    name, _, host = typed.strip().rpartition("@")
    if not name or not host or any(character.isspace() for character in typed.strip()):
        raise click.UsageError(f"{typed.strip()!r} is no e-mail address")
    return typed.strip()


async def sign_up(client: Client, target: Target, name: str | None = None) -> Account:
    email = target.email or ask("E-mail", checked=an_email)
    if name is None:
        guess = email.partition("@")[0]
        name = ask("Your name", default=guess) if interactive() else guess
    password = target.password
    while password is None:
        password = ask_password(again="Once more")
        try:
            return await client.sign_up(name, email, password)
        except ApiError as refused:
            # What can be put right by typing again is asked again.
            if refused.status != 400 or "password" not in refused.detail:
                raise
            click.secho(safe(sentence(refused.detail)), fg="red", err=True)
            password = None
    return await client.sign_up(name, email, password)


async def is_fresh(client: Client) -> bool:
    """Whether this server's log is empty: then the server has no account. Raises ``Failed`` where the server does not say."""
    stranger = Failed(f"What answers at {client.http.base_url} is no Stenograph server. Name another one:  --url http://HOST:PORT")
    try:
        state = await client.http.request("GET", "/ready", signed=False)
    except ApiError as refused:
        if refused.status == 503:
            raise Failed(f"The server at {client.http.base_url} is not ready to sign anybody in. Try again in a moment.") from None
        if refused.status < 500 and not refused.code:
            raise stranger from None
        return False
    if not isinstance(state, dict) or "head" not in state:
        raise stranger
    return bool(state["head"] == 0)


async def chat_named(client: Client, named: str) -> str:
    """The id of a chat that this account may read, as a person typed it: an id, or ``last``. Raises ``Failed``."""
    stream = await chat_stream(client, named)
    chat_id = stream.removeprefix("chat/")
    try:
        await client.chat(chat_id)
    except ApiError as refused:
        if refused.code != "chat_not_found":
            raise
        raise Failed(f"You have no chat {named!r}.\nYour chats:  steno chats") from None
    return chat_id


async def chat_stream(client: Client, named: str) -> str:
    """``kind/uuid`` of what a person typed: that itself, a chat's id, ``last`` (the newest chat) or ``me`` (the own user stream)."""
    if named == "last":
        chats = await client.chats(page=1)
        if not chats:
            raise Failed("You have no chats yet. Begin one:  steno chat")
        return f"chat/{chats[0]['id']}"
    if named == "me":
        return f"user/{(await client.me()).id}"
    return named if "/" in named else f"chat/{named}"
