"""Waiting until lists and searches hold what was written: they are as old as their projection."""

from typing import Final

from domain.errors import ProjectionBehind
from projections.ports import History

AT_LEAST_WAIT_S: Final = 10.0


async def require_position(history: History, at_least: int | None) -> None:
    """Wait until lists hold everything up to this position of the log. Raises ``ProjectionBehind`` if they do not in time."""
    if at_least is not None and not await history.reached(at_least, AT_LEAST_WAIT_S):
        raise ProjectionBehind(at_least)
