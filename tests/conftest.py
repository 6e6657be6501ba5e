"""How a test gets its database, how asynchronous tests run, and how the tests are shared out among processes.

``postgres_dsn`` (once for each worker process) is an owner's URL of a server to make databases in: that of ``DATABASE_URL``, in a
scratch database of its own, or an embedded Postgres in a temporary folder. ``database`` (each test) is the URL of a fresh and migrated
database, copied from a template. Both mark the test ``postgres``: ``pytest -m postgres`` runs these alone.

An asynchronous test carries ``@pytest.mark.anyio`` (or the module ``pytestmark = pytest.mark.anyio``) and runs on uvloop, as the
server does. anyio's pytest plugin is there already with httpx, so no other is needed.

``pytest -n auto --dist loadgroup`` runs the tests in ``WORKERS_PER_CORE`` processes for each core, since they wait more than they
compute. ``GROUPS`` names the tests that stay together in one process; each other test goes to the process that is free next.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from psycopg import sql

from adapters.garbage_collection import collect_rarely
from adapters.postgres.preparing.migrate import migrate
from tests.costs import lower_costs, memory_folder

TESTS = Path(__file__).parent
# What the command line and servers of the tests keep: not among the logins and servers of the person who runs them.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="stenograph-config-")
lower_costs()
collect_rarely()  # from the start: finding the tests makes millions of objects that stay
# A shell makes what it starts in the background ignore Ctrl-C, and children inherit that: the commands that tests interrupt would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Runs the Postgres of a folder and prints its URL, until its input ends; then it removes the folder. The folder may be one in memory:
# its write-ahead log is kept small. Its databases live for a second, so nothing vacuums or replicates them, and little is buffered:
# that takes a twelfth of its processor time away.
HOLD_POSTGRES = """
import shutil, sys
from pathlib import Path
from adapters.embedded import server
from adapters.embedded.server import EmbeddedPostgres
server.NO_WAIT_FOR_DISK |= {
    "max_wal_size": "160MB", "min_wal_size": "32MB", "wal_level": "minimal", "max_wal_senders": "0",
    "autovacuum": "off", "io_method": "sync", "shared_buffers": "32MB",
}
folder = Path(sys.argv[1])
with EmbeddedPostgres(folder, durable=False) as embedded:
    print(embedded.dsn, flush=True)
    sys.stdin.read()
shutil.rmtree(folder, ignore_errors=True)
"""
HOLDER_ENDS_WITHIN_S = 60
ASYNC_TEST_WITHIN_S = 450  # only ends a test that hangs: below the bound of pytest-timeout, which ends the whole process of the tests
POSTGRES_FIXTURES = {"postgres_dsn", "migrated_template", "database"}
WORKERS_PER_CORE = 3
KEPT = contextlib.ExitStack()  # the connections of ``kept_connection``, to be closed before the server stops

# Folders and modules, as paths below tests/, and the name of their group. The tests of one group run one after the other.
GROUPS = {
    # They kill servers and count seconds of leases: three at a time, however many processes there are, so that these
    # have cores to run on.
    "crash/test_connection_cut.py": "crash-1",
    "crash/test_postgres_killed.py": "crash-2",
    "crash/test_server_killed.py": "crash-1",
    "crash/test_sigterm.py": "crash-2",
    "crash": "crash-3",
    "adapters/embedded": "embedded",  # one data folder is made, and copied for each test
    "test_grouping.py": "grouping",  # only to test that groups are seen
    # They load OpenAI's and Anthropic's clients, which take two seconds of a core.
    "clients/test_anthropic.py": "packages",
    "clients/test_openai_forwarded.py": "packages",
    "clients/test_openai_responses.py": "packages",
    "clients/test_sse_clients.py": "packages",
    "api/test_schema.py": "schema",  # the description is made once
    "test_layering.py": "layering",  # each module is parsed once
    "docs/test_commands.py": "docs",  # one server is started for the commands of all pages
}

# No test asserts how long an example takes: on a busy machine it takes longer.
hypothesis.settings.register_profile("stenograph", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("stenograph")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        bound_asynchronous(item)
        if POSTGRES_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)
        group = group_of(item.path)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def bound_asynchronous(item: pytest.Item) -> None:
    """An asynchronous test that waits for what never comes fails where it waits. Its fixtures stop their servers, and the others go on."""
    test = getattr(item, "obj", None)
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def bounded(*given: Any, **named: Any) -> None:
            async with asyncio.timeout(ASYNC_TEST_WITHIN_S):
                await test(*given, **named)

        item.obj = bounded


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


@functools.cache
def group_of(path: Path) -> str | None:
    """That of the module, or of the nearest folder above it that has one."""
    below = path.relative_to(TESTS)
    return next((GROUPS[str(one)] for one in (below, *below.parents) if str(one) in GROUPS), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return WORKERS_PER_CORE * len(os.sched_getaffinity(0))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A temporary folder that the system user of the embedded Postgres may enter, which pytest's own is not when we are root.

    In memory, if there is enough.
    """
    folder = Path(tempfile.mkdtemp(prefix="steno-test-", dir=memory_folder() or "/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn(open_folder: Path) -> Iterator[str]:
    given = os.environ.get("DATABASE_URL")
    if not given:
        with held_postgres(open_folder / "session") as dsn:
            yield dsn
            KEPT.close()
        return
    scratch = create_database(given)
    yield scratch
    drop_database(given, scratch)
    KEPT.close()


@contextlib.contextmanager
def held_postgres(folder: Path) -> Iterator[str]:
    """The URL of an embedded Postgres that another process holds: that one stops it also when this one is killed.

    Its session is its own, so that Ctrl-C does not end it before the tests that use it.
    """
    command = [sys.executable, "-c", HOLD_POSTGRES, folder]
    with subprocess.Popen(
        command, cwd=TESTS.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        dsn = holder.stdout.readline().strip()
        assert dsn, "the embedded Postgres did not start"
        try:
            yield dsn
        finally:
            end_holder(holder)


def end_holder(holder: "subprocess.Popen[str]") -> None:
    """Closes its input and waits for its end. The input does not end where a process that a test has left behind holds a copy of it:
    then it is interrupted, and at last killed.
    """
    assert holder.stdin is not None
    holder.stdin.close()
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            holder.wait(HOLDER_ENDS_WITHIN_S)
            return
        holder.send_signal(number)
    holder.wait(HOLDER_ENDS_WITHIN_S)


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
    """Its URL. A template is copied file by file: through the write-ahead log, which is the default, it takes three times as long."""
    name = f"steno_test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
    kept_connection(server_dsn).execute(statement)
    return dsn_of(server_dsn, name)


def drop_database(server_dsn: str, dropped_dsn: str) -> None:
    kept_connection(server_dsn).execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(dropped_dsn)))
    )


@functools.cache
def kept_connection(server_dsn: str) -> "psycopg.Connection[Any]":
    """For all databases that are made and dropped: with a connection for each statement they took half as much again of the processor."""
    return KEPT.enter_context(contextlib.closing(psycopg.connect(server_dsn, autocommit=True)))
