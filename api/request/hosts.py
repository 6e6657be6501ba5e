"""The names under which the server may be asked for, where the settings say so. A page of elsewhere that makes its own name lead here
(DNS rebinding), and links made of a forged name, get no answer.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from api.request.errors import CODES, MEDIA_TYPE

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MISDIRECTED: Final = 421  # RFC 9110 §15.5.20
PROBES: Final = frozenset({"/health", "/ready"})  # what watches a process asks for its address


class AllowedHosts:
    """``hosts``: names without a port, or ``*.name`` for every name below it."""

    def __init__(self, app: App, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = {host.lower().rstrip(".") for host in hosts if not host.startswith("*.")}
        self._endings = tuple(host[1:].lower().rstrip(".") for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in PROBES or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
        detail = "this server is not asked for by this name: STENO_ALLOWED_HOSTS lists those it has"
        said = {"type": "about:blank", "title": "Misdirected Request", "status": MISDIRECTED, "detail": detail, "code": CODES[MISDIRECTED]}
        await send({"type": f"{kind}.start", "status": MISDIRECTED, "headers": [(b"content-type", MEDIA_TYPE.encode())]})
        await send({"type": f"{kind}.body", "body": msgspec.json.encode(said)})

    def _is_allowed(self, scope: Scope) -> bool:
        given = [name_of(value.decode("latin-1")) for key, value in scope["headers"] if key == b"host"]
        return len(given) == 1 and (given[0] in self._names or given[0].endswith(self._endings))


def name_of(host: str) -> str:
    """A ``Host`` header without its port, in lower case; empty for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
