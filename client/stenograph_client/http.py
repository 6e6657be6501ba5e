"""Requests that may be repeated: each POST carries an ``Idempotency-Key``, so that a lost answer is asked for again."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import msgspec

from stenograph_client.errors import ApiError, Conflict, CursorGone, Forbidden, NotFound, NotSignedIn, ServerUnreachable

RETRY_BASE_S: Final = 0.2
RETRY_CAP_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 60.0
TRY_AGAIN: Final = frozenset({502, 503, 504})
BY_STATUS: Final[Mapping[int, type[ApiError]]] = {401: NotSignedIn, 403: Forbidden, 404: NotFound, 409: Conflict}
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

TokenSource = Callable[[], Awaitable[str]]


def error_of(status: int, body: bytes) -> ApiError:
    """The typed error of a refusal: RFC 9457, or whatever else has a ``detail``."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = None
    members = said if isinstance(said, dict) else {}
    detail = members.get("detail") or members.get("title") or body[:200].decode(errors="replace") or f"HTTP {status}"
    code, text = str(members.get("code") or ""), detail if isinstance(detail, str) else str(detail)
    if status == 410:
        head = members.get("head")
        return CursorGone(status, code, text, epoch=str(members.get("epoch") or ""), head=head if isinstance(head, int) else 0)
    return BY_STATUS.get(status, ApiError)(status, code, text)


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


class Credentials:
    """The token that is sent, and how to get another. Without ``source`` there is no other."""

    def __init__(self, token: str | None, source: TokenSource | None) -> None:
        self.token = token
        self.source = source
        self._lock = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        return self.source is not None

    async def current(self) -> str | None:
        """The token, fetched if there is none yet. Raises what the source raises."""
        if self.token is None and self.source is not None:
            return await self.renew(None)
        return self.token

    async def renew(self, rejected: str | None) -> str:
        """A token other than ``rejected``; one fetch for all who ask at once. Raises ``NotSignedIn`` if there is no source."""
        async with self._lock:
            if self.token is not None and self.token != rejected:
                return self.token
            if self.source is None:
                raise NotSignedIn(401, "not_authenticated", "the token is not accepted (any more); sign in again")
            self.token = await self.source()
            return self.token


class Http:
    """``retry_s`` bounds for how long a request without an answer is repeated; 0 asks once."""

    def __init__(
        self, base_url: str, credentials: Credentials, *, retry_s: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.credentials = credentials
        self.retry_s = retry_s
        plain = urlsplit(base_url).scheme == "http"
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            # httpx would read the system's certificates, which takes 25 ms. Without TLS none are needed: this context has none.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
            # A proxy that the environment names cannot reach our own loopback address.
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, **params: str | int) -> Any:
        return await self.request("GET", path, params=params)

    async def post(self, path: str, body: Any = None, *, signed: bool = True, idempotency_key: str | None = None) -> Any:
        return await self.request("POST", path, body=body, signed=signed, idempotency_key=idempotency_key)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        signed: bool = True,
        idempotency_key: str | None = None,
    ) -> Any:
        """The decoded answer. GET and POST are repeated, within ``retry_s``, when no answer came or the server was not ready.

        Raises ``ApiError`` (or a subclass), ``ServerUnreachable``.
        """
        headers = {"accept": "application/json"}
        content = None
        if body is not None:
            headers["content-type"], content = "application/json", msgspec.json.encode(body)
        if method == "POST":
            headers["idempotency-key"] = idempotency_key or uuid4().hex
        repeats = method in ("GET", "POST")
        until = asyncio.get_running_loop().time() + self.retry_s
        renewed = False
        attempt = 0
        while True:
            token = await self.credentials.current() if signed else None
            if token is not None:
                headers["authorization"] = f"Bearer {token}"
            try:
                answer = await self._client.request(method, path, params=params, content=content, headers=headers)
            except httpx.TransportError as error:
                if not repeats or not await self._wait(attempt, until):
                    raise ServerUnreachable(self.base_url, reason_of(error)) from error
            except httpx.InvalidURL as error:
                raise ServerUnreachable(self.base_url, reason_of(error)) from error
            else:
                if answer.is_success:
                    try:
                        return msgspec.json.decode(answer.content) if answer.content else None
                    except msgspec.DecodeError:
                        raise ApiError(answer.status_code, "", f"what answers at {self.base_url} is no Stenograph server") from None
                refusal = error_of(answer.status_code, answer.content)
                # A chat that is not ours is a 401 too: only a refused token is worth another one.
                stale = answer.status_code == 401 and signed and refusal.code in ("", "not_authenticated") and self.credentials.renewable
                if stale and not renewed:
                    await self.credentials.renew(token)
                    renewed = True
                elif not (repeats and answer.status_code in TRY_AGAIN and await self._wait(attempt, until)):
                    raise refusal
            attempt += 1

    async def open_stream(
        self, path: str, params: Mapping[str, str | int], *, read_timeout_s: float, accept: str = "text/event-stream"
    ) -> httpx.Response:
        """An answer that goes on. The caller closes it. Raises ``ApiError``, ``ServerUnreachable``; one attempt."""
        headers = {"accept": accept, "cache-control": "no-store"}
        token = await self.credentials.current()
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=read_timeout_s)
        request = self._client.build_request("GET", path, params=params, headers=headers, timeout=timeout)
        try:
            answer = await self._client.send(request, stream=True)
            if not answer.is_success:
                refusal = error_of(answer.status_code, await answer.aread())
                await answer.aclose()
                raise refusal
        except httpx.TransportError as error:
            raise ServerUnreachable(self.base_url, reason_of(error)) from error
        return answer

    async def _wait(self, attempt: int, until: float) -> bool:
        """Wait before the next attempt; False when there is no time left for one."""
        now = asyncio.get_running_loop().time()
        if now >= until:
            return False
        span = min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(attempt, 10))
        await asyncio.sleep(min(random.uniform(span / 2, span), until - now))  # noqa: S311  # jitter, no secret
        return True
