"""How a command that has much to do leaves the processor to the servers of the same machine."""

import os
from typing import Final

NICENESS: Final = 10  # about a tenth of the processor while others want it; all of it otherwise


def lower_priority() -> None:
    """To be called once the database runs: a Postgres that this command starts is the servers' own."""
    os.nice(NICENESS)
