"""``/api/v1/users``: what an admin does to accounts, and what everybody does to their own settings."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.auths import UserOut
from commands.account import Accounts, Principal, actor_of, require_admin
from commands.ports import UserList
from domain.errors import BadRequest, UserNotFound
from domain.user import ChangeSettings, RenameUser, UserRole

PAGE_USERS = 30


class UserUpdateIn(msgspec.Struct):
    role: UserRole | None = None
    name: Annotated[str, msgspec.Meta(max_length=2000)] | None = None


class UsersOut(msgspec.Struct):
    users: list[UserOut]
    total: int


class UsersController(Controller):
    path = "/api/v1/users"
    tags = ("accounts",)

    @get("/")
    async def users(
        self,
        principal: NamedDependency[Principal],
        accounts: NamedDependency[Accounts],
        user_list: NamedDependency[SkipValidation[UserList]],
        page: FromQuery[int] = 1,
    ) -> UsersOut:
        """All accounts, 30 a page, in the order of their making (admin)."""
        require_admin(principal)
        if page < 1:
            raise BadRequest(f"expected a page from 1 on, received {page}")
        ids, total = await user_list.users(offset=(page - 1) * PAGE_USERS, limit=PAGE_USERS)
        return UsersOut([await self._shown(accounts, user_id) for user_id in ids], total)

    @get("/user/settings")
    async def settings(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> dict[str, Any]:
        """The caller's own settings."""
        return dict((await accounts.account(principal.user_id)).settings)

    @post("/user/settings/update", status_code=200)
    async def change_settings(
        self, data: JSONBody[dict[str, Any]], principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]
    ) -> dict[str, Any]:
        """Change some; the others stay."""
        await accounts.handle(ChangeSettings(user_id=principal.user_id, fields=data), actor=actor_of(principal))
        return {**(await accounts.account(principal.user_id)).settings, **data}

    @get("/{user_id:uuid}")
    async def user(self, user_id: FromPath[UUID], principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> UserOut:
        """One account (admin, or one's own)."""
        if principal.user_id != user_id:
            require_admin(principal)
        return await self._shown(accounts, user_id)

    @post("/{user_id:uuid}/update", status_code=200)
    async def update(
        self,
        user_id: FromPath[UUID],
        data: JSONBody[UserUpdateIn],
        principal: NamedDependency[Principal],
        accounts: NamedDependency[Accounts],
    ) -> UserOut:
        """Change somebody's role or name (admin). What the role no longer allows ends at once, on every process."""
        require_admin(principal)
        if data.name is not None:
            await accounts.handle(RenameUser(user_id=user_id, name=data.name.strip()), actor=actor_of(principal))
        if data.role is not None:
            await accounts.change_role(principal, user_id, data.role)
        return await self._shown(accounts, user_id)

    @delete("/{user_id:uuid}", status_code=200)
    async def deactivate(self, user_id: FromPath[UUID], principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> bool:
        """Deactivate an account (admin, or one's own): its tokens, keys and open streams end at once. The log keeps what it said."""
        await accounts.deactivate(principal, user_id)
        return True

    async def _shown(self, accounts: Accounts, user_id: UUID) -> UserOut:
        account = await accounts.account(user_id)
        if not account.email:
            raise UserNotFound(user_id)
        return UserOut(user_id, account.name, account.email, account.role if account.active else "deactivated")
