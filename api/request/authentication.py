"""Who is calling: a bearer token or API key in the header (``authorization``, or Anthropic's ``x-api-key``), else the session cookie.

A browser sends a cookie with requests of any page, so alone it authorises a change only for a request that says it comes from
our own origin, or from one that the settings name. Connections that are no requests use ``bearer_of``,
``Authentication.authenticate`` or ``Authentication.redeem`` (a ticket), and ``require_approved``.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from api.request import security_log
from api.request.cors import may_use_cookie
from api.request.scopes import scopes_for
from commands.accounts.authentication import Authentication
from commands.accounts.principal import Principal
from domain.errors import Forbidden, NotAuthenticated

COOKIE: Final = "token"
KEY_HEADER: Final = "x-api-key"
PUBLIC: Final = "public"  # the key in a route's ``opt``
PRINCIPAL: Final = "principal"  # the key in a request's state
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The credential of an ``Authorization: Bearer`` header."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" and credential.strip() else None


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the request came from a page of this server, or was typed by the user."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def credential_of(request: Request[Any, Any, Any]) -> str | None:
    """Raises ``Forbidden`` for a change that only a cookie authorises, from elsewhere."""
    credential = bearer_of(request.headers) or request.headers.get(KEY_HEADER, "").strip()
    if credential:
        return credential
    cookie = request.cookies.get(COOKIE)
    if cookie and request.method not in SAFE_METHODS and not from_own_page(request):
        raise Forbidden("the session cookie alone changes nothing unless the request says that it comes from this server's own page")
    return cookie or None


def from_own_page(request: Request[Any, Any, Any]) -> bool:
    """Whether the request comes from a page of this server, or of an origin that its settings name."""
    return same_origin(request.headers) or may_use_cookie(request.headers.get("origin"), request.app.cors_config)


async def require_signed_in(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: guards run before the body is read, so a caller who is not signed in cannot make the server read or parse one.

    A route that carries ``PUBLIC`` needs no account. Raises ``NotAuthenticated``, ``AccountInactive``, ``Forbidden``, and ``ScopeMissing``
    for an API key that is not for the route.
    """
    security_log.begin(cast(MutableMapping[str, Any], connection.scope))
    if handler.opt.get(PUBLIC):
        return
    connection.scope["state"][PRINCIPAL] = await authenticated(Request(connection.scope))


async def authenticated(request: Request[Any, Any, Any]) -> Principal:
    """Raises ``NotAuthenticated``, ``AccountInactive``, ``Forbidden``."""
    credential = credential_of(request)
    if credential is None:
        raise NotAuthenticated
    authentication: Authentication = request.app.state.authentication
    principal = await authentication.authenticate(credential)
    principal.require_scope(scopes_for(request.method, request.scope["path_template"]))
    return principal


async def provide_any_principal(request: Request[Any, Any, Any]) -> Principal:
    """The account that is signed in, also while it waits for its approval."""
    principal: Principal = request.scope["state"][PRINCIPAL]
    return principal


async def provide_principal(any_principal: NamedDependency[Principal]) -> Principal:
    """The account that is signed in and may use the server. Raises ``Forbidden`` while it waits for its approval."""
    require_approved(any_principal)
    return any_principal


def require_approved(principal: Principal) -> None:
    if principal.role == "pending":
        raise Forbidden("this account waits for an admin's approval")


def require_admin(principal: Principal) -> None:
    if principal.role != "admin":
        raise Forbidden("this is for admins")
