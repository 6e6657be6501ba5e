"""What thousands of tests pay for, made cheap once for all of them.

``lower_costs`` changes this process alone: a server that a test starts as a process of its own keeps the real costs.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import httpx._transports.default

from adapters import identity

MEMORY_FOLDER: Final = Path("/dev/shm")
MEMORY_BYTES_MIN: Final = 6 << 30  # free of it: each process's Postgres takes up to 300 MB, and bench/ twice as much for a time
REAL_PASSWORD_COSTS: Final = {"TIME_COST": identity.TIME_COST, "MEMORY_KIB": identity.MEMORY_KIB}
CHEAP_PASSWORD_COSTS: Final = {"TIME_COST": 1, "MEMORY_KIB": 8}  # the least that argon2 takes


def lower_costs() -> None:
    """A hash of a password takes 35 ms of a core by design, and each HTTP client reads the system's certificates for 25 ms."""
    set_password_costs(CHEAP_PASSWORD_COSTS)
    made: Any = httpx._transports.default
    made.create_ssl_context = shared_ssl_context


def set_password_costs(costs: dict[str, int]) -> None:
    for name, value in costs.items():
        setattr(identity, name, value)


@contextmanager
def real_password_costs() -> Iterator[None]:
    """For what is tested of the hash itself."""
    set_password_costs(REAL_PASSWORD_COSTS)
    try:
        yield
    finally:
        set_password_costs(CHEAP_PASSWORD_COSTS)


@functools.cache
def shared_ssl_context(**of: Any) -> Any:
    """httpx's own, one for all clients with the same options."""
    return httpx.create_ssl_context(**of)


def memory_folder() -> Path | None:
    """Where files are kept in memory, if there is enough of it: a database is copied there in a fifth of the time that a disk takes.

    Only where programs may be started from it, which some containers forbid: the embedded Postgres may have to copy its own.
    """
    try:
        found = os.statvfs(MEMORY_FOLDER)
    except OSError:
        return None
    free = found.f_bavail * found.f_frsize
    return MEMORY_FOLDER if free >= MEMORY_BYTES_MIN and not found.f_flag & os.ST_NOEXEC and os.access(MEMORY_FOLDER, os.W_OK) else None
