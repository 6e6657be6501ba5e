"""Tasks and futures whose callers may have been cancelled before they are done."""

import asyncio
from typing import Any


def retrieve_exception(done: "asyncio.Future[Any]") -> None:
    """A done callback that marks the exception as seen. asyncio logs a warning about one that nothing has read."""
    if not done.cancelled():
        done.exception()
