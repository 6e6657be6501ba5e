"""API keys: ``/api/v1/auths/keys``, an admin's view of another account's, and the one key of Open WebUI's ``/api/v1/auths/api_key``."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from commands.accounts.accounts import Accounts
from commands.accounts.api_keys import ApiKeys, KnownApiKey
from commands.accounts.principal import Principal
from domain.accounts.api_key import KEY_NAME_CHARACTERS_MAX, Scope


class NewKeyIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_NAME_CHARACTERS_MAX, pattern=r"\S")]
    scopes: list[Scope] | None = None  # None: everything that the account may do
    expires_at: int | None = None  # seconds since 1970


class KeyOut(msgspec.Struct):
    id: UUID
    name: str  # empty: the key of ``/api/v1/auths/api_key``
    scopes: list[str] | None  # null: everything that the account may do
    created_at: int | None  # times in seconds since 1970
    expires_at: int | None
    last_used_at: int | None  # written within some seconds


class NewKeyOut(KeyOut, kw_only=True):
    api_key: str


class ApiKeyOut(msgspec.Struct):
    api_key: str | None


class KeysController(Controller):
    path = "/api/v1/auths"
    tags = ("accounts",)

    @get("/keys")
    async def keys(self, principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]) -> list[KeyOut]:
        """The caller's API keys, in the order in which they were made."""
        return [key_out(one) for one in await api_keys.list_keys(principal, principal.user_id)]

    @post("/keys", status_code=200)
    async def create_key(
        self, data: JSONBody[NewKeyIn], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]
    ) -> NewKeyOut:
        """A new key, shown this once. The others stay."""
        key_id, key = await api_keys.create(principal, data.name, data.scopes, data.expires_at)
        made = next(one for one in await api_keys.list_keys(principal, principal.user_id) if one.key_id == key_id)
        return NewKeyOut(**msgspec.structs.asdict(key_out(made)), api_key=key)

    @delete("/keys/{key_id:uuid}", status_code=200)
    async def revoke_key(self, key_id: FromPath[UUID], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]) -> bool:
        """End one key, everywhere and at once."""
        await api_keys.revoke(principal, principal.user_id, key_id)
        return True

    @get("/api_key")
    async def api_key(self, principal: NamedDependency[Principal], accounts: NamedDependency[Accounts]) -> ApiKeyOut:
        """Whether there is a key without a name. It was shown once, when it was made: only its hash is kept."""
        keys = (await accounts.account(principal.user_id)).api_keys.values()
        return ApiKeyOut("sk-…" if any(not key.name for key in keys) else None)

    @post("/api_key", status_code=200)
    async def create_api_key(self, principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]) -> ApiKeyOut:
        """A new key without a name, shown this once. It replaces the one before; keys with a name stay."""
        return ApiKeyOut((await api_keys.create(principal))[1])

    @delete("/api_key", status_code=200)
    async def revoke_api_key(self, principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]) -> bool:
        """End the key without a name, everywhere."""
        await api_keys.revoke_unnamed(principal)
        return True


class UserKeysController(Controller):
    path = "/api/v1/users/{user_id:uuid}/keys"
    tags = ("accounts",)

    @get("/")
    async def keys_of(
        self, user_id: FromPath[UUID], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]
    ) -> list[KeyOut]:
        """The API keys of an account (admin)."""
        return [key_out(one) for one in await api_keys.list_keys(principal, user_id)]

    @delete("/", status_code=200)
    async def revoke_keys_of(
        self, user_id: FromPath[UUID], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]
    ) -> bool:
        """End every API key of an account (admin)."""
        await api_keys.revoke_all(principal, user_id)
        return True

    @delete("/{key_id:uuid}", status_code=200)
    async def revoke_key_of(
        self, user_id: FromPath[UUID], key_id: FromPath[UUID], principal: NamedDependency[Principal], api_keys: NamedDependency[ApiKeys]
    ) -> bool:
        """End one API key of an account (admin)."""
        await api_keys.revoke(principal, user_id, key_id)
        return True


def key_out(one: KnownApiKey) -> KeyOut:
    scopes = None if one.scopes is None else list(one.scopes)
    created_at = None if one.created_at is None else int(one.created_at.timestamp())
    last_used_at = None if one.last_used_at is None else int(one.last_used_at.timestamp())
    return KeyOut(one.key_id, one.name, scopes, created_at, one.expires_at, last_used_at)
