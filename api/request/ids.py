"""Ids that clients name. One that is no uuid becomes ``uuid5(user, id)``, so two people's never meet; the original is kept."""

from uuid import UUID, uuid5

from domain.errors import BadRequest

CLIENT_ID_CHARACTERS_MAX = 256


def bound_id(user_id: UUID, given: str) -> tuple[UUID, str | None]:
    """``(id, client_id)``: the uuid that is used, and what the client called it where that was something else."""
    if not 0 < len(given) <= CLIENT_ID_CHARACTERS_MAX:
        raise BadRequest(f"expected an id of 1 to {CLIENT_ID_CHARACTERS_MAX} characters, received {len(given)}")
    try:
        return UUID(given), None
    except ValueError:
        return uuid5(user_id, given), given
