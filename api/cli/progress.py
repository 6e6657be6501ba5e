"""A bar for what takes longer than a second."""

import sys
from typing import Final

SHOWN_AFTER_S: Final = 1.0


class Progress:
    """Appears once the work has lasted a second, with its rate and the time left. Not shown without a terminal."""

    def __init__(self, what: str, total: int, *, unit: str = "") -> None:
        from rich.console import Console  # only here: most commands show no progress
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._unit = unit
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(what, total=total, rate="")
        self._began = 0.0
        self._is_shown = False
        self._done = 0

    def __enter__(self) -> "Progress":
        self._began = self._bar.get_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, count: int = 1) -> None:
        self.reached(self._done + count)

    def reached(self, done: int, total: int | None = None) -> None:
        """So many are done now, of a number that may have grown."""
        self._done = done
        lasted_s = self._bar.get_time() - self._began
        rate = f"{done / lasted_s:,.0f} {self._unit}/s" if self._unit and lasted_s > 0 else ""
        self._bar.update(self._task, completed=done, total=total, rate=rate)
        if not self._is_shown and lasted_s > SHOWN_AFTER_S:
            self._is_shown = True
            self._bar.start()
