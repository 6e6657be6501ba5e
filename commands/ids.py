"""Ids that clients choose, and ids that are derived. A derived one is ``uuid5(user, …)``: the ids of two people never meet.

Anybody can compute a derived id, since the ids of users are public. So no client may claim one: a new chat is never given an id of UUID
version 5, except by the server, for the user that it is derived from (``docs/decisions/0033-identity.md``).
"""

from typing import Final
from uuid import UUID, uuid4, uuid5

from commands.ports import CommandKey
from domain.errors import BadRequest

CLIENT_ID_CHARACTERS_MAX: Final = 256
DERIVED_VERSION: Final = 5  # the UUID version of derived ids


def bound_id(user_id: UUID, given: str) -> tuple[UUID, str | None]:
    """``(id, client_id)``: the uuid that is used, and the client's own id where that was no uuid. Raises ``BadRequest``."""
    if not 0 < len(given) <= CLIENT_ID_CHARACTERS_MAX:
        raise BadRequest(f"expected an id of 1 to {CLIENT_ID_CHARACTERS_MAX} characters, received {len(given)}")
    try:
        return UUID(given), None
    except ValueError:
        return uuid5(user_id, given), given


def new_id(user_id: UUID, key: CommandKey | None, what: str) -> UUID:
    """An id that the server chooses: with an idempotency key the same one when the request is repeated."""
    return uuid4() if key is None else uuid5(user_id, f"{what}:{key.key}")


def new_chat_id(user_id: UUID, key: CommandKey | None, given: str | None) -> tuple[UUID, str | None]:
    """``(id, client_id)`` of a chat that is to be made. Ids of chats are unique in the whole log, so a derived one is kept for its user.

    Raises ``BadRequest`` for a derived id, whether there is such a chat or not.
    """
    if not given:
        return new_id(user_id, key, "chat"), None
    chat_id, client_id = bound_id(user_id, given)
    if client_id is None and chat_id.version == DERIVED_VERSION:
        raise BadRequest("expected a new chat's id to be no UUID of version 5: the server derives those", param="id")
    return chat_id, client_id
