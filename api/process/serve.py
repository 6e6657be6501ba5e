"""``steno serve``: a database, its migrations, and one server process that ends in good order, or several (``supervisor.py``)."""

import asyncio
import contextlib
import errno
import functools
import gc
import shlex
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry

from adapters.embedded.server import EmbeddedPostgres
from adapters.garbage_collection import collect_rarely
from adapters.postgres.connections.connection import FAILURES
from adapters.postgres.connections.errors import DatabaseUnreachable
from adapters.postgres.log.epoch import current_epoch, remembered
from adapters.postgres.preparing.capacity import require_connections
from adapters.shared_memory import SharedMemory
from api.app import Routes, registry_of, routes_of
from api.dialects.open_webui.front_end import FrontEnd
from api.process.database import CONNECTIONS_LEAST, CONNECTIONS_MOST, database, embedded_of
from api.process.front_end_folder import with_front_end
from api.process.http_protocol import BoundedHttpProtocol
from api.process.logging import configure
from api.process.metrics import AllProcessesCollector, MetricsPublisher, publish_parent_metrics
from api.process.server import EPOCH_FILE, FAREWELL_S, System
from api.process.stalled import ending_stalled
from api.process.supervisor import ALL_DRAINED, ENDING, Workers, WorkerSlot
from api.process.telemetry import Telemetry, require_telemetry
from api.request.hosts import AllowedHosts
from api.request.server_config import ServerConfig
from api.request.traced_requests import TracedRequests
from api.running import noted
from api.settings import Settings
from api.streams.websocket_protocol import FramedProtocol
from api.systems import on_postgres

logger = structlog.get_logger("serve")

BACKLOG = 2048
GRACE_S = 5
EXIT_ANOTHER_HISTORY = 75  # EX_TEMPFAIL of sysexits.h: start it again
ENDS_WITHIN_S = GRACE_S + FAREWELL_S + 20  # beyond the drain, before a worker is killed: its last appends may hold on for a while
SWITCH_S: Final = 0.001  # the longest that one thread waits for another's Python: projectors have threads, and many short turns


class CannotListen(RuntimeError):
    """The address cannot be used. The text says why and what to do."""

    def __init__(self, host: str, port: int, error: Exception) -> None:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            said = "is taken: is a server running already?\nTake another:  steno serve --port 8081"
        elif number == errno.EACCES:
            said = "is not for this user: below 1024 a port needs root's rights.\nTake another:  steno serve --port 8080"
        else:
            reason = getattr(error, "strerror", None) or "no such name"
            said = f"cannot be listened on: {reason}.\nTake an address of this machine:  steno serve --host 127.0.0.1"
        super().__init__(f"Port {port} on {host} {said}")


class Server(uvicorn.Server):
    """Signals are ours: the answers that run are finished before the sockets are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP.

    Raises ``CannotListen``, ``TelemetryMissing``, ``MigrationError``, ``EmbeddedPostgresError``, ``TooFewConnections``, ``DatabaseError``.
    """
    require_telemetry(settings)
    settings = with_front_end(settings)
    configure(settings.log_level, settings.log_format, settings.security_log)
    listening = listen(settings.host, settings.port)
    url, own_database = url_of(listening), settings.database_url is None
    with (
        contextlib.closing(listening),
        database(settings) as (dsn, embedded),
        noted(url, settings.data, own_database=own_database),
    ):
        require_connections(dsn, settings.workers, least=CONNECTIONS_LEAST, most=CONNECTIONS_MOST)
        if settings.workers == 1:
            uvloop.run(serve(settings, dsn, listening, embedded, routes_of(settings)))
        else:
            run_workers(settings, listening, embedded)


def run_workers(settings: Settings, listening: socket.socket, embedded: EmbeddedPostgres | None) -> None:
    """Run the parent of several processes. It holds the listening socket and the database open and serves no requests."""
    memory = SharedMemory(settings.workers + 1)
    routes = routes_of(settings)
    # The processes share the memory of what is loaded and made now. A garbage collection in one of them would copy every page it visits.
    gc.collect()
    gc.freeze()
    workers = Workers(
        settings.workers,
        functools.partial(run_worker, settings, listening, embedded, routes, memory),
        stop_within_s=settings.drain_s + ENDS_WITHIN_S,
        ready=functools.partial(announce, settings, listening),
        changed=functools.partial(publish_parent_metrics, memory),
        ending=functools.partial(end_parent, settings, listening),
        ends_all=frozenset({EXIT_ANOTHER_HISTORY}),
    )
    code = workers.run()
    if code != 0:
        sys.exit(code)


def end_parent(settings: Settings, listening: socket.socket) -> None:
    say_that_it_stops(settings, None)
    listening.close()  # only the parent's copy: workers that still finish answers keep theirs


def run_worker(
    settings: Settings, listening: socket.socket, parents: EmbeddedPostgres | None, routes: Routes, memory: SharedMemory, slot: WorkerSlot
) -> None:
    """Run one of several processes. Each is a user of the embedded Postgres, which runs until the last of them ends."""
    if settings.database_url is not None:
        uvloop.run(serve(settings, settings.database_url, listening, None, routes, slot, memory))
        return
    if parents is not None:
        parents.forget()
    with embedded_of(settings) as embedded:
        uvloop.run(serve(settings, embedded.dsn, listening, embedded, routes, slot, memory))


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts, so that an address that is taken is reported at once. Raises ``CannotListen``."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named, or asyncio's own loop does not recognise accepted connections as TCP and leaves Nagle's algorithm on:
        # the body of each response would wait for the client's delayed acknowledgement of its head, 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except BaseException:
            listening.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be one, such as one with an empty part
        raise CannotListen(host, port, error) from error
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


async def serve(
    settings: Settings,
    dsn: str,
    listening: socket.socket,
    embedded: EmbeddedPostgres | None,
    routes: Routes,
    slot: WorkerSlot | None = None,
    memory: SharedMemory | None = None,
) -> None:
    """Run one process until it is told to end. ``slot`` and ``memory`` are given if it is one of several."""
    known = remembered(settings.data / EPOCH_FILE)
    try:
        system = await on_postgres(settings, dsn, await current_epoch(dsn, known))
    except FAILURES as error:
        hint = "; name the file of its authority with sslrootcert" if isinstance(error, ssl.SSLCertVerificationError) else ""
        raise DatabaseUnreachable(f"{type(error).__name__}: {error}{hint}") from error
    registry = registry_of(system)
    publisher: MetricsPublisher | None = None
    if slot is not None and memory is not None:
        system.worker = slot.number
        publisher, registry = MetricsPublisher(memory, slot.number, registry), CollectorRegistry()
        registry.register(AllProcessesCollector(memory, publisher))
    await system.start()
    keeping = asyncio.create_task(embedded.keep_running()) if embedded is not None else None
    server = Server(config(settings, routes.on(system, registry), system.telemetry))
    # What exists now stays, and tokens leave no cycles: searching them for garbage was a fifth of the cost of an append.
    gc.collect()
    gc.freeze()
    collect_rarely()
    sys.setswitchinterval(SWITCH_S)
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    def end() -> None:
        if ending:
            server.should_exit = server.force_exit = True  # asked twice: do not wait for open answers
        else:
            ending.append(asyncio.create_task(end_in_order(system, server)))
            if slot is None:
                say_that_it_stops(settings, len(system.runs))

    everywhere = asyncio.Event()

    async def drained_here() -> None:
        assert slot is not None
        slot.drained()
        await everywhere.wait()

    def orphaned() -> None:
        """The parent is gone. Free the address at once, so that the server can be started again."""
        assert slot is not None
        logger.warning("parent_gone")
        everywhere.set()  # without a parent no worker learns about the others
        loop.remove_reader(slot.lifeline)
        for one in server.servers:
            one.close()
        listening.close()
        end()

    if slot is None:
        for number in ENDING:
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):  # nohup
                loop.add_signal_handler(number, end)
        announce(settings, listening)
    else:
        loop.add_signal_handler(signal.SIGTERM, end)  # all others are the parent's
        loop.add_signal_handler(ALL_DRAINED, everywhere.set)
        system.drained_here = drained_here
        loop.add_reader(slot.lifeline, orphaned)
        slot.ready()
    if publisher is not None:
        publisher.publish()
        publisher.start()
    watching = asyncio.create_task(stop_after_epoch_lost(system, server))
    try:
        await server.serve(sockets=[listening])
    finally:
        watching.cancel()
        await system.stop()
        if keeping is not None:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    if system.guard.lost.is_set():
        sys.exit(EXIT_ANOTHER_HISTORY)


async def stop_after_epoch_lost(system: System, server: uvicorn.Server) -> None:
    """Send the clients away. They reconnect to the process that starts next, which tells them the new epoch."""
    await system.epoch_lost()
    await asyncio.gather(system.sockets.go_away(), system.page_sockets.go_away())
    server.should_exit = True


async def end_in_order(system: System, server: uvicorn.Server) -> None:
    try:
        await system.drain()
    finally:
        server.should_exit = True


def config(settings: Settings, app: Any, telemetry: Telemetry | None = None) -> ServerConfig:
    if settings.front_end is not None:
        app = FrontEnd(app, settings.front_end)
    if telemetry is not None:
        app = TracedRequests(app, telemetry.begin_request)
    return ServerConfig(
        AllowedHosts(app, settings.allowed_hosts) if settings.allowed_hosts else app,
        settings,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),  # given: uvicorn's own variable does not count
        loop="none",  # it runs on ours
        http=ending_stalled(BoundedHttpProtocol, settings.send_stall_s),
        ws=ending_stalled(FramedProtocol, settings.send_stall_s),
        ws_max_size=settings.frame_in_bytes,
        ws_ping_interval=settings.ping_interval_s,
        ws_ping_timeout=settings.pong_timeout_s,
        ws_per_message_deflate=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )


def announce(settings: Settings, listening: socket.socket) -> None:
    """One line for the person who started it."""
    page = ["Open WebUI's page: /"] if settings.front_end is not None else []
    pages = ", ".join([*page, *(["API: /docs"] if settings.docs_public else [])])
    api = f" ({pages})" if pages else ""
    sys.stdout.write(f"Stenograph is at {url_of(listening)}{api}. Try: {command_to_paste()} chat\n")
    sys.stdout.flush()


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104  # compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def command_to_paste() -> str:
    """How this command line is called in another terminal: by its name where that is found, else by its path."""
    own = Path(sys.argv[0]).absolute()
    found = shutil.which("steno")
    if own.name != "steno" or (found is not None and Path(found).absolute() == own):
        return "steno"
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


def say_that_it_stops(settings: Settings, runs: int | None) -> None:
    """One line for the person who stops it. ``runs``: how many answers run; None if that is not known."""
    line = "Stopping."
    if runs != 0:
        answers = "Answers that run have" if runs is None else "1 answer has" if runs == 1 else f"{runs} answers have"
        line += f" {answers} up to {settings.drain_s:g} s to finish; what is unfinished then is kept, and can be continued."
        line += " Ctrl-C again ends at once."
    with contextlib.suppress(OSError):  # the terminal may be what has gone
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
