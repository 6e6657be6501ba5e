"""How any streamed answer is read: the part that the providers' protocols share."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

import httpx

from adapters.providers.http.http import AFTER_FINISH_S, DRAIN_S, FAILURES, STREAM_BYTES_MAX, Endpoint, Reads
from adapters.providers.http.retries import Retries
from commands.providers.provider import Part, Skipped, Waiting
from domain.errors import ProviderFailed


class Reader(Protocol):
    """Turns the bytes of one answer into parts, however they were cut. Pure: it never waits and never reads a clock."""

    failure: ProviderFailed | None  # why the answer cannot go on; what was returned before still counts
    finishing: bool  # the provider has said why it stopped; only usage and the end mark may follow
    done: bool  # the end: ``Finish`` was returned

    def feed(self, data: bytes) -> list[Part]:
        """What these bytes complete."""
        ...

    def flush(self) -> list[Part]:
        """What was held until more of it was known, when nothing more comes."""
        ...

    def finish(self) -> list[Part]:
        """The connection has ended: what was still open. Ends in ``Finish`` unless ``failure`` is set now."""
        ...


async def answered(
    endpoint: Endpoint,
    path: str,
    body: Mapping[str, Any],
    reader: Reader,
    instead: Callable[[ProviderFailed], Mapping[str, Any] | None] = lambda _: None,
) -> AsyncGenerator[list[Part], None]:
    """The answer to a POST, read by read. Raises ``ProviderFailed`` after everything that came before the failure was yielded.

    A refused request is sent once more with the body that ``instead`` returns for the refusal, if it returns one; and again after the
    wait that the provider asks for, as ``Retries`` bounds it.
    """
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    deadline, answer_ends_s = begun_s + endpoint.patience.first_token_s, begun_s + endpoint.patience.answer_s
    received_bytes = 0
    async with AsyncExitStack() as stack:
        other: Mapping[str, Any] | None = None
        retries = Retries(deadline)
        response: httpx.Response | None = None
        while response is None:
            try:
                async with asyncio.timeout_at(deadline):
                    response = await stack.enter_async_context(endpoint.posted(path, other or body))
                continue
            except TimeoutError:
                raise endpoint.no_first_token() from None
            except ProviderFailed as failure:
                refused = failure
            if other is None and (other := instead(refused)) is not None:
                continue
            wait_s = retries.next_wait_s(refused)
            if wait_s is None:
                raise refused
            yield [Waiting(wait_s, str(refused))]
            await asyncio.sleep(wait_s)
        reads = Reads(endpoint, response)
        read = reads.read  # not ``next``: its coroutine and ``_fed`` are two calls more for every token
        has_begun = False
        while True:
            try:
                if has_begun:
                    data = await read()
                else:
                    async with asyncio.timeout_at(deadline):
                        data = await reads.first()
            except TimeoutError:
                raise endpoint.no_first_token() from None
            except FAILURES as error:
                if parts := reader.flush():
                    yield parts
                raise endpoint.translated(error) from None
            if not data:
                break
            try:
                parts = reader.feed(data)
            except ProviderFailed as failure:  # an event too large to be kept
                reader.failure, parts = failure, []
            if parts:
                has_begun = has_begun or any(type(part) is not Skipped for part in parts)
                yield parts
            if reader.finishing or reader.failure is not None:
                break
            received_bytes += len(data)
            if received_bytes > STREAM_BYTES_MAX or clock() > answer_ends_s:
                if parts := reader.flush():
                    yield parts
                raise endpoint.endless(received_bytes)
        if reader.finishing:
            async for parts in _tail(reader, reads):
                yield parts
        if _open(reader) and (parts := _finished(reader)):
            yield parts
        if reader.failure is not None:
            raise endpoint.failed(reader.failure.code, str(reader.failure), reader.failure.said)
        await _drain(reads)


async def _tail(reader: Reader, reads: Reads) -> AsyncGenerator[list[Part], None]:
    """What follows the finish reason. The answer is whole, so neither silence nor a cut is a failure any more."""
    deadline = asyncio.get_running_loop().time() + AFTER_FINISH_S
    while _open(reader):
        try:
            async with asyncio.timeout_at(deadline):
                data = await reads.next()
        except (TimeoutError, ProviderFailed):
            return
        if not data:
            return
        if parts := _fed(reader, data):
            yield parts


def _open(reader: Reader) -> bool:
    return reader.failure is None and not reader.done


def _fed(reader: Reader, data: bytes) -> list[Part]:
    try:
        return reader.feed(data)
    except ProviderFailed as failure:  # an event too large to be kept
        reader.failure = failure
        return []


def _finished(reader: Reader) -> list[Part]:
    try:
        return reader.finish()
    except ProviderFailed as failure:
        reader.failure = failure
        return []


async def _drain(reads: Reads) -> None:
    """Read to the end of the body, which most often is there already, so that the connection can be used again."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await reads.next():
                pass
    except (TimeoutError, ProviderFailed):
        pass
