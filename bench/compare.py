"""``python -m bench compare BASE [NAMES…]``: chosen benchmarks of another revision and of this checkout by turns, and the ratios.

The regression check. ``BASE`` is any git revision. It is checked out as a temporary worktree and run by this interpreter, so both
sides have the same packages. A round runs each benchmark once on each side, and the side that goes first changes with the round:
what the machine does meanwhile meets both. One round says little on a shared machine; read the median, and how far min and max
stand apart.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.host import ROOT
from bench.report import shown

ROUNDS: Final = 3
NAMES: Final = ("latency", "append")  # where none is chosen: what a token costs, and the appender
REMOVE_TIMEOUT_S: Final = 30.0


class RunFailed(Exception):
    """A benchmark ended with an error. Its text is the last of what it said."""


class Compared:
    """One line of a benchmark: its figures on both sides, one for each round in which both have it."""

    def __init__(self, bench: str, what: str, unit: str) -> None:
        self.bench = bench
        self.what = what
        self.unit = unit
        self.base: list[float] = []
        self.here: list[float] = []
        self.base_to_raw: list[float] = []
        self.here_to_raw: list[float] = []

    def add(self, base: dict[str, Any], here: dict[str, Any]) -> None:
        self.base.append(base["measured"])
        self.here.append(here["measured"])
        if base.get("ratio") and here.get("ratio"):
            self.base_to_raw.append(base["ratio"])
            self.here_to_raw.append(here["ratio"])

    @property
    def ratios(self) -> list[float]:
        """Here to base, for each round."""
        return [here / base for here, base in zip(self.here, self.base, strict=True) if base]

    @property
    def ratios_to_raw(self) -> list[float]:
        """The same of what each side is to the raw limit of its own run: what the machine did has no part in it."""
        return [here / base for here, base in zip(self.here_to_raw, self.base_to_raw, strict=True)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench compare", description="Run benchmarks of two revisions by turns.")
    parser.add_argument("base", metavar="BASE", help="a git revision: a branch, a tag, a commit")
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(NAMES), help=f"benchmarks; without any: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"how often each side runs each of them ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="only see whether it works: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round")
    asked = parser.parse_args(arguments)
    console = Console(width=150 if not Console().is_terminal else None)
    lines: dict[tuple[str, str], Compared] = {}
    failed = False
    try:
        with checked_out(asked.base) as base:
            for number in range(asked.rounds):
                for name in asked.names:
                    sides = (base, ROOT) if number % 2 == 0 else (ROOT, base)
                    try:
                        run = {folder: measured(folder, name, quick=asked.quick) for folder in sides}
                    except RunFailed as error:  # an older revision may not have this benchmark; the others go on
                        failed = True
                        console.print(str(error), highlight=False, markup=False)
                        continue
                    add(lines, name, run[base], run[ROOT])
                    for what in run[base].keys() ^ run[ROOT].keys():
                        console.print(f"{name}: only {asked.base if what in run[base] else 'this checkout'} has “{what}”")
                    console.print(f"round {number + 1} of {asked.rounds}: {name} is done", highlight=False)
    finally:  # also what was measured until Ctrl-C
        if lines:
            console.print(table(asked.base, list(lines.values())))
        if asked.json is not None:
            written = [{**vars(line), "ratios": line.ratios, "ratios_to_raw": line.ratios_to_raw} for line in lines.values()]
            asked.json.write_text(json.dumps({"base": asked.base, "lines": written}, indent=1) + "\n")
    return 1 if failed else 0


def add(lines: dict[tuple[str, str], Compared], name: str, base: dict[str, Any], here: dict[str, Any]) -> None:
    """What both sides of a round have, in the order of this checkout."""
    for what in here:
        if what in base:
            lines.setdefault((name, what), Compared(name, what, here[what]["unit"])).add(base[what], here[what])


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with this repository as of ``revision``, for as long as the block takes. Raises ``SystemExit`` for an unknown one."""
    with tempfile.TemporaryDirectory(prefix="steno-base-") as folder:
        path = Path(folder) / "base"
        made = subprocess.run(["git", "worktree", "add", "--detach", str(path), revision], cwd=ROOT, capture_output=True, text=True)
        if made.returncode != 0:
            raise SystemExit(f"cannot check out {revision}: {made.stderr.strip()}")
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=ROOT, check=False, timeout=REMOVE_TIMEOUT_S)


def measured(folder: Path, name: str, *, quick: bool) -> dict[str, dict[str, Any]]:
    """The lines of one run in ``folder`` by what they measure. Raises ``RunFailed``."""
    with tempfile.TemporaryDirectory(prefix="steno-figures-") as written:
        file = Path(written) / "figures.json"
        command = [sys.executable, "-m", "bench", name, "--json", str(file), *(["--quick"] if quick else [])]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            try:
                said, _ = running.communicate()
            except BaseException:
                running.terminate()  # not killed: it has to end the processes that it started
                raise
        if running.returncode != 0:
            raise RunFailed(f"{name} failed in {folder}:\n{said[-2000:]}")
        reports = json.loads(file.read_text())["reports"]
    lines: dict[str, dict[str, Any]] = {}
    for line in (line for report in reports for line in report["lines"]):
        what = line["what"]
        while what in lines:  # "the same, p99", of another line
            what += "′"
        lines[what] = line
    return lines


def table(base: str, lines: Sequence[Compared]) -> Table:
    made = Table(title=f"this checkout beside {base}", title_justify="left", title_style="bold")
    for name in ("bench", "what"):
        made.add_column(name, overflow="fold")
    for name in ("base, median", "here, median", "here ÷ base: min", "median", "max", "to raw, median"):
        made.add_column(name, justify="right")
    for line in lines:
        ratios, to_raw = line.ratios, line.ratios_to_raw
        made.add_row(
            line.bench,
            line.what,
            f"{shown(statistics.median(line.base))} {line.unit}",
            f"{shown(statistics.median(line.here))} {line.unit}",
            *([f"{value:.2f}" for value in (min(ratios), statistics.median(ratios), max(ratios))] if ratios else ["", "", ""]),
            f"{statistics.median(to_raw):.2f}" if to_raw else "",
        )
    return made
