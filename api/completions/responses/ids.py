"""Names of responses and conversations. They hold the uuids that they stand for, so that no index is needed to find what they name."""

import re
from typing import Final
from uuid import UUID

from domain.errors import ResponseNotFound

RESPONSE: Final = re.compile(r"resp_([0-9a-f]{32})([0-9a-f]{32})")
CONVERSATION: Final = re.compile(r"conv_([0-9a-f]{32})")


def response_id(chat_id: UUID, message_id: UUID) -> str:
    return f"resp_{chat_id.hex}{message_id.hex}"


def conversation_id(chat_id: UUID) -> str:
    return f"conv_{chat_id.hex}"


def ids_of_response(given: str, *, param: str | None = None) -> tuple[UUID, UUID]:
    """``(chat_id, message_id)``. Raises ``ResponseNotFound``."""
    found = RESPONSE.fullmatch(given)
    if found is None:
        raise ResponseNotFound(given, param=param)
    return UUID(found[1]), UUID(found[2])
