"""What a page of another origin may ask over HTTP (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Sequence
from typing import Final

from litestar.config.cors import CORSConfig

ANY_ORIGIN: Final = "*"
# Besides those that a browser shows a page anyway.
EXPOSED_HEADERS: Final = ("Content-Disposition", "Retry-After", "X-Chat-Id", "X-Cursor", "X-Request-Id")


def cors_for(origins: Sequence[str]) -> CORSConfig | None:
    """None without origins: a browser then lets no other page read an answer.

    A page of a named origin may send the session cookie. With ``*`` no page may, since any page on the web could then act for
    the person who opens it; a bearer token works from all.
    """
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_credentials=ANY_ORIGIN not in origins,
        expose_headers=list(EXPOSED_HEADERS),
    )


def may_use_cookie(origin: str | None, cors: CORSConfig | None) -> bool:
    """Whether a page of ``origin`` was named as one that may act by the session cookie."""
    return origin is not None and cors is not None and cors.allow_credentials and origin in cors.allow_origins
