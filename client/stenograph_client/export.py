"""Downloads of a chat. One of JSON Lines that was cut is taken up after its last whole line; any other begins anew or fails."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import httpx

from stenograph_client.errors import ServerUnreachable
from stenograph_client.http import Http, reason_of

READ_TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 0.5
VERSION: Final = re.compile(rb'\{"stream":"[^"]+","version":(\d+),')
BLOB: Final = re.compile(rb'\{"stream":"[^"]+","blob":"([0-9a-f]{64})"')


async def export_lines(http: Http, chat_id: str, *, at: str | None = None, kind: str = "chats") -> AsyncIterator[bytes]:
    """The chat's events, line by line, each once, as of one version, whatever happens to the connection in between.

    ``kind`` "channels": of a channel with this id. Raises ``ApiError``, ``ServerUnreachable`` when nothing came for longer than requests
    are repeated.

    >>> chat = await client.new_chat("Notes")
    >>> [line async for line in export_lines(client.http, chat["id"])]
    [b'{"stream":"chat/...","version":1,...}\\n'...]
    """
    loop = asyncio.get_running_loop()
    params: dict[str, str | int] = {"format": "jsonl"}
    if at is not None:
        params["at"] = at
    version = 0
    blobs: set[bytes] = set()
    patient_until = loop.time() + http.retry_s
    while True:
        try:
            answer = await http.open_stream(f"/api/v1/{kind}/{chat_id}/export", params, read_timeout_s=READ_TIMEOUT_S, accept="*/*")
            try:
                until = answer.headers["x-cursor"]
                epoch = until.rpartition(":")[0]
                async for line in _lines(answer):
                    blob = BLOB.match(line)
                    if blob is not None:
                        if blob[1] in blobs:
                            continue  # it was sent before the cut
                        blobs.add(blob[1])
                    found = VERSION.match(line)
                    if found is not None:
                        version = int(found[1])
                    yield line
                    patient_until = loop.time() + http.retry_s
                return
            finally:
                await answer.aclose()
        except httpx.TransportError as error:
            if loop.time() >= patient_until:
                raise ServerUnreachable(http.base_url, f"the download was cut: {reason_of(error)}") from error
            params["at"] = until
            if version:
                params["after"] = f"{epoch}:{version}"
        except ServerUnreachable:
            if not version or loop.time() >= patient_until:
                raise
        await asyncio.sleep(PAUSE_S)


async def export_bytes(
    http: Http, chat_id: str, chosen: str, *, at: str | None = None, branch: str | None = None, kind: str = "chats"
) -> AsyncIterator[bytes]:
    """A transcript, or Open WebUI's JSON. Raises ``ApiError``, ``ServerUnreachable`` also where it was cut: then nothing of it is good."""
    given = {"format": chosen, "at": at, "branch": branch}
    params: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    answer = await http.open_stream(f"/api/v1/{kind}/{chat_id}/export", params, read_timeout_s=READ_TIMEOUT_S, accept="*/*")
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    except httpx.TransportError as error:
        raise ServerUnreachable(http.base_url, f"the download was cut: {reason_of(error)}") from error
    finally:
        await answer.aclose()


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Whole lines. What follows the last newline is not handed on: it is what a cut leaves."""
    waiting: list[bytes] = []
    async for piece in answer.aiter_bytes():
        *whole, rest = piece.split(b"\n")
        for line in whole:
            waiting.append(line)
            yield b"".join(waiting) + b"\n"
            waiting.clear()
        if rest:
            waiting.append(rest)
