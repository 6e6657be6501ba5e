"""uvicorn's HTTP protocol with bounds on what a client can make it hold: the head of a request, silence, and connections of one address.

The parser below it (llhttp) has none: it joins the pieces of a header for as long as they come. The reasons and the figures:
docs/decisions/0030-bounds-of-http.md.
"""

import asyncio
from http import HTTPStatus
from typing import Final, Literal

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.request.bodies import CONTENT_BYTES
from api.request.errors import CODES, MEDIA_TYPE
from api.request.security_headers import HEADERS
from api.request.server_config import ServerConfig

LINGER_S: Final = 2.0  # for a client that still sends to read why it is refused: a close at once may take the response from it
DISCARDED_BYTES_MAX: Final = 256 * 1024  # read and dropped of a refused request, once its connection is to end
# Read and dropped of a body whose response was sent before it was read: twice the largest body that a route accepts. Most clients
# read no response before they have sent all, so one whose body is somewhat too large would only see its connection end. Nothing is kept.
BODY_DISCARDED_BYTES_MAX: Final = 2 * CONTENT_BYTES
DISCARD_PAUSE_S: Final = 0.02  # after each piece of such a body: at full speed it would cost others as much as a body that is wanted
BODY_BYTES_LEAST: Final = 64 * 1024  # that come of a body within its time-out, unless it ends: a body that trickles holds memory too
FRAMING_PER_BODY: Final = 8  # bytes of chunk sizes and trailers for each byte of a body: six if each chunk holds one byte
RETRY_AFTER_S: Final = 1


class HeadRefused(Exception):
    """Raised in a callback of the parser, which ends it: the head is larger than the settings allow."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a head that is too large (414, 431), one or a body that does not come (408), and too many connections (429)."""

    config: ServerConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._settings = self.config.settings
        self._part: Literal["between", "head", "body"] = "between"  # of a request: what comes next
        self._head_bytes = 0  # of the head that has not ended yet, at least
        self._message_ended = False  # since the last data came
        self._body_bytes = 0  # of the current body
        self._timed_bytes = 0  # of them, those that came before the timer was set
        self._framing_bytes = 0  # that came with the body and are none of it
        self._discarded_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timed: Literal["head", "body"] | None = None
        self._refused: tuple[int, str] | None = None
        self._lingering = False
        if self.config.addresses.add(self.client):
            self._watch("head")
        else:
            self._write_problem(429, "this address has too many connections", f"retry-after: {RETRY_AFTER_S}")
            self.transport.close()  # at once: a refused connection that stayed for a while would be one more

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self.config.addresses.remove(self.client)
        super().connection_lost(exc)

    # ------------------------------------------------------------------------------------------------------------ reading

    def data_received(self, data: bytes) -> None:
        if not self._reads_on():
            self._discard(len(data))
            return
        self._message_ended = False
        body_bytes = self._body_bytes if self._part == "body" else None
        super().data_received(data)
        if not self._reads_on():
            return
        if self._part == "body":
            if body_bytes is not None and not self._message_ended:  # or the body is another one by now
                self._framing_bytes += len(data) - (self._body_bytes - body_bytes)
            self._watch("body")
            if self._discarded_bytes > BODY_DISCARDED_BYTES_MAX:
                self._linger()
            elif self._framing_bytes > max(self._settings.head_bytes_max, FRAMING_PER_BODY * self._body_bytes):
                self._refuse(*self._head_too_large())
            elif self._discarded_bytes:
                self.flow.pause_reading()
                self.loop.call_later(DISCARD_PAUSE_S, self._read_on)
        elif self._message_ended:
            # The start of a next head may be in ``data`` too. How much of it cannot be known, so its first piece is not counted.
            self._watch("head" if self._part == "head" else None)
        else:
            self._head_bytes += len(data)
            self._watch("head")
            if self._head_bytes > self._settings.head_bytes_max:
                self._refuse(*self._head_too_large())

    def _read_on(self) -> None:
        if self._reads_on():
            self.flow.resume_reading()

    def _reads_on(self) -> bool:
        return not (self._lingering or self.transport.is_closing())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = "head"
        self._head_bytes = 0
        self._kept_bytes = 0

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._settings.request_line_bytes_max:
            limit = self._settings.request_line_bytes_max
            self._refused = (414, f"expected a request line of at most {limit} bytes")
            raise HeadRefused
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._kept_bytes += len(name) + len(value)
        if self._kept_bytes > self._settings.head_bytes_max or len(self.headers) >= self._settings.headers_max:
            self._refused = self._head_too_large()
            raise HeadRefused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._part = "body"
        self._body_bytes = self._timed_bytes = self._framing_bytes = self._discarded_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_complete:
            self._discarded_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part = "between"
        self._message_ended = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._watch(None)
        super().handle_websocket_upgrade()
        self.config.addresses.remove(self.client)  # the other protocol has counted it again

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser has given up, by itself or because of ``HeadRefused``."""
        self._refuse(*(self._refused or (400, "expected an HTTP/1.1 request")))

    def _head_too_large(self) -> tuple[int, str]:
        settings = self._settings
        return 431, f"expected at most {settings.headers_max} headers, {settings.head_bytes_max} bytes with the URL"

    # ------------------------------------------------------------------------------------------------------------- timers

    def _watch(self, timed: Literal["head", "body"] | None) -> None:
        """Let the timer run for this part of a request, or none. One that runs for it goes on."""
        if timed == self._timed:
            return
        self._cancel_timer()
        self._timed = timed
        if timed == "head":
            self._timer = self.loop.call_later(self._settings.head_timeout_s, self._on_head_timeout)
        elif timed == "body":
            self._timer = self.loop.call_later(self._settings.body_timeout_s, self._on_body_timeout)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_head_timeout(self) -> None:
        if self._part == "between" and not self._head_bytes:
            self.transport.close()  # it has said nothing: there is no request to answer
        else:
            self._refuse(408, f"expected the head of a request within {self._settings.head_timeout_s:g} s")

    def _on_body_timeout(self) -> None:
        came, self._timed_bytes, self._timed = self._body_bytes - self._timed_bytes, self._body_bytes, None
        if self.cycle.response_complete:
            self._linger()
        elif came >= BODY_BYTES_LEAST or self.flow.read_paused:
            self._watch("body")
        else:
            within_s = self._settings.body_timeout_s
            detail = f"expected {BODY_BYTES_LEAST} bytes of the body, or its end, within {within_s:g} s; received {came} bytes"
            self._refuse(408, detail)

    # ----------------------------------------------------------------------------------------------------------- refusing

    def _refuse(self, status: int, detail: str) -> None:
        """Answer if nothing was answered yet, and read no more."""
        cycle: RequestResponseCycle | None = self.cycle  # of the last request whose head was read
        if cycle is not None and cycle.response_complete:
            cycle = None
        if cycle is not None and (cycle.response_started or self._part != "body"):
            self.transport.close()  # another response is on its way: ours would be taken for a part of it
            return
        self._write_problem(status, detail)
        if cycle is not None:
            cycle.disconnected = True  # the handler that waits for the body learns that it will not come
            cycle.message_event.set()
        self._linger()

    def _write_problem(self, status: int, detail: str, *headers: str) -> None:
        title = HTTPStatus(status).phrase
        body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail, "code": CODES[status]})
        lines = [
            f"HTTP/1.1 {status} {title}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name.decode()}: {value.decode()}" for name, value in HEADERS.items()),
        ]
        self.transport.write("\r\n".join((*lines, *headers, "", "")).encode() + body)

    def _discard(self, size: int) -> None:
        """Count what is dropped of a refused request. Beyond the bound nothing is read: a client that goes on sending has to wait."""
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARDED_BYTES_MAX and not self.transport.is_closing():
            self.flow.pause_reading()

    def _linger(self) -> None:
        """Close, and drop what still comes for a while: a close with unread data would discard the response on its way to the client."""
        self._lingering = True
        self._watch(None)
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.abort)
