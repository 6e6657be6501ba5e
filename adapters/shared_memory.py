"""Memory that the processes of one server share: each writes in a place of its own, and anyone reads all places.

It is made before they fork and is gone with the last of them. What one of them writes is not locked: a reader that meets half of
it sees that the sum is wrong, and looks again.
"""

import mmap
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

PLACE_BYTES: Final = 64 * 1024
LOOKS_MAX: Final = 20
HEAD: Final = struct.Struct("<IId")  # length, CRC-32, written at (CLOCK_MONOTONIC, which all processes of a machine share)


class Written(NamedTuple):
    place: int
    age_s: float
    content: bytes


class Board:
    """``places`` are numbered from 0. Each may be written by one process at a time."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._memory = mmap.mmap(-1, places * PLACE_BYTES)

    def write(self, place: int, content: bytes) -> None:
        """``content`` is what this place shows from now on; empty for nothing. What is too long is not shown."""
        if len(content) > PLACE_BYTES - HEAD.size:
            content = b""
        start = place * PLACE_BYTES
        head = HEAD.pack(len(content), zlib.crc32(content), time.monotonic())
        self._memory[start : start + HEAD.size + len(content)] = head + content

    def read(self) -> Iterator[Written]:
        """Every place where something stands."""
        for place in range(self._places):
            found = self._read(place)
            if found is not None:
                yield found

    def _read(self, place: int) -> Written | None:
        start = place * PLACE_BYTES
        for _ in range(LOOKS_MAX):
            length, crc, written_at = HEAD.unpack(self._memory[start : start + HEAD.size])
            if length == 0:
                return None
            content = self._memory[start + HEAD.size : start + HEAD.size + min(length, PLACE_BYTES)]
            if zlib.crc32(content) == crc:
                return Written(place, max(0.0, time.monotonic() - written_at), content)
        return None  # it is being written all the time: it is missing this once
