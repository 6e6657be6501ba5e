"""From nothing to ``/ready``: the server process with its embedded Postgres, on a new data folder and on an existing one.

Raw is that Postgres alone, made and started by the same code, and the interpreter with its imports.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from adapters.embedded.server import EmbeddedPostgres
from bench.host import ROOT, SERVE, Host, free_port, wait_until_ready
from bench.report import Line, percentile

ROUNDS: Final = 3


async def run(host: Host) -> list[Line]:
    return await asyncio.to_thread(measured, host)


def measured(host: Host) -> list[Line]:
    new: list[float] = []
    existing: list[float] = []
    postgres_new: list[float] = []
    postgres_existing: list[float] = []
    for number in range(1 if host.quick else ROUNDS):
        folder = host.folder / f"start-{number}"
        for took in (new, existing):
            took.append(until_ready_s(host, folder / "server"))
        for took in (postgres_new, postgres_existing):
            took.append(postgres_alone_s(folder / "postgres"))
    imports_s = until_imported_s()
    note = f"the interpreter and its imports alone {imports_s:.2f} s; raw is Postgres alone"
    return [
        Line(
            what="new data folder",
            measured=percentile(new, 0.5),
            unit="s",
            raw=percentile(postgres_new, 0.5),
            at_most=5,
            note=note,
        ),
        Line(what="existing data folder", measured=percentile(existing, 0.5), unit="s", raw=percentile(postgres_existing, 0.5), at_most=3),
    ]


def until_ready_s(host: Host, data: Path) -> float:
    data.parent.mkdir(exist_ok=True)
    data.parent.chmod(0o711)
    port = free_port()
    environment = {
        "STENO_PORT": str(port),
        "STENO_HOST": "127.0.0.1",
        "STENO_DATA": str(data),
        "STENO_LOG_LEVEL": "warning",
        "DATABASE_URL": "",
    }
    started = time.monotonic()
    process = host.process("start", ["-c", SERVE], environment)
    wait_until_ready(process, port, every_s=0.01)
    took_s = time.monotonic() - started
    process.stop()
    return took_s


def postgres_alone_s(data: Path) -> float:
    started = time.monotonic()
    with EmbeddedPostgres(data):
        return time.monotonic() - started


def until_imported_s() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import api.process.serve"], cwd=ROOT, check=True)
    return time.monotonic() - started
