"""Accounts, as far as functions look at them."""

from collections.abc import Generator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from adapters.functions.compat import host

T = TypeVar("T")


async def _itself(value: T) -> T:
    return value


class UserModel(BaseModel):
    """An account. It can be awaited, too: newer functions await what older ones call."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    name: str = ""
    email: str = ""
    role: str = "user"
    profile_image_url: str = ""
    settings: Any = None
    info: dict[str, Any] | None = None

    def __await__(self) -> Generator[Any, None, "UserModel"]:
        return _itself(self).__await__()


class _UnknownUser:
    """None that can be awaited."""

    def __bool__(self) -> bool:
        return False

    def __await__(self) -> Generator[Any, None, None]:
        return _itself(None).__await__()


class UsersTable:
    def get_user_by_id(self, id: str, *_: Any, **__: Any) -> Any:
        person = host.host.person(str(id))
        return UserModel(**person) if person is not None else _UnknownUser()


User = UserModel
Users = UsersTable()
