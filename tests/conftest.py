"""How a test gets its database, and how it is run when it is asynchronous.

``postgres_dsn`` (once a session) is an owner's URL of a server to make databases in: that of ``DATABASE_URL``, in a scratch database
made for this session, or an embedded Postgres in a temporary folder. ``database`` (each test) is the URL of a fresh and migrated
database, copied from a template, which takes some 40 ms. Both mark the test ``postgres``: ``pytest -m postgres`` runs these alone.

An asynchronous test carries ``@pytest.mark.anyio`` (or the module ``pytestmark = pytest.mark.anyio``) and runs on uvloop, as the
server does. anyio's pytest plugin is there already with httpx, so no other is needed.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from adapters.embedded.server import EmbeddedPostgres
from adapters.postgres.migrate import migrate

POSTGRES_FIXTURES = {"postgres_dsn", "migrated_template", "database"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if POSTGRES_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A temporary folder that the system user of the embedded Postgres may enter, which pytest's own is not when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="steno-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn(open_folder: Path) -> Iterator[str]:
    given = os.environ.get("DATABASE_URL")
    if not given:
        with EmbeddedPostgres(open_folder / "session") as embedded:
            yield embedded.dsn
        return
    scratch = create_database(given)
    yield scratch
    drop_database(given, scratch)


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str) -> Iterator[str]:
    """A migrated database for copying. Nothing may stay connected to it, or Postgres refuses to copy it."""
    template = create_database(postgres_dsn)
    migrate(template)
    yield template
    drop_database(postgres_dsn, template)


@pytest.fixture
def database(postgres_dsn: str, migrated_template: str) -> Iterator[str]:
    copied = create_database(postgres_dsn, template=database_name(migrated_template))
    yield copied
    drop_database(postgres_dsn, copied)


def database_name(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


def dsn_of(dsn: str, database: str) -> str:
    """``dsn`` with another database, still as a URL, since asyncpg takes no other form."""
    scheme, _, rest = dsn.partition("://")
    before_query, mark, query = rest.partition("?")
    authority = before_query.partition("/")[0]
    return f"{scheme}://{authority}/{database}{mark}{query}"


def create_database(server_dsn: str, template: str | None = None) -> str:
    name = f"steno_test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(statement)
    return dsn_of(server_dsn, name)


def drop_database(server_dsn: str, dropped_dsn: str) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(dropped_dsn))))
