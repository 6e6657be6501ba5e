"""The named queries of ``sql/queries``, as text for asyncpg."""

from typing import Any

import aiosql

import sql

# Loaded once: the names are attributes, and a query that does not exist fails when the module that uses it is imported.
QUERIES: Any = aiosql.from_path(sql.folder() / "queries", "asyncpg", mandatory_parameters=False)


def text(name: str) -> str:
    """The SQL of one named query."""
    query: str = getattr(QUERIES, name).sql
    return query
