"""Which databases a server begins to work with: those in UTF-8, reached by sessions of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.connections.connection import connect
from adapters.postgres.connections.errors import DatabaseUnreachable, UnfitDatabase
from adapters.postgres.preparing.requirements import require_database
from adapters.projector.writer import connect as connect_projector
from tests.conftest import drop_database, dsn_of
from tests.package.debian import program

WAIT_S = 30  # ends a test that hangs, measures nothing


def test_a_database_in_utf8_is_taken(database: str) -> None:
    require_database(database)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_of_another_encoding_is_refused_and_stays_as_it_was(encoding: str, postgres_dsn: str) -> None:
    name = f"steno_test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    dsn = dsn_of(postgres_dsn, name)
    try:
        with pytest.raises(UnfitDatabase, match=f"the encoding {encoding}.*expected UTF8"):
            require_database(dsn)
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    finally:
        drop_database(postgres_dsn, dsn)


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with pytest.raises(DatabaseUnreachable) as unreachable:
        require_database("postgresql://steno:hunter2@127.0.0.1:1/steno")
    assert "127.0.0.1" in str(unreachable.value) and "hunter2" not in str(unreachable.value)


@contextlib.contextmanager
def pooled(dsn: str, mode: str) -> Iterator[str]:
    """The URL of PgBouncer before the database. It runs as the user that may use the database's socket: it refuses to be root."""
    bouncer = program("pgbouncer", "pgbouncer")
    database = conninfo_to_dict(dsn)
    place = Path(str(database["host"]))
    owner = place.stat() if place.is_dir() else None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="steno-pool-", dir="/tmp"))
    settings = folder / "pgbouncer.ini"
    password = f" password={database['password']}" if database.get("password") else ""
    settings.write_text(
        f"[databases]\n* = host={database['host']} port={database.get('port', 5432)} user={database['user']}{password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
    )
    if owner is not None and os.geteuid() == 0:
        for path in (folder, settings):
            os.chown(path, owner.st_uid, owner.st_gid)
    user = owner.st_uid if owner is not None and os.geteuid() == 0 else None
    running = subprocess.Popen([bouncer, "-q", settings], user=user, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        yield f"postgresql://{database['user']}@127.0.0.1:{port}/{database['dbname']}"
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


def test_a_pooler_in_transaction_mode_is_refused_with_what_is_needed(database: str) -> None:
    with pooled(database, "transaction") as dsn, pytest.raises(UnfitDatabase, match=r"transaction mode.*pool_mode=session"):
        require_database(dsn)


@pytest.mark.anyio
async def test_a_pooler_in_session_mode_is_taken_and_keeps_the_role(database: str) -> None:
    """Parameters at the start of a connection would be refused by it, or dropped: the role among them, which guards the log."""
    with pooled(database, "session") as dsn:
        require_database(dsn)
        asking = await connect(dsn, application="test")
        assert await asking.fetchval("SELECT current_user || ' ' || current_setting('lock_timeout')") == "stenograph_app 5s"
        with pytest.raises(Exception, match="permission denied"):
            await asking.execute("DELETE FROM events")
        await asking.close()
        projecting = await connect_projector(dsn, [])
        assert await (await projecting.execute("SELECT current_user")).fetchone() == ("stenograph_app",)
        await projecting.close()
