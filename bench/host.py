"""What a run stands on: a Postgres of its own, a database for each benchmark, and the processes that it starts.

Everything is ended with the run, by process id. ``DATABASE_URL`` names another Postgres to measure on; its user makes and
drops databases named ``steno_bench_…``.
"""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

import psycopg
from psycopg import sql

from adapters.embedded.server import EmbeddedPostgres
from adapters.postgres.preparing.migrate import migrate

ROOT: Final = Path(__file__).resolve().parents[1]
SECRET: Final = "a secret of the benchmarks, nobody's else"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
SERVE: Final = "from api.process.serve import run; from api.settings_loading import load; run(load())"


class Process:
    """A child process. ``kind`` names it in messages."""

    def __init__(self, kind: str, command: list[str], log: Path, environment: Mapping[str, str] = {}) -> None:
        self.kind = kind
        self._log = log
        self._written = log.open("ab")
        self._child = started(command, {**os.environ, **environment}, self._written)

    @property
    def pid(self) -> int:
        return self._child.pid

    def check(self) -> None:
        """Raises ``RuntimeError`` with its last words if it has ended."""
        if self._child.poll() is not None:
            raise RuntimeError(f"{self.kind} ended with {self._child.returncode}:\n{self._log.read_text()[-2000:]}")

    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return self._child.poll()

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._written.close()

    def rss_mb(self) -> float:
        return self._status("VmRSS") / 1024

    def peak_rss_mb(self) -> float:
        return self._status("VmHWM") / 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise RuntimeError(f"{self.kind} says no {name}")


def started(command: list[str], environment: Mapping[str, str], written: BinaryIO) -> "subprocess.Popen[bytes]":
    """Python with the arguments ``command``, in a session of its own. Both of its outputs go to ``written``."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=written,
        stderr=written,
        start_new_session=True,
    )


async def last_line(command: list[str]) -> bytes:
    """What Python with the arguments ``command`` says last. Raises ``RuntimeError`` with its last words if it fails."""
    with tempfile.TemporaryFile() as written:
        child = started(command, os.environ, written)
        try:
            while (code := child.poll()) is None:  # noqa: ASYNC110  # another process's end
                await asyncio.sleep(POLL_S)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        written.seek(0)
        said = written.read()
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{said[-2000:].decode(errors='replace')}")
    return said.rstrip().rpartition(b"\n")[2]


class Host:
    """One run. ``quick`` makes everything small: it shows that the benchmark works, and its figures mean nothing."""

    def __init__(self, folder: Path, owner_dsn: str, *, quick: bool) -> None:
        self.folder = folder
        self.owner_dsn = owner_dsn
        self.quick = quick
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        """End what was started since the last call, the newest first."""
        self._stack.close()

    def database(self) -> str:
        """A fresh migrated database, dropped at ``close``."""
        name = f"steno_bench_{uuid4().hex[:12]}"
        with psycopg.connect(self.owner_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._stack.callback(self._drop, name)
        dsn = dsn_of(self.owner_dsn, name)
        migrate(dsn)
        return dsn

    def _drop(self, name: str) -> None:
        with psycopg.connect(self.owner_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def process(self, kind: str, command: list[str], environment: Mapping[str, str] = {}) -> Process:
        made = Process(kind, command, self.folder / f"{kind}.log", environment)
        self._stack.callback(made.stop)
        return made

    def listening(self, kind: str, command: list[str], environment: Mapping[str, str] = {}) -> "tuple[Process, int]":
        """A process that takes connections on the port that is added to its command; returned once it does."""
        port = free_port()
        process = self.process(kind, [*command, str(port)], environment)
        wait_for_port(process, port)
        return process, port

    def server(self, dsn: str, *, provider_port: int | None = None, settings: Mapping[str, str] = {}) -> "Server":
        """A server process on the database, once it is ready."""
        port = free_port()
        environment = {
            "STENO_PORT": str(port),
            "STENO_HOST": "127.0.0.1",
            "STENO_DATA": str(self.folder / f"data-{port}"),
            "DATABASE_URL": dsn,
            "STENO_SECRET": SECRET,
            "STENO_LOG_LEVEL": "warning",
            "STENO_DEMO_MODEL": "false",
            **({"STENO_OPENAI_BASE_URLS": f"http://127.0.0.1:{provider_port}/v1"} if provider_port else {}),
            **settings,
        }
        process = self.process("server", ["-c", SERVE], environment)
        return Server(process, port, str(wait_until_ready(process, port)["epoch"]))


class Server:
    def __init__(self, process: Process, port: int, epoch: str) -> None:
        self.process = process
        self.port = port
        self.epoch = epoch

    def metrics(self) -> dict[str, float]:
        """The server's own figures by their names, without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.partition(" ") for line in lines if line.startswith("stenograph_"))}


@contextlib.contextmanager
def hosting(*, quick: bool) -> Iterator[Host]:
    """A folder and a Postgres for as long as the run takes."""
    raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="steno-bench-", dir="/tmp"))  # short, for the sockets in it
    folder.chmod(0o711)  # root's embedded Postgres runs as a system user, which must get through
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        given = os.environ.get("DATABASE_URL")
        dsn = given or stack.enter_context(EmbeddedPostgres(folder / "data")).dsn
        host = Host(folder, dsn, quick=quick)
        stack.callback(host.close)
        yield host


def dsn_of(dsn: str, database: str) -> str:
    """``dsn`` with another database, still as a URL."""
    scheme, _, rest = dsn.partition("://")
    before_query, mark, query = rest.partition("?")
    return f"{scheme}://{before_query.partition('/')[0]}/{database}{mark}{query}"


def raise_file_limit() -> None:
    """Thousands of sockets in this process and in its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(process: Process, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        process.check()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.kind} took no connection within {START_TIMEOUT_S:g} s")


def wait_until_ready(process: Process, port: int, *, every_s: float = 0.02) -> Any:
    """What ``/ready`` says, once it says 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        process.check()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return json.load(answer)
        time.sleep(every_s)
    raise RuntimeError(f"the server was not ready within {START_TIMEOUT_S:g} s")
