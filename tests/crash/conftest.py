"""Servers that are killed at the end of a test whatever became of it, and data folders that are made once and copied."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.embedded.server import EmbeddedPostgres
from adapters.postgres.preparing.migrate import migrate
from tests.crash.processes import ServerProcess, postmaster

StartServer = Callable[..., ServerProcess]


on_one_and_two = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two processes"], indirect=True)


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> int:
    """How many processes each server is: a module that carries ``on_one_and_two`` says the same of a server of two."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def new_server(open_folder: Path, workers: int) -> Iterator[StartServer]:
    """Makes servers: ``new_server(dsn)`` on a database, ``new_server(data=folder)`` with the folder's own Postgres."""
    made: list[ServerProcess] = []

    def make(dsn: str | None = None, *, data: Path | None = None, log_folder: Path | None = None, **settings: object) -> ServerProcess:
        folder = data or open_folder / f"server-{uuid4().hex[:8]}"
        server = ServerProcess(folder, dsn, log_folder=log_folder or open_folder, **{"workers": workers, **settings})
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()
        sys.stdout.write(f"--- {server.url} said last:\n{server.said()}\n")  # shown by pytest where the test failed


@pytest.fixture(scope="session")
def made_folder(open_folder: Path) -> Path:
    """A data folder with a migrated Postgres in it, stopped."""
    folder = open_folder / "made-for-crashes"
    with EmbeddedPostgres(folder, durable=False) as embedded:
        migrate(embedded.dsn)
    return folder


@pytest.fixture
def data_folder(made_folder: Path, open_folder: Path) -> Iterator[Path]:
    """A copy of it. Whatever Postgres runs in it at the end is killed."""
    folder = open_folder / f"data-{uuid4().hex[:8]}"
    copy_folder(made_folder, folder)
    yield folder
    stop_postgres(folder)
    shutil.rmtree(folder, ignore_errors=True)


def copy_folder(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", source, target], check=True)


def stop_postgres(folder: Path) -> None:
    pid = postmaster(folder)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 10
        while postmaster(folder) is not None and time.monotonic() < deadline:
            time.sleep(0.02)
