"""Paths of static files."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler


async def require_file_name(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises ``NotFoundException`` for a path with U+0000, which the operating system's calls refuse with ``ValueError``."""
    if "\0" in connection.url.path or "%00" in connection.url.path:
        raise NotFoundException
