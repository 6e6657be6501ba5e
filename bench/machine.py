"""The facts without which a figure says nothing."""

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

CALIBRATION_ROUNDS: Final = 2_000_000


def calibration_ms() -> tuple[float, float]:
    """How long a fixed bit of Python takes, and how much of that on a core, the best of three: machines differ, and a shared one
    differs from hour to hour. Where the two differ, others had the core meanwhile."""
    best = best_cpu = float("inf")
    for _ in range(3):
        started, cpu = time.perf_counter(), time.process_time()
        total = 0
        for number in range(CALIBRATION_ROUNDS):
            total += number & 7
        best, best_cpu = min(best, time.perf_counter() - started), min(best_cpu, time.process_time() - cpu)
    return best * 1000, best_cpu * 1000


def sha256_mb_s() -> float:
    block = bytes(1024 * 1024)
    started = time.perf_counter()
    for _ in range(64):
        hashlib.sha256(block).digest()
    return 64 / (time.perf_counter() - started)


def fsync_ms(folder: Path) -> float:
    """The median of 50 writes of one page with fsync, in the folder where the database stands."""
    file = folder / "fsync"
    took: list[float] = []
    with file.open("wb") as written:
        for _ in range(50):
            started = time.perf_counter()
            written.write(bytes(8192))
            written.flush()
            os.fdatasync(written.fileno())
            took.append(time.perf_counter() - started)
    file.unlink()
    return sorted(took)[25] * 1000


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


async def facts(dsn: str, folder: Path) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn)
    try:
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in ("server_version", "fsync", "synchronous_commit")}
    finally:
        await connection.close()
    calibration, calibration_cpu = calibration_ms()
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_gb(), 1),
        "load_1m": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgres": settings["server_version"],
        "fsync": settings["fsync"],
        "synchronous_commit": settings["synchronous_commit"],
        "fsync_ms": round(fsync_ms(folder), 3),
        "calibration_ms": round(calibration, 1),
        "calibration_cpu_ms": round(calibration_cpu, 1),
        "sha256_mb_s": round(sha256_mb_s()),
    }
