"""Memory that the processes of one server share: each process writes its own slot and may read all slots.

It is created before the processes fork and is freed with the last of them. There is no lock: a reader that meets a half-written
slot sees that the checksum is wrong, and reads again.
"""

import mmap
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

SLOT_BYTES: Final = 64 * 1024
LOOKS_MAX: Final = 20
HEAD: Final = struct.Struct("<IId")  # length, CRC-32, written at (CLOCK_MONOTONIC, which all processes of a machine share)


class SlotContent(NamedTuple):
    slot: int
    age_s: float
    content: bytes


class SharedMemory:
    """``slots`` are numbered from 0. Each may be written by one process at a time."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)

    def write(self, slot: int, content: bytes) -> None:
        """Replace the content of a slot. Empty content, and content that is too long, leaves the slot without any."""
        if len(content) > SLOT_BYTES - HEAD.size:
            content = b""
        start = slot * SLOT_BYTES
        head = HEAD.pack(len(content), zlib.crc32(content), time.monotonic())
        self._memory[start : start + HEAD.size + len(content)] = head + content

    def read(self) -> Iterator[SlotContent]:
        """Every slot that has content."""
        for slot in range(self._slots):
            found = self._read(slot)
            if found is not None:
                yield found

    def _read(self, slot: int) -> SlotContent | None:
        start = slot * SLOT_BYTES
        for _ in range(LOOKS_MAX):
            length, crc, written_at = HEAD.unpack(self._memory[start : start + HEAD.size])
            if length == 0:
                return None
            content = self._memory[start + HEAD.size : start + HEAD.size + min(length, SLOT_BYTES)]
            if zlib.crc32(content) == crc:
                return SlotContent(slot, max(0.0, time.monotonic() - written_at), content)
        return None  # it was rewritten at every attempt: this reading does without it
