"""``x-request-id``: names one request in its answer and in the server's log lines about it.

A caller's own id is kept where it is a plain token; else the server makes one.
"""

import random
import re
from typing import Any, Final

from litestar.types import HTTPResponseStartEvent, Message, Scope

HEADER: Final = b"x-request-id"
ANTHROPIC_HEADER: Final = b"request-id"  # the same, by the name that Anthropic's clients read
STATE: Final = "request_id"
PLAIN: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> str:
    """The same for one request however often it is asked."""
    state: dict[str, Any] = scope["state"]
    known = state.get(STATE)
    if known is None:
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        known = state[STATE] = given.decode() if PLAIN.fullmatch(given) else drawn()
    return str(known)


def drawn() -> str:
    """It guards nothing, so it is not worth a question to the system for every request."""
    return f"{random.getrandbits(128):032x}"


async def send_request_id(message: Message, scope: Scope) -> None:
    """Litestar's ``before_send``: puts the id into the head of every answer."""
    if message["type"] == "http.response.start":
        start: HTTPResponseStartEvent = message
        names = (HEADER, ANTHROPIC_HEADER) if scope["path"].startswith("/v1/") else (HEADER,)
        start["headers"] = [*start["headers"], *((name, request_id(scope).encode()) for name in names)]
