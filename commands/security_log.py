"""The security log: who was let in, who was refused, what admins changed, and what was read by role alone.

A record names accounts by id and never holds a password, a token, an e-mail address or what somebody wrote. It is JSON in ASCII, one a
line, in a file of its own where there is one, else an entry of the server's log; so no value can forge another record.
``api/request/security_log.py`` records what is seen of requests; commands add what they alone know by ``about`` and ``read_by_role``.
"""

import json
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

VALUE_CHARACTERS_MAX: Final = 256
RECORDS_MAX: Final = 200  # a second: what is refused is free for whoever asks, and the disk is not

# Of the request or socket that is served: its id, its address, and what commands have said about it.
ABOUT: ContextVar[dict[str, Any] | None] = ContextVar("security_about", default=None)

_write_line: Callable[[str], None] | None = None


def write_lines_with(write: Callable[[str], None] | None) -> None:
    """Each record is a line for ``write`` from now on; with None, an entry of the server's log."""
    global _write_line
    _write_line = write


class Budget:
    """So many records a second; those beyond are counted, and their number is recorded when a second is over."""

    def __init__(self, records_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._records_max = records_max
        self._clock = clock
        self._second = 0
        self._records = 0
        self.left_out = 0

    def take(self) -> bool:
        """Whether one more may be recorded now."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._records = second, 0
        self._records += 1
        if self._records > self._records_max:
            self.left_out += 1
            return False
        return True

    def reported(self) -> int:
        """How many were left out since the last call."""
        left_out, self.left_out = self.left_out, 0
        return left_out


_budget: Final = Budget(RECORDS_MAX)


def begin(**fields: Any) -> None:
    """A request or a socket begins, in the task that serves it."""
    ABOUT.set(fields)


def about(**fields: Any) -> None:
    """What is known of the request besides: it is part of the record if one is made."""
    known = ABOUT.get()
    if known is not None:
        known.update(fields)


def read_by_role(account: UUID, role: str, what: str) -> None:
    """Somebody was let in to what is not theirs and was not shared with them: an admin or an auditor. Once for each request and thing."""
    known = ABOUT.get()
    if known is not None:
        noted: set[str] = known.setdefault("_read", set())
        if what in noted:
            return
        noted.add(what)
    record("read_by_role", account=account, role=role, what=what)


def record(event: str, **fields: Any) -> None:
    if not _budget.take():
        return
    if left_out := _budget.reported():
        _write("records_left_out", {"count": left_out})
    known = {name: value for name, value in (ABOUT.get() or {}).items() if not name.startswith("_")}
    _write(event, {**known, **fields})


def _write(event: str, fields: dict[str, Any]) -> None:
    shown = {name: _shown(value) for name, value in fields.items() if value is not None}
    if _write_line is not None:
        _write_line(json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **shown}))
    else:
        structlog.get_logger("security").info(event, log="security", **shown)


def _shown(value: Any) -> Any:
    """A number, or a text of printable ASCII that is not too long."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return str(value)[:VALUE_CHARACTERS_MAX].encode("unicode_escape").decode("ascii")
