"""``python -m bench NAME [--json FILE] [--quick]``, and ``python -m bench compare BASE [NAMES…]``."""

import argparse
import importlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import uvloop
from rich.console import Console

from bench import compare
from bench.host import Host, hosting
from bench.machine import facts
from bench.report import Report, show

NAMES: Final = (
    *("append", "latency", "throughput", "first-token", "fanout", "storm", "history", "memory", "start", "two"),
    *("projections", "read", "search", "import", "verify", "hostile", "routing", "channels", "analytics", "front-end"),
)
MODULES: Final = {"import": "importing", "two": "two_processes"}  # where a name is no module's


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["compare"]:
        return compare.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what we claim, beside the raw limit.")
    parser.add_argument("name", choices=[*NAMES, "all"], help="or compare BASE [NAMES…], which has a --help of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, with the facts of this machine")
    parser.add_argument("--quick", action="store_true", help="only see whether it works: small and short, its figures mean nothing")
    asked = parser.parse_args(arguments)
    names = NAMES if asked.name == "all" else (asked.name,)
    console = Console()
    with hosting(quick=asked.quick) as host:
        machine = uvloop.run(facts(host.owner_dsn, host.folder))
        console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
        reports = []
        for name in names:
            reports.append(measured(name, host))
            show(reports[-1])
    if asked.json is not None:
        written: dict[str, Any] = {"machine": machine, "quick": asked.quick, "reports": [report.as_json() for report in reports]}
        asked.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


def end(number: int, _: object) -> NoReturn:
    """A run that is told to end takes what it started along."""
    raise SystemExit(128 + number)


def measured(name: str, host: Host) -> Report:
    """One benchmark. A figure that misses its target is a result, not a failure: only what breaks is raised."""
    module = importlib.import_module(f"bench.claims.{MODULES.get(name, name.replace('-', '_'))}")
    started = time.monotonic()
    try:
        lines = uvloop.run(module.run(host))
    finally:
        host.close()
    return Report(name, lines, time.monotonic() - started)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    sys.exit(main())
