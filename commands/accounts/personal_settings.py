"""A person's own settings, as clients save them. Parts that hold keys to other services are kept beside the log.

Open WebUI's page saves its user's own connections, keys among them, inside ``ui``. An event is never deleted, so it holds a name in
their place; what is under that name is deleted when the part is changed or taken away.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from commands.accounts.accounts import Accounts
from commands.ports import Credentials
from domain.accounts.user.commands import ChangeSettings
from domain.errors import Refusal
from domain.log.event import Actor

PARTS_WITH_KEYS: Final = ("directConnections", "toolServers", "terminalServers")  # of ``ui``
KEPT: Final = "kept"  # the one field of what an event holds in their place


class _Kept(msgspec.Struct, frozen=True):
    user_id: UUID  # nobody else's settings lead to it
    value: msgspec.Raw


class PersonalSettings:
    def __init__(self, accounts: Accounts, credentials: Credentials) -> None:
        self._accounts = accounts
        self._credentials = credentials

    async def of(self, user_id: UUID) -> dict[str, Any]:
        """As they were saved, on whichever process. Raises ``LogUnavailable``."""
        stored = (await self._accounts.account(user_id, fresh=True)).settings
        names = _names(stored)
        if not names:
            return dict(stored)
        kept = {part: await self._kept(user_id, name) for part, name in names.items()}
        rest = {part: value for part, value in stored["ui"].items() if part not in names}
        return {**stored, "ui": {**rest, **{part: msgspec.json.decode(value) for part, value in kept.items() if value is not None}}}

    async def change(self, user_id: UUID, fields: Mapping[str, Any], *, actor: Actor) -> None:
        """Change some; the others stay, also those inside ``ui``. Raises what ``Accounts.handle`` raises."""
        known = _names((await self._accounts.account(user_id, fresh=True)).settings)
        made: set[UUID] = set()
        try:
            named = await self._named(user_id, fields, known, made)
            await self._accounts.handle(ChangeSettings(user_id=user_id, fields=named), actor=actor)
        except Refusal:
            await self._forget(made)
            raise
        if known or made:
            now = _names((await self._accounts.account(user_id, fresh=True)).settings)
            await self._forget({*known.values(), *made} - set(now.values()))

    async def _named(self, user_id: UUID, fields: Mapping[str, Any], known: Mapping[str, UUID], made: set[UUID]) -> Mapping[str, Any]:
        """With names in the place of what is kept, which is kept first. ``made`` gets the new ones."""
        ui = fields.get("ui")
        if not isinstance(ui, Mapping):
            return fields
        named = dict(ui)
        for part in PARTS_WITH_KEYS:
            value = ui.get(part)
            if not value:
                continue  # nothing, or that there is none any more
            encoded = msgspec.json.encode(value, order="sorted")
            name = known.get(part)
            if name is None or await self._kept(user_id, name) != encoded:
                name = uuid4()
                made.add(name)
                await self._credentials.add_provider_secrets(name, msgspec.json.encode(_Kept(user_id, msgspec.Raw(encoded))))
            named[part] = {KEPT: str(name)}
        return {**fields, "ui": named}

    async def _kept(self, user_id: UUID, name: UUID) -> bytes | None:
        found = await self._credentials.provider_secrets(name)
        if found is None:
            return None
        kept = msgspec.json.decode(found, type=_Kept)
        return bytes(kept.value) if kept.user_id == user_id else None

    async def _forget(self, names: set[UUID]) -> None:
        for name in names:
            await self._credentials.forget_provider_secrets(name)


def _names(stored: Mapping[str, Any]) -> dict[str, UUID]:
    """By the part of ``ui``, the name under which it is kept."""
    ui = stored.get("ui")
    if not isinstance(ui, Mapping):
        return {}
    return {part: name for part in PARTS_WITH_KEYS if (name := _name(ui.get(part))) is not None}


def _name(held: Any) -> UUID | None:
    """None where the part holds something else: it was stored before there were names."""
    if not isinstance(held, Mapping) or held.keys() != {KEPT}:
        return None
    try:
        return UUID(str(held[KEPT]))
    except ValueError:
        return None
