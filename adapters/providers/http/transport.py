"""An httpx transport for long streams: HTTP/1.1 parsed by httptools, one ``bytes`` for each read of the socket.

httpx's own transport costs 40 to 70 µs for every chunk of a streamed answer, however many chunks one read brings: h11
parses in Python, and every read goes through a new cancel scope (docs/decisions/0010-providers.md has the figures). That
is more than everything else that happens to a token. Here a read is one callback, its HTTP chunks are joined, and the
timeout is one timer a connection that is moved lazily instead of one a read.

It speaks what a model's server needs: HTTP/1.1 over TCP or TLS, kept connections, no proxy and no upgrade. httpx stays
on top of it, with its requests, headers, timeouts and exceptions; ``client.py`` uses httpx's own transport for proxies.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, cast

import httptools
import httpx

from adapters.deadline import NEVER, Deadline
from adapters.providers.http.address_guard import AddressGuard

READ: Final = "stenograph.read"  # among a response's extensions: the way to its body that is not through httpx's three generators
HEAD_BYTES_MAX: Final = 64 * 1024  # status line and headers of one answer
READ_AHEAD_BYTES_MAX: Final = 64 * 1024  # about 300 chunks; beyond it the socket waits for a reader that is slower than the provider
KEPT_S: Final = 30.0  # how long an unused connection is kept


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int


class _Connection(asyncio.Protocol):
    """One connection and the one answer that is being read from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = Deadline(loop, self._end_wait)
        self._paused = False
        self.closed = False
        self.expiry: asyncio.TimerHandle | None = None
        self._begin()
        self.complete = True  # nothing was asked yet

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._failure: httpx.TransportError | None = None
        self._head_bytes = 0
        self._head_done = False
        self._ends_at_close = True
        self.received = False
        self.complete = False
        self.reusable = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def peer(self) -> str:
        """The address at the other end."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else ""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        if self.complete:
            self.abort()  # words that nobody asked for: what follows on this connection cannot be trusted
            return
        self.received = True
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(f"the answer is not HTTP/1.1: {error}"))
            return
        if not self._head_done and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(httpx.RemoteProtocolError(f"the answer's headers are larger than {HEAD_BYTES_MAX} bytes"))
            return
        if self._buffered_bytes > READ_AHEAD_BYTES_MAX and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._deadline.close()
        if not self.complete:
            if self._head_done and self._ends_at_close and exc is None:
                self.complete = True
            elif self._failure is None:
                self._failure = httpx.ReadError("the connection was closed before the answer was whole")
        self._wake()

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self.headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._ends_at_close = False

    def on_headers_complete(self) -> None:
        if not self.complete:
            self.status = self._parser.get_status_code()
            self._head_done = self.status >= 200  # 100 Continue and 103 Early Hints come before the answer

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self._chunks.append(body)
            self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._head_done:
            self.reusable = self._parser.should_keep_alive() and not self.complete
            self.complete = True
        else:
            self.headers.clear()

    # What the transport calls.

    async def ask(self, head_and_body: bytes, timeout_s: float | None) -> None:
        """Send a request and wait for the head of its answer."""
        assert self._transport is not None
        self._begin()
        self._transport.write(head_and_body)
        while not self._head_done:
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise httpx.ReadError("the connection was closed before the answer was whole")
            await self._news(timeout_s)

    async def read(self, timeout_s: float | None) -> bytes:
        """Everything that has come since the last call; waits for the first of it. Empty at the answer's end."""
        while True:
            chunks = self._chunks
            if chunks:
                data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                self._buffered_bytes = 0
                if self._paused:
                    self._paused = False
                    if self._transport is not None and not self.closed:
                        self._transport.resume_reading()
                return data
            if self.complete:
                return b""
            if self._failure is not None:
                raise self._failure
            await self._news(timeout_s)

    def abort(self) -> None:
        self.closed = True
        self._deadline.close()
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, failure: httpx.TransportError) -> None:
        self._failure = failure
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _news(self, timeout_s: float | None) -> "asyncio.Future[None]":
        """Done when something has changed; fails with ``httpx.ReadTimeout`` after ``timeout_s``."""
        self._waiter = self._loop.create_future()
        self._deadline.set(self._loop.time() + timeout_s if timeout_s is not None else NEVER)
        return self._waiter

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(httpx.ReadTimeout("the server was silent for too long"))


class _Body(httpx.AsyncByteStream):
    def __init__(self, owner: "StreamTransport", origin: _Origin, connection: _Connection, timeout_s: float | None) -> None:
        self._owner = owner
        self._origin = origin
        self._connection: _Connection | None = connection
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._connection is not None
        while data := await self._connection.read(self._timeout_s):
            yield data

    async def aclose(self) -> None:
        """Give the connection back if the answer is whole, cut it otherwise."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._owner.release(self._origin, connection)


class StreamTransport(httpx.AsyncBaseTransport):
    """Up to ``connections_max`` connections at once; a request above that fails at once with ``httpx.PoolTimeout``.

    ``keepalive_max`` unused connections are kept for each origin. A kept connection that the server closed without one
    byte of an answer is replaced once: servers close idle connections whenever they like. Use it from one event loop only.
    ``guard`` looks at the address that a connection has, whatever its name led to before, and before a request is sent.
    """

    def __init__(
        self, *, connections_max: int = 2_000, keepalive_max: int = 200, kept_s: float = KEPT_S, guard: AddressGuard | None = None
    ) -> None:
        self._guard = guard
        self._connections_max = connections_max
        self._keepalive_max = keepalive_max
        self._kept_s = kept_s
        self._kept: dict[_Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._connecting = 0
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"expected http:// or https://, received {url.scheme!r}")
        origin = _Origin(url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        message = await _serialized(request)
        read_timeout_s = timeouts.get("read")
        connection = self._take_kept(origin)
        reused = connection is not None
        while True:
            if connection is None:
                connection = await self._connect(origin, timeouts.get("connect"))
            try:
                await connection.ask(message, read_timeout_s)
                break
            except httpx.ReadError:
                self._drop(connection)
                if not reused or connection.received:
                    raise
                reused, connection = False, None
            except BaseException:
                self._drop(connection)
                raise
        body = _Body(self, origin, connection, read_timeout_s)
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=body,
            extensions={"http_version": b"HTTP/1.1", READ: connection.read},
        )

    def release(self, origin: _Origin, connection: _Connection) -> None:
        kept = self._kept.setdefault(origin, [])
        if not (connection.complete and connection.reusable) or connection.closed or len(kept) >= self._keepalive_max:
            self._drop(connection)
            return
        connection.expiry = asyncio.get_running_loop().call_later(self._kept_s, self._expire, kept, connection)
        kept.append(connection)

    async def aclose(self) -> None:
        self._kept.clear()
        for connection in list(self._open):
            self._drop(connection)

    def _take_kept(self, origin: _Origin) -> _Connection | None:
        kept = self._kept.get(origin)
        while kept:
            connection = kept.pop()  # the one used last is the least likely to be closed by now
            if connection.expiry is not None:
                connection.expiry.cancel()
                connection.expiry = None
            if not connection.closed:
                return connection
            self._drop(connection)
        return None

    def _expire(self, kept: list[_Connection], connection: _Connection) -> None:
        if connection in kept:
            kept.remove(connection)
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        if connection.expiry is not None:
            connection.expiry.cancel()
            connection.expiry = None
        self._open.discard(connection)
        connection.abort()

    async def _connect(self, origin: _Origin, timeout_s: float | None) -> _Connection:
        in_use = len(self._open) + self._connecting
        if in_use >= self._connections_max and not self._drop_one_kept():
            raise httpx.PoolTimeout(f"all {self._connections_max} connections to providers are in use")
        loop = asyncio.get_running_loop()
        tls = self._tls_context() if origin.scheme == "https" else None
        self._connecting += 1
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), origin.host, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s} s") from None
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        finally:
            self._connecting -= 1
        self._open.add(connection)
        if self._guard is not None:
            try:
                self._guard.require(connection.peer)
            except httpx.ConnectError:
                self._drop(connection)
                raise
        return connection

    def _drop_one_kept(self) -> bool:
        for kept in self._kept.values():
            if kept:
                self._drop(kept.pop(0))
                return True
        return False

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # made when first needed: reading the certificates takes longer than the rest of a start
            self._tls = httpx.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


async def _serialized(request: httpx.Request) -> bytes:
    """The request as it goes over the wire, with its length, so that no chunked encoding is needed."""
    body = await request.aread()
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    has_length = False
    for name, value in request.headers.raw:
        lowered = name.lower()
        if lowered == b"transfer-encoding":
            continue
        has_length = has_length or lowered == b"content-length"
        if any(bad in name or bad in value for bad in (b"\r", b"\n", b"\0")):
            raise httpx.LocalProtocolError(f"the header {name[:100]!r} holds a line end or a null byte")
        lines.append(b"%s: %s" % (name, value))
    if body and not has_length:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join((*lines, b"", body))
