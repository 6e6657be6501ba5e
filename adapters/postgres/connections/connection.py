"""How a connection to Postgres is opened, and which of its failures pass by themselves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg

from adapters.postgres.connections.database_url import for_asyncpg, set_on
from adapters.postgres.connections.known_types import Connection
from adapters.postgres.connections.queries import text

APP_ROLE: Final = "stenograph_app"
CONNECT_TIMEOUT_S: Final = 5.0
LOCK_TIMEOUT_MS: Final = 5_000
SESSION_SETTINGS: Final = text("session_settings")

# Classes of SQLSTATE that say "not now" about the server, not "no" about the rows: connection, resources (disk full among
# them), operator intervention (restart among them), system error, lock not available, deadlock, serialization, read-only.
_PASSING: Final = ("08", "53", "57", "58", "55P03", "40", "25006")
# Classes that say "no" to what was sent: data, integrity, limits of the program (a key that no index takes).
_REFUSING: Final = ("22", "23", "54")

# What the driver raises when a connection, the server or a call fails. Its own bookkeeping is among it: a connection that is
# lost at the wrong moment is reported as "another operation is in progress", which is neither of its two families.
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError, EOFError)


async def connect(
    dsn: str,
    *,
    application: str,
    role: str = APP_ROLE,
    statement_cache: int = 100,
    opened: Callable[[Any], Awaitable[None]] | None = None,
) -> "asyncpg.Connection[Any]":
    """A connection in the application's role: it may insert into the log and read it, and no more. ``opened`` may refuse it."""
    target = for_asyncpg(dsn)
    connection = await asyncpg.connect(
        **target.arguments,
        timeout=target.connect_timeout_s or CONNECT_TIMEOUT_S,
        connection_class=Connection,
        statement_cache_size=statement_cache,
        server_settings={**target.server_settings, "application_name": f"stenograph {application}"},
    )
    try:
        set_on(target.socket_options)(connection)
        # What is called here looks things up by key: it is planned once, and not for every length of an array.
        await prepare(connection, {**settings_of(role), "plan_cache_mode": "force_generic_plan"})
        if opened is not None:
            await opened(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def pool(dsn: str, *, connections_max: int, statement_cache: int = 100) -> "asyncpg.Pool[Any]":
    """A pool in the application's role, for reads and for what is written beside the log."""
    target = for_asyncpg(dsn)
    set_options = set_on(target.socket_options)

    async def init(connection: "asyncpg.Connection[Any]") -> None:
        set_options(connection)
        await prepare(connection, settings_of(APP_ROLE))

    made = await asyncpg.create_pool(
        **target.arguments,
        min_size=1,
        max_size=connections_max,
        timeout=target.connect_timeout_s or CONNECT_TIMEOUT_S,
        connection_class=Connection,
        statement_cache_size=statement_cache,
        init=init,
        reset=_keep,
        server_settings={**target.server_settings, "application_name": "stenograph reader"},
    )
    assert made is not None
    return made


async def _keep(_: Any) -> None:
    """Nothing that runs here changes its session, so giving a connection back costs no round trip."""


def settings_of(role: str) -> dict[str, str]:
    return {"role": role, "lock_timeout": str(LOCK_TIMEOUT_MS), "jit": "off", "TimeZone": "UTC"}


async def prepare(connection: "asyncpg.Connection[Any]", settings: Mapping[str, str]) -> None:
    """Take the role, and have JSON as bytes in both directions: what is stored is never decoded to be encoded again."""
    await connection.fetch(SESSION_SETTINGS, list(settings), list(settings.values()))
    await connection.set_type_codec("json", schema="pg_catalog", encoder=_same, decoder=_same, format="binary")


def _same(data: bytes) -> bytes:
    return data


def passes(error: BaseException) -> bool:
    """Whether the same call may succeed later: the connection or the server is at fault, not what was sent."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_PASSING)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return not isinstance(error, asyncpg.DataError)
    return isinstance(error, OSError | asyncio.TimeoutError | EOFError)


def refuses_data(error: asyncpg.PostgresError) -> bool:
    """Whether Postgres, or its driver, will never take what was sent."""
    return (error.sqlstate or "").startswith(_REFUSING)


def outcome_unknown(error: BaseException) -> bool:
    """Whether the call may have been committed all the same. An error that the server itself sent says that it was not,
    but for those by which it ends the session."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57"))
    return True
