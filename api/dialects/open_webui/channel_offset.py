"""How far a page has been sent the channel that it shows: what its Socket.IO client keeps for it and says when it connects once more.

So the page itself holds its cursor, over a restart of the server too, and another process can go on from it. It gives no access.
"""

from typing import NamedTuple
from uuid import UUID

from domain.errors import BadCursor
from domain.log.cursor import Cursor, parse_cursor

CHARACTERS_MAX = 120


class ChannelOffset(NamedTuple):
    channel_id: UUID
    cursor: Cursor

    def __str__(self) -> str:
        return f"{self.channel_id}/{self.cursor}"


def parse_offset(given: object) -> ChannelOffset | None:
    """None for what is no such offset: the page begins with what is new then."""
    if not isinstance(given, str) or len(given) > CHARACTERS_MAX:
        return None
    channel, _, text = given.partition("/")
    try:
        cursor = parse_cursor(text)
        return ChannelOffset(UUID(channel), cursor) if isinstance(cursor, Cursor) else None
    except (BadCursor, ValueError):
        return None
