"""Which servers this user runs on this machine: a small file for each, beside the logins, while it runs.

So the command line finds the server of a folder, its port and its data, without settings. A file names its process and when that
began; what a crash has left behind is recognised by it, and deleted.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
import structlog

logger = structlog.get_logger("running")

FOLDER_NAME: Final = "servers"
BEGAN: Final = 19  # where /proc/PID/stat has the process's beginning, counted behind its name and state


class RunningServer(msgspec.Struct, frozen=True):
    url: str
    data: str  # its data folder, absolute
    folder: str  # where it was started, absolute
    pid: int
    began: str  # when the process began, in the kernel's ticks: another process with the same number began later
    own_database: bool  # False: its Postgres is that of a DATABASE_URL


def servers_folder() -> Path:
    return Path(click.get_app_dir("stenograph")) / FOLDER_NAME


@contextlib.contextmanager
def noted(url: str, data: Path, *, own_database: bool) -> Iterator[None]:
    """The server is on the list meanwhile. Where that cannot be written, it is found by its URL alone."""
    pid = os.getpid()
    server = RunningServer(url, str(data.absolute()), str(Path.cwd()), pid, began_of(pid) or "", own_database)
    path = servers_folder() / f"{hashlib.sha256(server.data.encode()).hexdigest()[:16]}.json"
    try:
        write(path, server)
    except OSError as error:
        logger.info("server_not_noted", error=str(error))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            # Not by a worker process, which comes through here as well.
            if os.getpid() == pid and msgspec.json.decode(path.read_bytes(), type=RunningServer).pid == pid:
                path.unlink()


def write(path: Path, server: RunningServer) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".new")
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(server))
    Path(temporary).replace(path)


def running_servers() -> list[RunningServer]:
    """Those that run now. The files of all others are deleted."""
    found: list[RunningServer] = []
    for path in sorted(servers_folder().glob("*.json")):
        try:
            server = msgspec.json.decode(path.read_bytes(), type=RunningServer)
        except (OSError, msgspec.MsgspecError):
            continue
        if began_of(server.pid) == server.began:
            found.append(server)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def server_of_data(data: Path) -> RunningServer | None:
    return next((one for one in running_servers() if one.data == str(data.absolute())), None)


def server_of_folder() -> RunningServer | None:
    """The server that was started in the current folder; None also if there are several."""
    here = [one for one in running_servers() if one.folder == str(Path.cwd())]
    return here[0] if len(here) == 1 else None


def began_of(pid: int) -> str | None:
    """When a process began; None if there is no such."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[BEGAN]
