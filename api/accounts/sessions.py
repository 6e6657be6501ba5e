"""Where an account is signed in, and how to end it: ``/api/v1/auths/sessions``."""

from uuid import UUID

import msgspec
from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from commands.accounts.principal import Principal
from commands.accounts.sessions import KnownSession, Sessions


class KnownSessionOut(msgspec.Struct):
    id: UUID
    address: str  # where it came from
    user_agent: str  # what the client said of itself
    created_at: int  # times in seconds since 1970
    expires_at: int
    last_used_at: int | None  # written within some seconds
    current: bool  # the one of this request


class SessionsController(Controller):
    path = "/api/v1/auths/sessions"
    tags = ("accounts",)

    @get("/")
    async def sessions(self, any_principal: NamedDependency[Principal], sessions: NamedDependency[Sessions]) -> list[KnownSessionOut]:
        """The caller's sign-ins that still hold, the newest first."""
        return [session_out(one) for one in await sessions.list_sessions(any_principal)]

    @delete("/", status_code=200)
    async def sign_out_everywhere(
        self, any_principal: NamedDependency[Principal], sessions: NamedDependency[Sessions], revoke_keys: FromQuery[bool] = False
    ) -> bool:
        """Sign out everywhere, here too; with ``revoke_keys`` the API keys end as well."""
        await sessions.revoke_all(any_principal, any_principal.user_id, revoke_keys=revoke_keys)
        return True

    @delete("/{session_id:uuid}", status_code=200)
    async def revoke_session(
        self, session_id: FromPath[UUID], any_principal: NamedDependency[Principal], sessions: NamedDependency[Sessions]
    ) -> bool:
        """Sign out one of them."""
        await sessions.revoke(any_principal, session_id)
        return True


class UserSessionsController(Controller):
    path = "/api/v1/users/{user_id:uuid}/sessions"
    tags = ("accounts",)

    @delete("/", status_code=200)
    async def sign_out_user(
        self,
        user_id: FromPath[UUID],
        principal: NamedDependency[Principal],
        sessions: NamedDependency[Sessions],
        revoke_keys: FromQuery[bool] = False,
    ) -> bool:
        """Sign out an account everywhere (admin); with ``revoke_keys`` its API keys end as well."""
        await sessions.revoke_all(principal, user_id, revoke_keys=revoke_keys)
        return True


def session_out(one: KnownSession) -> KnownSessionOut:
    session = one.session
    last_used_at = None if one.last_used_at is None else int(one.last_used_at.timestamp())
    created_at, expires_at = int(session.created_at.timestamp()), int(session.expires_at.timestamp())
    return KnownSessionOut(session.token_id, session.address, session.user_agent, created_at, expires_at, last_used_at, one.is_current)
