"""``Blobs`` in memory."""

import hashlib

from domain.log.stream import Stream


class MemoryBlobs:
    def __init__(self) -> None:
        self._blobs: dict[tuple[Stream, bytes], bytes] = {}

    async def put(self, stream: Stream, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self._blobs[stream, bytes.fromhex(sha256)] = content
        return sha256

    async def get(self, stream: Stream, sha256: str) -> bytes | None:
        return self._blobs.get((stream, bytes.fromhex(sha256)))

    async def part(self, stream: Stream, sha256: str, *, offset: int, bytes_max: int) -> bytes | None:
        content = await self.get(stream, sha256)
        return content[offset : offset + bytes_max] if content is not None else None
