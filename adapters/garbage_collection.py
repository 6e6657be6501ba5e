"""Makes Python's cycle collector run rarely: events, rows and chats form no cycles, and looking for them took up to a fifth of the time
of a process that creates many. This module imports nothing heavy, so that a command can call it at once.
"""

import gc
from typing import Final

THRESHOLDS: Final = (100_000, 20, 50)  # new objects, then rounds of the generation below


def collect_rarely() -> None:
    """From now on, in this process."""
    gc.set_threshold(*THRESHOLDS)
