"""The figures of one or more ``--json`` files, into ``docs/benchmarks.md``: ``python -m bench.page FILE…``.

A report replaces what the page or an earlier file has of its name, so that one benchmark can be measured again alone. Each section says
what machine it was made on, and when. What stands outside of the two marks is written by people and stays.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.__main__ import NAMES
from bench.host import ROOT
from bench.report import shown

PAGE: Final = ROOT / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- figures: written by python -m bench.page -->"
END: Final = "<!-- end of figures -->"


def section(report: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    lines = [f"### {report['bench']}", "", f"{made(machine)} It took {report['took_s']:.0f} s.", ""]
    lines += ["| what | target | measured | raw | ratio | |", "|---|---|---|---|---|---|"]
    for line in report["lines"]:
        raw = f"{shown(line['raw'])} {line['unit']}".strip() if line["raw"] is not None else ""
        ratio = f"{line['ratio']:.2f}" if line["ratio"] is not None else ""
        verdict = {True: "pass", False: f"**miss**{by(line)}", None: ""}[line["passed"]]
        what = line["what"] + (f"<br>*{line['note']}*" if line["note"] else "")
        lines.append(f"| {what} | {line['target']} | {shown(line['measured'])} {line['unit']} | {raw} | {ratio} | {verdict} |")
    return "\n".join(lines)


def by(line: Mapping[str, Any]) -> str:
    """By how much it misses, the worst of its targets: `` ×1.4`` is 1.4 times too much, or 1.4 times too little."""
    measured, ratio = line["measured"], line["ratio"] or 0.0
    missed = [measured / line["at_most"] if line["at_most"] else 1.0, ratio / line["ratio_at_most"] if line["ratio_at_most"] else 1.0]
    missed.append(line["at_least"] / measured if line["at_least"] and measured else 1.0)
    missed.append(line["ratio_at_least"] / ratio if line["ratio_at_least"] and ratio else 1.0)
    return f" ×{shown(max(missed))}" if max(missed) > 1 else ""


def made(machine: Mapping[str, Any]) -> str:
    own = f", {machine['calibration_cpu_ms']:,.0f} of them on a core" if "calibration_cpu_ms" in machine else ""
    return (
        f"Made {machine['at']} on {machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, PostgreSQL {machine['postgres']}, fsync {machine['fsync']} ({machine['fsync_ms']:.2g} ms a page), "
        f"synchronous_commit {machine['synchronous_commit']}; load {machine['load_1m']}, "
        f"calibration {machine['calibration_ms']:,.0f} ms{own}."
    )


def written(page: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """The page with these figures between the marks. Raises ``ValueError`` where there are no marks, or the figures are of ``--quick``."""
    before, begin, rest = page.partition(BEGIN)
    stands, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END} in the page")
    sections = re.split(r"^(?=### )", stands, flags=re.MULTILINE)[1:]
    reports = {text.partition("\n")[0].removeprefix("### "): text.rstrip() for text in sections}
    for one in figures:
        if one["quick"]:
            raise ValueError("figures made with --quick mean nothing")
        reports |= {report["bench"]: section(report, one["machine"]) for report in one["reports"]}
    return "\n".join([f"{before}{BEGIN}", "", "\n\n".join(reports[name] for name in NAMES if name in reports), "", f"{END}{after}"])


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), [json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
