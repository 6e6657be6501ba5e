"""Which origins a browser's WebSocket may come from."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit


def origin_allowed(headers: Mapping[str, str], allowed_origins: Sequence[str]) -> bool:
    """Browsers always send an origin, programs do not."""
    origin = headers.get("origin")
    return origin is None or "*" in allowed_origins or origin in allowed_origins or urlsplit(origin).netloc == headers.get("host")
