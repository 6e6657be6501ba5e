"""One export of the figures in a process of its own: ``python -m bench.claims.analytics_export DSN DIR`` prints its figures as JSON."""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from adapters.garbage_collection import collect_rarely
from adapters.postgres.analysts.export import export
from bench.host import last_line

EARLY: Final = 0.25  # of the events, after which memory should grow no more


class Export(msgspec.Struct):
    events: int
    rows: int  # of generations and messages
    took_s: float
    early_mb: float  # most memory used until ``EARLY`` of the events
    peak_mb: float
    size_bytes: int  # of the whole data set


async def exported(dsn: str, folder: Path) -> Export:
    said = await last_line(["-m", "bench.claims.analytics_export", dsn, str(folder)])
    return msgspec.json.decode(said, type=Export)


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(dsn: str, folder: Path) -> None:
    collect_rarely()
    early_mb = 0.0

    def progressed(done: int, events: int) -> None:
        nonlocal early_mb
        if not early_mb or done <= EARLY * events:
            early_mb = memory_mb()

    began_s = time.monotonic()
    done = export(dsn, folder, progressed)
    took_s = time.monotonic() - began_s
    size_bytes = sum(os.path.getsize(file) for file in folder.rglob("*.parquet"))
    made = Export(done.events, done.rows, took_s, early_mb, memory_mb(), size_bytes)
    sys.stdout.write(json.dumps(msgspec.to_builtins(made)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
