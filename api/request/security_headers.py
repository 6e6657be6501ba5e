"""What every response tells a browser: no page of another origin may frame it, guess its type or keep it, and it may load nothing.

A handler that has set one of these headers knows better. Sources: https://www.w3.org/TR/CSP3/, https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header,
RFC 9111 §5.2.2.5 (no-store), RFC 6797 (HSTS: only over TLS).
"""

from collections.abc import Mapping
from typing import Final

from litestar.types import HTTPResponseStartEvent, Message, Scope

HEADERS: Final[Mapping[bytes, bytes]] = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    # Nearly all of it is somebody's own. Static files say otherwise.
    b"cache-control": b"no-store",
}
TRANSPORT_SECURITY: Final = (b"strict-transport-security", b"max-age=31536000")


async def send_security_headers(message: Message, scope: Scope) -> None:
    """Litestar's ``before_send``."""
    if message["type"] == "http.response.start":
        start: HTTPResponseStartEvent = message
        given = list(start["headers"])
        known = {name.lower() for name, _ in given}
        given += [header for header in HEADERS.items() if header[0] not in known]
        if scope.get("scheme") == "https":
            given.append(TRANSPORT_SECURITY)
        start["headers"] = given
