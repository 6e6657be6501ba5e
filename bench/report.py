"""What a benchmark says: lines with a target, a figure, the raw limit beside it and the ratio of the two."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


def memory_line(what: str, peak_mb: float, early_mb: float, until: str) -> "Line":
    """The most memory of some work beside what it took early on, ``until`` then: it must not grow with the length of the work."""
    note = f"raw is here what it took until {until}"
    return Line(what=f"memory of the {what}, most of it", measured=peak_mb, unit="MB", raw=early_mb, ratio_at_most=1.25, note=note)


class Line(msgspec.Struct, kw_only=True):
    """One figure. ``raw`` is the same without our code, measured in the same run; the ratio is ``measured / raw``."""

    what: str
    measured: float
    unit: str
    raw: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.measured / self.raw if self.raw else None

    @property
    def target(self) -> str:
        said = [
            f"≥ {shown(self.at_least)}" if self.at_least is not None else "",
            f"≤ {shown(self.at_most)}" if self.at_most is not None else "",
            f"≥ {self.ratio_at_least:g} × raw" if self.ratio_at_least is not None else "",
            f"≤ {self.ratio_at_most:g} × raw" if self.ratio_at_most is not None else "",
        ]
        return ", ".join(one for one in said if one)

    @property
    def passed(self) -> bool | None:
        """None where nothing was promised."""
        if not self.target:
            return None
        ratio = self.ratio
        return (
            (self.at_least is None or self.measured >= self.at_least)
            and (self.at_most is None or self.measured <= self.at_most)
            and (self.ratio_at_least is None or (ratio is not None and ratio >= self.ratio_at_least))
            and (self.ratio_at_most is None or (ratio is not None and ratio <= self.ratio_at_most))
        )

    def as_json(self) -> dict[str, Any]:
        return {**msgspec.structs.asdict(self), "ratio": self.ratio, "target": self.target, "passed": self.passed}


class Report(msgspec.Struct):
    name: str
    lines: list[Line]
    took_s: float

    def as_json(self) -> dict[str, Any]:
        return {"bench": self.name, "took_s": round(self.took_s, 1), "lines": [line.as_json() for line in self.lines]}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of ``values`` lie; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def shown(value: float | None) -> str:
    if value is None:
        return ""
    if value != value:  # NaN: nothing was measured
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(report: Report) -> Table:
    made = Table(title=f"{report.name}  ({report.took_s:.0f} s)", title_justify="left", title_style="bold")
    for name, justify in (("what", "left"), ("target", "left"), ("measured", "right"), ("raw", "right"), ("ratio", "right"), ("", "left")):
        made.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    for line in report.lines:
        verdict = {True: "[green]pass[/]", False: "[red]MISS[/]", None: ""}[line.passed]
        what = f"{line.what}\n[dim]{line.note}[/]" if line.note else line.what
        raw = f"{shown(line.raw)} {line.unit}" if line.raw is not None else ""
        ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
        made.add_row(what, line.target, f"{shown(line.measured)} {line.unit}", raw, ratio, verdict)
    return made


def show(report: Report) -> None:
    Console(width=150 if not Console().is_terminal else None).print(table(report))
