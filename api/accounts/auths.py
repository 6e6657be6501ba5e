"""``/api/v1/auths``: signing up, in and out, passwords and tickets.

No route here takes a ``Caller``, whose idempotency key would keep a fast hash of a body that holds a password.
``any_principal`` is for the routes that are open to accounts which wait for their approval.
"""

import contextlib
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.request.authentication import COOKIE, PUBLIC, bearer_of, credential_of
from commands.accounts.accounts import Accounts
from commands.accounts.authentication import TICKET_TTL_S, Authentication
from commands.accounts.passwords import Passwords
from commands.accounts.principal import Principal, actor_of
from commands.accounts.registration import Registration
from commands.accounts.sessions import Sessions, SignedIn
from commands.security_log import about
from domain.accounts.user.commands import ChangeSettings
from domain.accounts.user.facts import UserRole
from domain.accounts.user.state import Account
from domain.errors import AccountInactive, Forbidden, NotAuthenticated

Text = Annotated[str, msgspec.Meta(max_length=2000)]
Picture = Annotated[str, msgspec.Meta(max_length=64 * 1024)]

# The bodies of the reference's own page hold more than this server knows: what is not named here is not refused.


class SignUpIn(msgspec.Struct):
    name: Text
    email: Text
    password: Text
    profile_image_url: Picture | None = None


class SignInIn(msgspec.Struct):
    email: Text
    password: Text


class AddIn(msgspec.Struct):
    name: Text
    email: Text
    password: Text
    role: UserRole = "pending"  # as in the reference: the admin says who may come in
    profile_image_url: Picture | None = None


class PasswordIn(msgspec.Struct):
    password: Text
    new_password: Text
    revoke_keys: bool = True


class TimezoneIn(msgspec.Struct):
    timezone: Annotated[str, msgspec.Meta(max_length=100)]  # as the browser names it: "Europe/Berlin"


class ProfileIn(msgspec.Struct):
    name: Text
    profile_image_url: Picture | None = None
    bio: Text | None = None
    gender: Text | None = None
    date_of_birth: Text | None = None


class SessionOut(msgspec.Struct):
    token: str  # empty for a caller known by the cookie: what no script may read is not handed to one
    token_type: str
    expires_at: int | None  # seconds since 1970
    id: UUID
    name: str
    email: str
    role: str
    profile_image_url: str
    permissions: dict[str, Any] = {}


class UserOut(msgspec.Struct):
    id: UUID
    name: str
    email: str
    role: str
    profile_image_url: str
    deactivated: bool = False


class TicketOut(msgspec.Struct):
    ticket: str
    expires_in: int  # seconds


class DoneOut(msgspec.Struct):
    status: bool = True


class AuthsController(Controller):
    path = "/api/v1/auths"
    tags = ("accounts",)

    @post("/signup", status_code=200, opt={PUBLIC: True})
    async def sign_up(
        self, data: JSONBody[SignUpIn], request: Request[Any, Any, Any], registration: NamedDependency[Registration]
    ) -> Response[SessionOut]:
        """Make an account and sign in. The first account becomes admin."""
        fields = profile(profile_image_url=data.profile_image_url)
        made = await registration.sign_up(
            data.name, data.email, data.password, fields=fields, address=address_of(request), user_agent=user_agent_of(request)
        )
        return signed_in(made, request)

    @post("/signin", status_code=200, opt={PUBLIC: True})
    async def sign_in(
        self, data: JSONBody[SignInIn], request: Request[Any, Any, Any], passwords: NamedDependency[Passwords]
    ) -> Response[SessionOut]:
        """A token, and the same in the session cookie."""
        address, user_agent = address_of(request), user_agent_of(request)
        return signed_in(await passwords.sign_in(data.email, data.password, address=address, user_agent=user_agent), request)

    @get("/")
    async def session(
        self, any_principal: NamedDependency[Principal], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> SessionOut:
        """Who the caller is."""
        account = await accounts.account(any_principal.user_id)
        return session_of(bearer_of(request.headers) or "", any_principal.expires_at, any_principal.user_id, account)

    @get("/signout", opt={PUBLIC: True})
    async def sign_out_by_get(
        self, request: Request[Any, Any, Any], authentication: NamedDependency[Authentication], sessions: NamedDependency[Sessions]
    ) -> Response[DoneOut]:
        """As the reference has it. A browser that only looks for a picture or a frame at this address signs nobody out."""
        if request.headers.get("sec-fetch-dest", "empty") not in ("empty", "document"):
            raise Forbidden("a picture or a frame of a page signs nobody out")
        return await signed_out(request, authentication, sessions)

    @post("/signout", status_code=200, opt={PUBLIC: True})
    async def sign_out(
        self, request: Request[Any, Any, Any], authentication: NamedDependency[Authentication], sessions: NamedDependency[Sessions]
    ) -> Response[DoneOut]:
        """End this token, everywhere, and forget the cookie. One that has ended already is signed out."""
        return await signed_out(request, authentication, sessions)

    @post("/ticket", status_code=200)
    async def ticket(self, principal: NamedDependency[Principal], authentication: NamedDependency[Authentication]) -> TicketOut:
        """A one-use ticket for a WebSocket that cannot send a header."""
        return TicketOut(await authentication.ticket(principal), int(TICKET_TTL_S))

    @post("/update/password", status_code=200)
    async def change_password(
        self, data: JSONBody[PasswordIn], any_principal: NamedDependency[Principal], passwords: NamedDependency[Passwords]
    ) -> bool:
        """Change the password. Every token issued before ends, this one too, and every API key unless ``revoke_keys`` is false."""
        await passwords.change(any_principal, data.password, data.new_password, revoke_keys=data.revoke_keys)
        return True

    @post("/update/profile", status_code=200)
    async def change_profile(
        self, data: JSONBody[ProfileIn], any_principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]
    ) -> UserOut:
        """Change the name, the picture, and what else one says of oneself."""
        fields = profile(profile_image_url=data.profile_image_url, bio=data.bio, gender=data.gender, date_of_birth=data.date_of_birth)
        account = await accounts.change_profile(any_principal, data.name, fields)
        return user_of(any_principal.user_id, account)

    @post("/update/timezone", status_code=200)
    async def change_timezone(
        self, data: JSONBody[TimezoneIn], any_principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]
    ) -> DoneOut:
        """Keep the caller's time zone among their settings."""
        command = ChangeSettings(user_id=any_principal.user_id, fields={"timezone": data.timezone})
        await accounts.handle(command, actor=actor_of(any_principal))
        return DoneOut()

    @post("/add", status_code=200)
    async def add(
        self, data: JSONBody[AddIn], principal: NamedDependency[Principal], registration: NamedDependency[Registration]
    ) -> UserOut:
        """Make an account for another person (admin). The response holds no token: they sign in themselves."""
        fields = profile(profile_image_url=data.profile_image_url)
        user_id, account = await registration.add(principal, data.name, data.email, data.password, data.role, fields=fields)
        about(target=user_id, new_role=data.role)
        return user_of(user_id, account)


def address_of(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client is not None else ""


def user_agent_of(request: Request[Any, Any, Any]) -> str:
    return request.headers.get("user-agent", "")


def profile(**fields: str | None) -> dict[str, str]:
    """What was given."""
    return {name: value for name, value in fields.items() if value is not None}


def signed_in(session: SignedIn, request: Request[Any, Any, Any]) -> Response[SessionOut]:
    about(account=session.principal.user_id, role=session.principal.role)
    out = session_of(session.token, session.expires_at, session.principal.user_id, session.account)
    return Response(out, cookies=[cookie(request, session.token, session.lifetime_s)])


async def signed_out(request: Request[Any, Any, Any], authentication: Authentication, sessions: Sessions) -> Response[DoneOut]:
    credential = credential_of(request)
    if credential is not None:
        with contextlib.suppress(NotAuthenticated, AccountInactive):  # it has ended already
            await sessions.sign_out(await authentication.authenticate(credential))
    return Response(DoneOut(), cookies=[cookie(request, "", 0)])


def cookie(request: Request[Any, Any, Any], token: str, max_age: int) -> Cookie:
    """HttpOnly: no script reads it. Strict: no other site sends it. Secure where the browser came by TLS, which it says itself in
    ``Origin``: a proxy that ends TLS may not say so, or not be one whose word counts."""
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    return Cookie(COOKIE, value=token, max_age=max_age, httponly=True, samesite="strict", secure=secure, path="/")


def session_of(token: str, expires_at: int | None, user_id: UUID, account: Account) -> SessionOut:
    return SessionOut(token, "Bearer", expires_at, user_id, account.name, account.email, account.role, picture_of(user_id, account))


def user_of(user_id: UUID, account: Account) -> UserOut:
    return UserOut(user_id, account.name, account.email, account.role, picture_of(user_id, account), not account.active)


def picture_of(user_id: UUID, account: Account) -> str:
    """Where the picture of an account is: the one that it was given, or its initials."""
    return str(account.fields.get("profile_image_url") or f"/api/v1/users/{user_id}/profile/image")
