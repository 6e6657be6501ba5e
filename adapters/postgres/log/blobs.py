"""``Blobs`` on Postgres: content that is too large for an event, stored once under its stream and its SHA-256."""

import hashlib
from typing import Final

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from domain.log.stream import Stream

PUT: Final = text("put_blob")
GET: Final = text("get_blob")
GET_PART: Final = text("get_blob_part")


class PostgresBlobs:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def put(self, stream: Stream, content: bytes) -> str:
        digest = hashlib.sha256(content)
        await self._reader.execute(PUT, stream.id, digest.digest(), content)
        return digest.hexdigest()

    async def get(self, stream: Stream, sha256: str) -> bytes | None:
        for row in await self._reader.fetch(GET, stream.id, bytes.fromhex(sha256)):
            content: bytes = row["content"]
            return content
        return None

    async def part(self, stream: Stream, sha256: str, *, offset: int, bytes_max: int) -> bytes | None:
        for row in await self._reader.fetch(GET_PART, stream.id, bytes.fromhex(sha256), offset, bytes_max):
            content: bytes = row["part"]
            return content
        return None
