"""What Postgres's own types are made of, asked once for each process.

asyncpg asks it on each connection when a statement first uses an array, with a query that takes five times as long as connecting does.
Postgres's own types have the same number and make in every database and version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

FIRST_OWN_OID: Final = 16_384  # below it is what comes with Postgres (FirstNormalObjectId); above it each database has its own types
_known: dict[frozenset[int], Any] = {}


@dataclass(frozen=True, slots=True)
class _NothingSent:
    """In the place of the statement that asked: asyncpg prepares its own again only if that one had no name."""

    name: str = "known"


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg brings no types
    """asyncpg's, but that it remembers. Overrides a method that is not public: without it everything works, with one query more."""

    __slots__ = ()

    async def _introspect_types(self, typeoids: Sequence[int], timeout: float | None) -> tuple[Any, Any]:
        wanted = frozenset(typeoids)
        if wanted in _known:
            return _known[wanted], _NothingSent()
        types, asked = await super()._introspect_types(typeoids, timeout)
        if max(wanted) < FIRST_OWN_OID:
            _known[wanted] = types
        return types, asked
