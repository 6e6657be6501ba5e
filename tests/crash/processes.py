"""The processes that these tests kill: servers of ours, and the Postgres of a data folder."""

import asyncio
import contextlib
import os
import random
import select
import signal
import socket
import time
from pathlib import Path
from uuid import uuid4

import httpx

from tests.forked import Forked

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 180  # only ends a test that hangs: on a busy machine two processes take long to start
STOP_TIMEOUT_S = 60  # as above
POLL_S = 0.02
PORT_MIN = 10_240
LEASE_S = 2
SECRET = "a secret that every process of a test shares"

# As `steno serve` does. Appender and runs hold on for as long as the test says: 40 s of an outage are too long to wait for. A page offers
# only models of the list, whose longest answer takes 33 s: on a busy machine it is over before the page is where the test wants it.
SERVE = """
import os
import adapters.providers.demo.demo
import commands.generation.run
from adapters.postgres.log.log import postgres_log
from api.process.serve import run
from api.settings_loading import load
hold_s = os.environ.pop("CRASH_HOLD_S", "")
if hold_s:
    postgres_log.__kwdefaults__["hold_s"] = commands.generation.run.APPEND_HOLD_S = float(hold_s)
listed = os.environ.pop("CRASH_LISTED", "")
if listed:
    adapters.providers.demo.demo._LISTED[listed] = listed
run(load())
"""
OURS = {"hold_s", "listed"}  # which SERVE reads


def free_port() -> int:
    """One below those that the system gives to connections: while its server is dead nobody else gets it."""
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(PORT_MIN, below)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """One server on a port of its own, which stays the same when it is started again."""

    def __init__(self, data: Path, dsn: str | None = None, *, log_folder: Path | None = None, **settings: object) -> None:
        """``settings`` as in ``api/settings.py``, and ``OURS``. Without ``dsn`` it runs the Postgres of its data folder."""
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = (log_folder or data.parent) / f"server-{uuid4().hex}.log"  # not the port: another test may get it
        given = {"lease_s": LEASE_S, "secret": SECRET, "log_format": "json", **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STENO_") and name != "DATABASE_URL"},
            "STENO_DATA": str(data),
            "STENO_PORT": str(self.port),
            **{f"{'CRASH' if name in OURS else 'STENO'}_{name.upper()}": str(value) for name, value in given.items()},
        }
        if dsn is not None:
            self._environment["DATABASE_URL"] = dsn
        self.processes = int(str(given.get("workers", 1)))
        self._process: Forked | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        request = {"code": SERVE, "environ": self._environment, "folder": str(ROOT)}
        with self.log_file.open("ab") as log, open(os.devnull) as nothing:
            self._process = Forked(request, (nothing.fileno(), log.fileno(), log.fileno()))

    async def start(self) -> "ServerProcess":
        """Returns once it is ready, with all its processes."""
        self.spawn()
        limits = httpx.Limits(max_keepalive_connections=0)  # each time whoever takes it
        async with httpx.AsyncClient(base_url=self.url, limits=limits) as http:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                assert self._process is not None and self._process.poll() is None, f"the server ended:\n{self.said()}"
                assert time.monotonic() < deadline, f"the server was not ready within {START_TIMEOUT_S} s:\n{self.said()}"
                try:
                    if (await http.get("/ready", timeout=2)).status_code == 200 and (
                        self.processes == 1
                        or (await http.get("/metrics", timeout=2)).text.count("\nstenograph_worker_silent_seconds{") == self.processes
                    ):
                        return self
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(POLL_S)

    def workers(self) -> list[int]:
        """The pids of its processes below the parent; none where it is a single one."""
        return [pid for pid in children_of(self.pid) if not command_of(pid).endswith(b"postgres")] if self.processes > 1 else []

    def signal(self, number: signal.Signals) -> None:
        """To whoever was started; what stops and goes on is the whole of it."""
        assert self._process is not None
        if number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in self.workers():
                os.kill(pid, number)
        self._process.send_signal(number)

    def kill(self) -> None:
        """``kill -9`` of the whole of it, also of one that was stopped."""
        if self._process is not None and self._process.poll() is None:
            workers = self.workers()
            self._process.kill()
            for pid in workers:
                kill_and_wait(pid)  # the address is theirs as well
            self._process.wait(STOP_TIMEOUT_S)

    async def ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Its exit code."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"the server did not end within {timeout_s} s:\n{self.said()}"
            await asyncio.sleep(POLL_S)
        return self._process.returncode

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self, characters: int = 12000) -> str:
        return self.log_file.read_text(errors="replace")[-characters:] if self.log_file.exists() else ""


def kill_and_wait(pid: int) -> None:
    """Until all of its threads have ended: it counts as a zombie before, while one of them still holds its sockets open."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(ended, signal.SIGKILL)
        assert select.select([ended], [], [], STOP_TIMEOUT_S)[0], f"process {pid} was killed and is still there after {STOP_TIMEOUT_S} s"
    except ProcessLookupError:
        pass  # ended meanwhile, and reaped
    finally:
        os.close(ended)


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return b""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def postmaster(data: Path) -> int | None:
    """The pid of the Postgres that runs in the data folder."""
    try:
        pid = int((data / "postgres" / "postmaster.pid").read_text().split()[0])
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except (OSError, IndexError, ValueError):
        return None
    return pid if state != "Z" and name.endswith(b"postgres") else None


def kill_postgres(data: Path, number: signal.Signals = signal.SIGKILL) -> None:
    """``kill -9`` of the postmaster: its children notice, and end without a checkpoint."""
    pid = postmaster(data)
    assert pid is not None, f"no Postgres runs in {data}"
    os.kill(pid, number)


async def postgres_gone(data: Path, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while postmaster(data) is not None:
        assert time.monotonic() < deadline, f"Postgres still runs in {data}"
        await asyncio.sleep(POLL_S)
