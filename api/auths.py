"""``/api/v1/auths``: signing up, in and out, keys and tickets."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.authentication import COOKIE
from commands.account import TICKET_TTL_S, Accounts, Principal, SignedIn, actor_of, require_admin
from domain.user import UserRole

PICTURE: Final = "/user.png"

Text = Annotated[str, msgspec.Meta(max_length=2000)]


class SignUpIn(msgspec.Struct):
    name: Text
    email: Text
    password: Text


class SignInIn(msgspec.Struct):
    email: Text
    password: Text


class AddIn(msgspec.Struct):
    name: Text
    email: Text
    password: Text
    role: UserRole = "user"


class PasswordIn(msgspec.Struct):
    password: Text
    new_password: Text


class ProfileIn(msgspec.Struct):
    name: Text


class SessionOut(msgspec.Struct):
    token: str
    token_type: str
    expires_at: int | None
    id: UUID
    name: str
    email: str
    role: str
    profile_image_url: str = PICTURE


class UserOut(msgspec.Struct):
    id: UUID
    name: str
    email: str
    role: str
    profile_image_url: str = PICTURE


class TicketOut(msgspec.Struct):
    ticket: str
    expires_in: int  # seconds


class ApiKeyOut(msgspec.Struct):
    api_key: str | None


class DoneOut(msgspec.Struct):
    status: bool = True


def address_of(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client is not None else ""


def signed_in(session: SignedIn, request: Request[Any, Any, Any]) -> Response[SessionOut]:
    who = session.principal
    out = SessionOut(session.token, "Bearer", session.expires_at, who.user_id, who.name, who.email, who.role)
    # HttpOnly: no script reads it. Strict: no other site sends it.
    cookie = Cookie(COOKIE, value=session.token, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/")
    return Response(out, cookies=[cookie])


class AuthsController(Controller):
    path = "/api/v1/auths"
    tags = ("accounts",)

    @post("/signup", status_code=200)
    async def sign_up(
        self, data: JSONBody[SignUpIn], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> Response[SessionOut]:
        """Make an account and sign in. The first account becomes admin."""
        return signed_in(await accounts.sign_up(data.name, data.email, data.password, address=address_of(request)), request)

    @post("/signin", status_code=200)
    async def sign_in(
        self, data: JSONBody[SignInIn], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> Response[SessionOut]:
        """A token, and the same in the session cookie."""
        return signed_in(await accounts.sign_in(data.email, data.password, address=address_of(request)), request)

    @get("/")
    async def session(self, caller: NamedDependency[Principal], request: Request[Any, Any, Any]) -> SessionOut:
        """Who the caller is."""
        credential = request.headers.get("authorization", "").partition(" ")[2] or request.cookies.get(COOKIE, "")
        return SessionOut(credential, "Bearer", caller.expires_at, caller.user_id, caller.name, caller.email, caller.role)

    @get("/signout")
    async def sign_out_by_get(self, caller: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> Response[DoneOut]:
        """As the reference has it."""
        return await sign_out(caller, accounts)

    @post("/signout", status_code=200)
    async def sign_out(self, caller: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> Response[DoneOut]:
        """End this token, everywhere."""
        return await sign_out(caller, accounts)

    @post("/ticket", status_code=200)
    async def ticket(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> TicketOut:
        """A one-use ticket for a WebSocket that cannot send a header."""
        return TicketOut(await accounts.ticket(principal), int(TICKET_TTL_S))

    @post("/update/password", status_code=200)
    async def change_password(
        self, data: JSONBody[PasswordIn], caller: NamedDependency[Principal], accounts: NamedDependency[Accounts]
    ) -> bool:
        """Change the password. Every token issued before ends, this one too."""
        await accounts.change_password(caller, data.password, data.new_password)
        return True

    @post("/update/profile", status_code=200)
    async def change_profile(
        self, data: JSONBody[ProfileIn], caller: NamedDependency[Principal], accounts: NamedDependency[Accounts]
    ) -> UserOut:
        """Change the name."""
        return shown(await accounts.rename(caller, data.name))

    @get("/api_key")
    async def api_key(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> ApiKeyOut:
        """Whether there is a key. It was shown once, when it was made: only its hash is kept."""
        account = await accounts.account(principal.user_id)
        return ApiKeyOut("sk-…" if account.api_keys else None)

    @post("/api_key", status_code=200)
    async def create_api_key(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> ApiKeyOut:
        """A new key, shown this once. One made before ends with it."""
        await accounts.revoke_api_keys(principal)
        return ApiKeyOut(await accounts.create_api_key(principal))

    @delete("/api_key", status_code=200)
    async def revoke_api_key(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> bool:
        """End the keys, everywhere."""
        await accounts.revoke_api_keys(principal)
        return True

    @post("/add", status_code=200)
    async def add(self, data: JSONBody[AddIn], principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> UserOut:
        """Make an account for somebody else (admin)."""
        require_admin(principal)
        user_id = await accounts.add(data.name, data.email, data.password, data.role, by=actor_of(principal))
        account = await accounts.account(user_id)
        return UserOut(user_id, account.name, account.email, account.role)


async def sign_out(caller: Principal, accounts: Accounts) -> Response[DoneOut]:
    await accounts.sign_out(caller)
    return Response(DoneOut(), cookies=[Cookie(COOKIE, value="", max_age=0, httponly=True, samesite="strict", path="/")])


def shown(caller: Principal) -> UserOut:
    return UserOut(caller.user_id, caller.name, caller.email, caller.role)
