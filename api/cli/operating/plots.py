"""Plots of numbers as text: columns over time, and bars by name."""

from collections.abc import Sequence
from typing import Any, Final

EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
WIDTHS: Final = " ▏▎▍▌▋▊▉█"
HEIGHT: Final = 6  # lines
BAR: Final = 40  # characters


def columns(title: str, labels: Sequence[str], values: Sequence[float]) -> Any:
    """A column for each value, three characters wide, below its largest value and above its first and last label."""
    from rich.text import Text

    top = max(values, default=0)
    above = ("".join(part(value, top, line) * 2 + " " for value in values).rstrip() for line in range(HEIGHT, 0, -1))
    lines = [f"{title} (at most {number(top)})", *above]
    width = max(3 * len(values) - 1, 1)
    first, last = (labels[0], labels[-1]) if labels else ("", "")
    lines.append(first + last.rjust(max(width - len(first), len(last) + 1)) if len(labels) > 1 else first)
    return Text("\n".join(lines))


def part(value: float, top: float, line: int) -> str:
    """What of a column stands in this line, counted from the bottom and from 1. A value above 0 is seen."""
    eighths = max(round(value / top * HEIGHT * 8), 1) if value > 0 else 0
    return EIGHTHS[min(max(eighths - (line - 1) * 8, 0), 8)]


def bars(values: Sequence[tuple[str, float]]) -> Any:
    """A bar for each name."""
    from rich.text import Text

    top = max((value for _, value in values), default=0)
    wide = max((len(name) for name, _ in values), default=0)
    lines = []
    for name, value in values:
        eighths = max(round(value / top * BAR * 8), 1) if value > 0 else 0
        bar = WIDTHS[8] * (eighths // 8) + (WIDTHS[eighths % 8] if eighths % 8 else "")
        lines.append(f"{name:<{wide}}  {bar} {number(value)}")
    return Text("\n".join(lines))


def number(value: float | None) -> str:
    """As short as it is clear; ``-``: it is not known."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e5, "k")):
        if abs(value) >= size:
            return f"{value / (size if unit != 'k' else 1e3):.3g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"
