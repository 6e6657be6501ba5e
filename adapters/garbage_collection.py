"""Python's collector of cycles, told to look seldom: events, rows and chats make no cycles, and to look for them costs up to a fifth
of the time of a process that makes many. It imports nothing else, so that a command can ask for it at once.
"""

import gc
from typing import Final

THRESHOLDS: Final = (100_000, 20, 50)  # new objects, then rounds of the generation below


def collect_seldom() -> None:
    """From now on, in this process."""
    gc.set_threshold(*THRESHOLDS)
