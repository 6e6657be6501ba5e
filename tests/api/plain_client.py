"""An HTTP client for tests that send thousands of requests: most of such a test's time is httpx's otherwise."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tests.api.conftest import WAIT_S, Running, User

JSON = {"content-type": "application/json"}
SAFE_IN_PATHS = "/?&=%:{}!$'()*+,;@~-._"


class Answer(NamedTuple):
    status_code: int
    headers: Mapping[str, str]  # by their names in small letters
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class PlainClient:
    """One connection, which is made again where the server has closed it, or for each request where there are two servers.

    One request at a time.
    """

    def __init__(self, server: Running, user: User) -> None:
        split = urlsplit(server.url)
        self._address = split.hostname, split.port
        self._always = f"host: {split.netloc}\r\nauthorization: Bearer {user.token}\r\n"
        self._kept = len(server.systems) == 1
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON) -> Answer:
        """The whole answer. Raises ``TimeoutError`` after ``WAIT_S``, ``IncompleteReadError`` where it breaks off."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {quote(path, safe=SAFE_IN_PATHS)} HTTP/1.1\r\n{self._always}{lines}content-length: {len(body)}\r\n\r\n"
        async with asyncio.timeout(WAIT_S):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(*self._address)
            self._writer.write(head.encode() + body)
            return await self._answer()

    async def _answer(self) -> Answer:
        assert self._reader is not None
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status_code = int(first.split()[1])
        if status_code in (204, 304):
            body = b""
        elif "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join([chunk async for chunk in chunks(self._reader)])
        else:
            body = await self._reader.read()
        if not self._kept or headers.get("connection") == "close" or self._reader.at_eof():
            self.close()
        return Answer(status_code, headers, body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


@contextlib.contextmanager
def plain_client(server: Running, user: User) -> Iterator[PlainClient]:
    client = PlainClient(server, user)
    try:
        yield client
    finally:
        client.close()
