"""Ids that clients choose. One that is no uuid becomes ``uuid5(user, id)``, so that the ids of two people never meet."""

from uuid import UUID, uuid4, uuid5

from commands.ports import CommandKey
from domain.errors import BadRequest

CLIENT_ID_CHARACTERS_MAX = 256


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
