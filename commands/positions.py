"""Waiting until lists and searches hold what was written: they are as old as their projection."""

from typing import Final

from domain.errors import ProjectionBehind
from projections.ports import ChatQueries

AT_LEAST_WAIT_S: Final = 10.0


async def require_position(chat_queries: ChatQueries, at_least: int | None) -> None:
    """Wait until lists hold everything up to this position of the log. Raises ``ProjectionBehind`` if they do not in time."""
    if at_least is not None and not await chat_queries.reached(at_least, AT_LEAST_WAIT_S):
        raise ProjectionBehind(at_least)
