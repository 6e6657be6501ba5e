"""The collector of cycles looks seldom once it is told so."""

import subprocess
import sys

PROGRAM = """
import gc, sys
from adapters.garbage_collection import THRESHOLDS, collect_rarely
assert gc.get_threshold() != THRESHOLDS
collect_rarely()
assert gc.get_threshold() == THRESHOLDS
drivers = {"asyncpg", "psycopg", "httpx", "litestar", "msgspec"} & sys.modules.keys()
assert not drivers, drivers
"""


def test_it_is_told_by_a_command_that_has_not_loaded_a_driver_yet() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], timeout=120, check=True)
