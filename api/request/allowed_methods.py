"""``Allow`` of an answer to OPTIONS: all methods of the path.

Litestar makes that answer when the first method of a path is registered, and does not renew it for those that follow.
"""

from collections.abc import Mapping
from typing import Final

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import BeforeMessageSendHookHandler, HTTPResponseStartEvent, Message, Scope

HEADER: Final = b"allow"


def methods_of(app: Litestar) -> Mapping[str, bytes]:
    """``Allow`` of each path, as the path stands in the description."""
    return {route.path_format: ", ".join(sorted(route.methods)).encode() for route in app.routes if isinstance(route, HTTPRoute)}


def sends_allowed_methods(methods: Mapping[str, bytes]) -> BeforeMessageSendHookHandler:
    """Litestar's ``before_send``. ``methods`` is read at each answer: it can only be known once the app is made."""

    async def send_allowed_methods(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS":
            start: HTTPResponseStartEvent = message
            known = methods.get(scope.get("path_template", ""))
            if known is not None and any(name.lower() == HEADER for name, _ in start["headers"]):
                start["headers"] = [*((name, value) for name, value in start["headers"] if name.lower() != HEADER), (HEADER, known)]

    return send_allowed_methods
