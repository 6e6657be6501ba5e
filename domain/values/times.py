"""Times that clients and other systems write into messages."""

import re
from datetime import UTC, datetime
from typing import Any, Final

NUMBER: Final = re.compile(r"[0-9]{9,19}(\.[0-9]{1,9})?", re.ASCII)  # shorter digits are a date to ISO 8601
# A time is in seconds, milliseconds, microseconds or nanoseconds. Its size tells which, up to the year 5138.
UNITS: Final = ((10**11, 1), (10**14, 1_000), (10**17, 1_000_000), (10**20, 1_000_000_000))


def seconds_since_1970(value: Any) -> int | float | None:
    """A number in any of these units, also as text, or a text as ISO 8601 writes it (UTC where it names no zone), in seconds.

    None for anything else.
    """
    if isinstance(value, str):
        if NUMBER.fullmatch(value):
            return seconds_since_1970(float(value) if "." in value else int(value))
        try:
            known = datetime.fromisoformat(value)
        except ValueError:
            return None
        value = (known if known.tzinfo is not None else known.replace(tzinfo=UTC)).timestamp()
        return int(value) if value == int(value) and value >= 0 else value if value >= 0 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    for below, per_second in UNITS:
        if value < below:
            return value if per_second == 1 else value // per_second if value % per_second == 0 else value / per_second
    return None
