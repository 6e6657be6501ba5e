"""One kept HTTP connection, by hand: a client library would be part of what is measured."""

import asyncio
import json
import time
from typing import Any, Final

TIMEOUT_S: Final = 60.0


class Http:
    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._port = port
        self._reader = reader
        self._writer = writer
        self._token = token
        self.asked_ns = 0  # when the last request was sent

    @classmethod
    async def open(cls, port: int, token: str = "") -> "Http":
        return cls(port, *await asyncio.open_connection("127.0.0.1", port), token)

    async def post(self, path: str, body: Any) -> Any:
        return await self._ask("POST", path, json.dumps(body).encode())

    async def get(self, path: str) -> Any:
        return await self._ask("GET", path, b"")

    async def fetch(self, path: str) -> bytes:
        """The answer as it came, where it is large: what decoding it takes here would be a part of what is measured."""
        return await self._answer("GET", path, b"")

    async def _ask(self, method: str, path: str, body: bytes) -> Any:
        return json.loads(await self._answer(method, path, body))

    async def _answer(self, method: str, path: str, body: bytes) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        if self._token:
            head += f"authorization: Bearer {self._token}\r\n"
        if self._reader.at_eof():  # the server does not keep an unused connection for long
            self._writer.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.asked_ns = time.monotonic_ns()
        self._writer.write(head.encode() + b"\r\n" + body)
        async with asyncio.timeout(TIMEOUT_S):
            answered = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            content = await self._content(answered)
        if answered.split(" ", 2)[1] != "200":
            raise RuntimeError(f"{method} {path}: {answered.splitlines()[0]} {content.decode()[:500]}")
        return content

    async def _content(self, head: str) -> bytes:
        """The body, in one piece or in chunks: a whole chat is written page by page."""
        if "transfer-encoding: chunked" not in head:
            return await self._reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        pieces: list[bytes] = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            pieces.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(pieces)

    def close(self) -> None:
        self._writer.close()


async def ask_for(http: Http, chat_id: str, chunks: int, per_s: float) -> Any:
    """Begin an answer of the synthetic model in the chat."""
    body = {
        "model": "bench",
        "chat_id": chat_id,
        "session_id": "bench",
        "messages": [{"role": "user", "content": "go"}],
        "bench": {"chunks": chunks, "per_s": per_s},
    }
    return await http.post("/api/chat/completions", body)
