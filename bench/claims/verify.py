"""``steno verify`` of a long log, alone and with ``--projections``, beside a rebuild of all projections in the same run."""

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any, Final

import psycopg

from api.systems import PROJECTIONS
from bench.bare_ways.log import scanned_s
from bench.host import ROOT, Host
from bench.load.dataset import Dataset, standard
from bench.report import Line

WAIT_S: Final = 3600.0
VERIFY: Final = ("-m", "api.cli", "verify", "--json")
READ_ALL: Final = "SELECT sum(length(data::text)) FROM events"
REBUILD: Final = ("-m", "api.cli", "projections", "rebuild", *(one.name for one in PROJECTIONS))


async def run(host: Host) -> list[Line]:
    with standard(host) as data:
        return verified(host, data)


def verified(host: Host, data: Dataset) -> list[Line]:
    steno = Steno(host, data.dsn)
    warm(data.dsn)
    rebuilt_s, rebuilt_mb, _ = steno.run("rebuild", REBUILD)
    _, log_mb, said = steno.run("verify", VERIFY)
    log_s = said["took_s"]
    both_s, both_mb, with_views = steno.run("verify-all", (*VERIFY, "--projections"))
    assert said["ok"] and with_views["ok"], "the log of the benchmark is not whole"
    events = said["events"]
    return [
        Line(
            what=f"the log, {events:,} events",
            measured=log_s,
            unit="s",
            raw=scanned_s(data.dsn),
            ratio_at_most=2.5,
            note=f"{events / log_s:,.0f} events/s; raw: COPY of the same bytes, a scan as JSON and their SHA-256",
        ),
        Line(what="the log: peak memory", measured=log_mb, unit="MB", note=f"{data.facts.chats:,} chats"),
        Line(
            what="with --projections, but for the log's own part",
            measured=both_s - with_views["took_s"],
            unit="s",
            raw=rebuilt_s,
            ratio_at_most=1.0,
            note="raw: a rebuild of all projections, from the start of its process to its end",
        ),
        Line(what="with --projections, all of it", measured=both_s, unit="s", raw=rebuilt_s),
        Line(what="with --projections: peak memory", measured=both_mb, unit="MB", raw=rebuilt_mb),
    ]


def warm(dsn: str) -> None:
    """Read the log once, so that no run pays for the disk and the next one does not."""
    with psycopg.connect(dsn) as connection:
        connection.execute(READ_ALL)


class Steno:
    """The command as an operator runs it: a process of its own."""

    def __init__(self, host: Host, dsn: str) -> None:
        self._host = host
        self._environment = {"DATABASE_URL": dsn, "STENO_DATA": str(host.folder / "data"), "PYTHONPATH": str(ROOT)}

    def run(self, kind: str, command: tuple[str, ...]) -> tuple[float, float, Any]:
        """How long it took, its peak memory in MB, and what it said."""
        said = self._host.folder / f"{kind}.log"
        said.unlink(missing_ok=True)
        started_s = time.monotonic()
        process = self._host.process(kind, list(command), self._environment)
        peak_mb = 0.0
        while (code := process.ended()) is None:
            with contextlib.suppress(RuntimeError, OSError):  # it has ended between the two looks
                peak_mb = max(peak_mb, process.peak_rss_mb())
            time.sleep(0.05)
            if time.monotonic() - started_s > WAIT_S:
                raise RuntimeError(f"{kind} did not end within {WAIT_S:g} s")
        took_s = time.monotonic() - started_s
        if code != 0:
            raise RuntimeError(f"{kind} ended with {code}:\n{said.read_text()[-2000:]}")
        return took_s, peak_mb, answer(said)


def answer(said: Path) -> Any:
    found = re.search(r"^\{.*\}$", said.read_text(), re.MULTILINE)
    return json.loads(found[0]) if found else None
