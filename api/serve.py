"""``steno serve``: a database, its migrations, and one server process that ends in good order."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import structlog
import uvicorn
import uvloop

from adapters.embedded import EmbeddedPostgres
from adapters.migrate import migrate
from adapters.postgres.epoch import current_epoch, remembered
from api.app import create_app, on_postgres
from api.logging import configure
from api.settings import Settings
from api.system import EPOCH_FILE, System
from api.ws_protocol import FramedProtocol

log = structlog.get_logger("serve")

BACKLOG = 2048
GRACE_S = 5
GC_THRESHOLDS = (100_000, 20, 50)
EXIT_ANOTHER_HISTORY = 75  # EX_TEMPFAIL of sysexits.h: start it again


class Server(uvicorn.Server):
    """Signals are ours: the answers that run are finished before the sockets are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``OSError`` if the address is taken, ``MigrationError``, ``EmbeddedPostgresError``."""
    configure(settings.log_level, settings.log_format)
    listening = listen(settings.host, settings.port)
    with contextlib.closing(listening), database(settings) as (dsn, embedded):
        uvloop.run(serve(settings, dsn, listening, embedded))


@contextlib.contextmanager
def database(settings: Settings, *, as_it_is: bool = False) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """The database of the settings, migrated: its owner's URL, and the embedded server where that is what it is.

    ``as_it_is``: it is only to be looked at, and not brought up to date.
    """
    if settings.database_url is not None:
        settings.data.mkdir(parents=True, exist_ok=True)
        if not as_it_is:
            migrate(settings.database_url)
        yield settings.database_url, None
        return
    # It makes the data folder itself: root's must let its system user in.
    with EmbeddedPostgres(settings.data) as embedded:
        if not as_it_is:
            migrate(embedded.dsn)
        yield embedded.dsn, embedded


def new_epoch(settings: Settings) -> UUID:
    """Begin a new epoch, as after a restore that the server cannot notice by itself. A server that runs must be restarted."""
    with database(settings) as (dsn, _):
        return asyncio.run(current_epoch(dsn, force_new=True)).epoch


def listen(host: str, port: int) -> socket.socket:
    """Bound before anything else is started: an address that is taken is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


async def serve(settings: Settings, dsn: str, listening: socket.socket, embedded: EmbeddedPostgres | None) -> None:
    known = remembered(settings.data / EPOCH_FILE)
    system = await on_postgres(settings, dsn, await current_epoch(dsn, known))
    await system.start()
    keeping = asyncio.create_task(embedded.keep_running()) if embedded is not None else None
    server = Server(config(settings, create_app(system)))
    # What is there now stays, and tokens leave no cycles: looking for garbage among them was a fifth of an append's cost.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    def end() -> None:
        if ending:
            server.should_exit = server.force_exit = True  # asked twice: whoever asks will not wait
        else:
            ending.append(asyncio.create_task(end_in_order(system, server)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    watching = asyncio.create_task(end_with_history(system, server))
    announce(settings, listening)
    try:
        await server.serve(sockets=[listening])
    finally:
        watching.cancel()
        await system.stop()
        if keeping is not None:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    if system.another_history.is_set():
        sys.exit(EXIT_ANOTHER_HISTORY)


async def end_with_history(system: System, server: uvicorn.Server) -> None:
    """Clients are sent away to whoever starts next, who tells them of the new epoch."""
    await system.another_history.wait()
    await system.sockets.go_away()
    server.should_exit = True


async def end_in_order(system: System, server: uvicorn.Server) -> None:
    try:
        await system.drain()
    finally:
        server.should_exit = True


def config(settings: Settings, app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",  # it runs on ours
        http="httptools",
        ws=FramedProtocol,
        ws_max_size=settings.frame_in_bytes,
        ws_ping_interval=settings.ping_interval_s,
        ws_ping_timeout=settings.pong_timeout_s,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )


def announce(settings: Settings, listening: socket.socket) -> None:
    """One line for the person who started it."""
    host, port = listening.getsockname()[:2]
    shown = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1", "::1") else host  # noqa: S104  # compared, not bound
    sys.stdout.write(f"Stenograph is at http://{shown}:{port} (API: /docs). Try: steno chat\n")
    sys.stdout.flush()
