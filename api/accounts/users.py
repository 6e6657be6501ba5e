"""``/api/v1/users``: what an admin does to accounts, and what all users do to their own settings."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from api.accounts.auths import Picture, UserOut, picture_of, profile, user_of
from api.accounts.usage import QuotasOut, UsageReport
from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from api.settings import Settings
from api.version import VERSION
from commands.accounts.accounts import Accounts
from commands.accounts.passwords import Passwords
from commands.accounts.personal_settings import PersonalSettings
from commands.accounts.principal import require_admin
from commands.ports import Activity, UserList, UserSearch
from commands.security_log import about
from domain.accounts.user.commands import ChangeQuotas, DeactivateUser
from domain.accounts.user.facts import UserRole
from domain.accounts.user.state import Account
from domain.errors import BadRequest

PAGE_USERS = 30
USERS_MAX = 10_000
PAGE_MAX = 1_000_000

SearchText = Annotated[str, QueryParameter(name="query", max_length=200, required=False)]  # ``query`` is a name of Litestar's own
Text = Annotated[str, msgspec.Meta(max_length=2000)]


class UserUpdateIn(msgspec.Struct):
    role: UserRole | None = None
    name: Text | None = None
    email: Text | None = None
    password: Text | None = None
    revoke_keys: bool = True  # with a new password
    profile_image_url: Picture | None = None


class SeenUserOut(UserOut, kw_only=True):
    last_active_at: int | None  # seconds since 1970; None: no client of theirs was ever seen


class UsersOut(msgspec.Struct):
    users: list[SeenUserOut]
    total: int


class AllUsersOut(msgspec.Struct):
    users: list[UserOut]
    total: int


class PersonOut(msgspec.Struct):
    """What every user may see of another account."""

    id: UUID
    name: str
    profile_image_url: str
    deactivated: bool


class FoundUserOut(PersonOut, kw_only=True, omit_defaults=True):
    email: str | msgspec.UnsetType = msgspec.UNSET  # for admins
    role: str


class FoundUsersOut(msgspec.Struct):
    users: list[FoundUserOut]
    total: int


class UsersController(Controller):
    path = "/api/v1/users"
    tags = ("accounts",)

    @get("/")
    async def users(
        self,
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        user_list: NamedDependency[SkipValidation[UserList]],
        activity: NamedDependency[SkipValidation[Activity]],
        page: FromQuery[int] = 1,
    ) -> UsersOut:
        """All accounts, 30 a page, in the order of their making (admin)."""
        require_admin(caller.principal)
        page = require_page(page)
        ids, total = await user_list.users(offset=(page - 1) * PAGE_USERS, limit=PAGE_USERS)
        seen = await activity.last_active(ids)
        return UsersOut([seen_user(user_of(user_id, await accounts.existing(user_id)), seen.get(user_id)) for user_id in ids], total)

    @get("/all")
    async def every_user(
        self,
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        user_list: NamedDependency[SkipValidation[UserList]],
    ) -> AllUsersOut:
        """All accounts at once, 10,000 at most, in the order of their making (admin)."""
        require_admin(caller.principal)
        ids, total = await user_list.users(offset=0, limit=USERS_MAX)
        return AllUsersOut([user_of(user_id, await accounts.existing(user_id)) for user_id in ids], total)

    @get("/search")
    async def search(
        self,
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        user_list: NamedDependency[SkipValidation[UserList]],
        text: SearchText = "",
        page: FromQuery[int] = 1,
        order_by: FromQuery[Literal["name", "created_at"]] = "name",
        direction: FromQuery[Literal["asc", "desc"]] = "asc",
    ) -> FoundUsersOut:
        """Accounts by a piece of their name, 30 a page. A whole e-mail address finds its account; only admins are shown addresses,
        find accounts by a piece of one, and see accounts that are pending or deactivated."""
        page = require_page(page)
        is_admin = caller.principal.role == "admin"
        asked = UserSearch(
            text=text.strip(), by_email=is_admin, inactive=is_admin, by_name=order_by == "name", descending=direction == "desc"
        )
        ids, total = await user_list.search(asked, offset=(page - 1) * PAGE_USERS, limit=PAGE_USERS)
        return FoundUsersOut([found_user(one, await accounts.existing(one), with_email=is_admin) for one in ids], total)

    @get("/user/settings")
    async def own_settings(
        self,
        caller: NamedDependency[Caller],
        personal_settings: NamedDependency[PersonalSettings],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> dict[str, Any]:
        """The caller's own settings."""
        return shown_settings(await personal_settings.of(caller.user_id), settings)

    @post("/user/settings/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change_settings(
        self,
        data: JSONBody[dict[str, Any]],
        caller: NamedDependency[Caller],
        personal_settings: NamedDependency[PersonalSettings],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> dict[str, Any]:
        """Change some; the others stay, also those inside ``ui``. Connections of one's own, which hold keys, are not in the log."""
        await personal_settings.change(caller.user_id, data, actor=caller.actor)
        return shown_settings(await personal_settings.of(caller.user_id), settings)

    @get("/{user_id:uuid}")
    async def user(
        self, user_id: FromPath[UUID], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]
    ) -> UserOut | PersonOut:
        """One account: all of it for an admin and its owner, the name and the picture for all others."""
        account = await accounts.existing(user_id)
        if caller.user_id == user_id or caller.principal.role == "admin":
            return user_of(user_id, account)
        return PersonOut(user_id, account.name, picture_of(user_id, account), not account.active)

    @post("/{user_id:uuid}/update", status_code=200)
    async def update(
        self,
        user_id: FromPath[UUID],
        data: JSONBody[UserUpdateIn],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        passwords: NamedDependency[Passwords],
    ) -> UserOut:
        """Change an account's role, name, picture or password (admin). What the role no longer allows ends at once, on every process."""
        about(changed=[name for name, value in msgspec.structs.asdict(data).items() if value and name != "revoke_keys"], new_role=data.role)
        account = await accounts.update(
            caller.principal,
            user_id,
            role=data.role,
            name=data.name,
            email=data.email,
            fields=profile(profile_image_url=data.profile_image_url),
        )
        if data.password:  # the reference's page sends an empty one for "as it is"
            await passwords.reset(caller.principal, user_id, data.password, revoke_keys=data.revoke_keys)
        return user_of(user_id, account)

    @get("/{user_id:uuid}/quotas")
    async def quotas(
        self,
        user_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        usage_report: NamedDependency[UsageReport],
    ) -> QuotasOut:
        """What an account has and may have (admin, or one's own)."""
        if caller.user_id != user_id:
            require_admin(caller.principal)
        await accounts.existing(user_id)
        return await usage_report.of(user_id)

    @post("/{user_id:uuid}/quotas", status_code=200)
    async def change_quotas(
        self,
        user_id: FromPath[UUID],
        data: JSONBody[dict[str, int | None]],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        usage_report: NamedDependency[UsageReport],
    ) -> QuotasOut:
        """Change what an account may have (admin); null: what every account may have. The quotas that are not named stay."""
        require_admin(caller.principal)
        await accounts.existing(user_id)
        await accounts.change(caller.principal, ChangeQuotas(user_id=user_id, by=None, quotas=data))
        usage_report.forget(user_id)
        return await usage_report.of(user_id)

    @delete("/{user_id:uuid}", status_code=200)
    async def deactivate(self, user_id: FromPath[UUID], caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]) -> bool:
        """Deactivate an account (admin, or one's own): its tokens, keys, open streams and share links end at once, its running answers
        stop. The log keeps what it said."""
        await accounts.change(caller.principal, DeactivateUser(user_id=user_id, by=None))
        return True


def require_page(page: int) -> int:
    """Raises ``BadRequest``."""
    if not 1 <= page <= PAGE_MAX:
        raise BadRequest(f"expected a page from 1 to {PAGE_MAX}, received {page}")
    return page


def found_user(user_id: UUID, account: Account, *, with_email: bool) -> FoundUserOut:
    email = account.email if with_email else msgspec.UNSET
    picture = picture_of(user_id, account)
    return FoundUserOut(user_id, account.name, picture, not account.active, email=email, role=account.role)


def seen_user(user: UserOut, at: datetime | None) -> SeenUserOut:
    return SeenUserOut(**msgspec.structs.asdict(user), last_active_at=int(at.timestamp()) if at is not None else None)


def shown_settings(stored: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """As stored. Open WebUI's page shows the release notes of a version that does not stand in them, and there are none here."""
    ui = stored.get("ui", {})
    if settings.front_end is None or not isinstance(ui, Mapping):
        return dict(stored)
    return {**stored, "ui": {**ui, "version": VERSION}}
