"""What every provider over HTTP has in common: how a request is made and how it fails."""

import asyncio
import html
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx
import msgspec

from adapters.providers.http.address_guard import AddressRefused
from adapters.providers.http.transport import READ
from domain.errors import ProviderFailed
from domain.log.codec import UNREADABLE
from domain.values.public_text import KEY, public_text
from domain.values.storable import storable_text

ERROR_BODY_BYTES_MAX: Final = 64 * 1024  # read of an error's body
DETAIL_CHARS_MAX: Final = 1_000  # told of it
PUBLIC_CHARS_READ: Final = 2_000  # looked through for addresses and keys
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024  # a list of models
STREAM_BYTES_MAX: Final = 256 * 1024 * 1024  # read of one answer: about a million tokens as the most talkative servers send them
AFTER_FINISH_S: Final = 5.0  # how long usage and the end mark may still take after the finish reason
DRAIN_S: Final = 0.25  # how long the end of the body may take after the end mark, so that the connection can be kept

SECRET_CHARACTERS_MIN: Final = 6  # of a header's value that is hidden in texts: shorter ones are words

HTML: Final = re.compile(r"\s*(?:<!doctype html|<html|<head|<body)\b", re.IGNORECASE)
TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)

# What a request can fail with besides a bad status.
FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, ValueError)

# Keys of a request that the adapters say themselves.
ADAPTERS_KEYS: Final = frozenset({"model", "messages", "stream", "n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a provider may take, in seconds."""

    connect_s: float = 10.0  # to accept a connection
    first_token_s: float = 300.0  # from the request to the first token: a long prompt on a small machine is slow
    idle_s: float = 120.0  # between any two reads after it, a comment being no silence
    answer_s: float = 3_600.0  # for a whole answer: one that never ends holds a run slot and grows its chat


PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: where it is, how it is asked, how long it may be silent."""

    client: httpx.AsyncClient
    base_url: str
    headers: Mapping[str, str]
    secrets: Sequence[str]  # cut out of every text that is handed on: the key, and values of headers
    patience: Patience

    def timeout(self, read_s: float | None) -> httpx.Timeout:
        return httpx.Timeout(read_s, connect=self.patience.connect_s, pool=self.patience.connect_s)

    @property
    def shown(self) -> str:
        """The address without user, password and query."""
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL:
            return "the configured address"
        return str(url.copy_with(username=None, password=None, query=None, fragment=None))

    def failed(self, code: str, detail: str, said: Mapping[str, Any] | None = None, *, cause: object = "") -> ProviderFailed:
        """``detail`` and the texts of ``said`` lose addresses and keys, since everybody who reads the chat reads them.

        Only the server's log has them as they came, with the address and ``cause``; the key is in neither.
        """
        private = f"{self.shown}: {detail}{f': {cause}' if str(cause) else ''}"
        for secret in filter(None, self.secrets):
            private = private.replace(secret, KEY)
        return ProviderFailed(
            code,
            self._public(detail),
            {k: self._public(v) if isinstance(v, str) else v for k, v in (said or {}).items()},
            private=bounded_text(private),
        )

    def _public(self, text: str) -> str:
        text = text[:PUBLIC_CHARS_READ]
        for secret in self.secrets or ("",):
            text = public_text(text, secret=secret, hosts=self._hosts)
        return bounded_text(text)

    @property
    def _hosts(self) -> tuple[str, ...]:
        try:
            return (httpx.URL(self.base_url).host,)
        except httpx.InvalidURL:
            return ()

    def silent(self) -> ProviderFailed:
        patience_s = self.patience.idle_s
        return self.failed("provider_idle", f"silent for more than {patience_s:g} s (STENO_PROVIDER_IDLE_TIMEOUT_S)")

    def no_first_token(self) -> ProviderFailed:
        patience_s = self.patience.first_token_s
        detail = f"no first token within {patience_s:g} s (STENO_PROVIDER_FIRST_TOKEN_TIMEOUT_S)"
        return self.failed("provider_idle", detail)

    def endless(self, received_bytes: int) -> ProviderFailed:
        if received_bytes > STREAM_BYTES_MAX:
            return self.failed("provider_endless", f"the answer is larger than {STREAM_BYTES_MAX} bytes and has no end")
        detail = f"the answer has no end after {self.patience.answer_s:g} s (STENO_PROVIDER_ANSWER_TIMEOUT_S)"
        return self.failed("provider_endless", detail)

    def translated(self, error: Exception) -> ProviderFailed:
        """One of httpx's exceptions (``FAILURES``) under our name."""
        match error:
            case httpx.ConnectTimeout() | httpx.PoolTimeout():
                return self.failed("provider_unreachable", f"no connection within {self.patience.connect_s:g} s", cause=error)
            case httpx.TimeoutException():
                return self.silent()
            case AddressRefused():
                detail = "its address is in a network that the operator has closed to providers (STENO_PROVIDER_REFUSED_NETWORKS)"
                return self.failed("provider_unreachable", detail, cause=error)
            case httpx.ConnectError() | httpx.ProxyError():
                return self.failed("provider_unreachable", "no connection", cause=error)
            case httpx.DecodingError():
                return self.failed("provider_garbage", "its answer cannot be read", cause=error)
            case httpx.HTTPError() if not isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                return self.failed("provider_broke_off", "the connection broke off before the answer was whole", cause=error)
            case _:
                # ValueError: a key or an address that cannot stand in a request, such as one that is not ASCII
                return self.failed("provider_unreachable", "the request cannot be made", cause=error)

    @asynccontextmanager
    async def posted(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """The answer to a POST, its status looked at and its body unread. Leaving the block ends the request."""
        content = msgspec.json.encode(body)
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/x-ndjson, application/json",
            **self.headers,
        }
        # The caller that waits for the first token bounds the wait for the head, that for the rest by ``Reads``.
        timeout = self.timeout(None)
        try:
            request = self.client.build_request("POST", self.base_url + path, content=content, headers=headers, timeout=timeout)
            response = await self.client.send(request, stream=True)
        except FAILURES as error:
            raise self.translated(error) from None
        try:
            if not 200 <= response.status_code < 300:
                raise await self._status(response)
            yield response
        finally:
            await response.aclose()

    async def forwarded(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """The body of the answer to a POST, as it comes. Closing the generator ends the request."""
        async with self.posted(path, body) as response:
            reads = Reads(self, response)
            while data := await reads.next():
                yield data

    async def fetched(self, path: str) -> bytes:
        """The body of a GET, bounded in size and, as a whole, in time."""
        try:
            async with asyncio.timeout(self.patience.connect_s + self.patience.idle_s):
                timeout = self.timeout(self.patience.idle_s)
                request = self.client.build_request("GET", self.base_url + path, headers=self.headers, timeout=timeout)
                response = await self.client.send(request, stream=True)
                try:
                    if not 200 <= response.status_code < 300:
                        raise await self._status(response)
                    body, whole = await bounded_body(response, ANSWER_BYTES_MAX)
                finally:
                    await response.aclose()
        except FAILURES as error:
            raise self.translated(error) from None
        except TimeoutError:
            raise self.failed("provider_idle", f"no whole answer within {self.patience.idle_s:g} s") from None
        if not whole:
            raise self.failed("provider_garbage", f"expected at most {ANSWER_BYTES_MAX} bytes, received more")
        return body

    async def _status(self, response: httpx.Response) -> ProviderFailed:
        body = b""
        try:
            async with asyncio.timeout(self.patience.idle_s):
                body, _ = await bounded_body(response, ERROR_BODY_BYTES_MAX)
        except (httpx.HTTPError, TimeoutError):
            pass  # the status alone says enough
        text = error_text(body)
        if target := response.headers.get("location"):  # not followed: another server must not be sent the key
            text = f"redirects to {named(response.url, target)} (set that as the provider's address){'; ' if text else ''}{text}"
        said = {"status": response.status_code, **error_members(body)}
        if retry_after := response.headers.get("retry-after"):
            said["retry_after"] = retry_after
            text = f"{text} (Retry-After: {retry_after})".lstrip()
        return self.failed("provider_status", f"HTTP {response.status_code}{': ' if text else ''}{text}", said)


def endpoint_of(client: httpx.AsyncClient, base_url: str, api_key: str, headers: Mapping[str, str], patience: Patience) -> Endpoint:
    """Without a key none is sent. A header of the operator's counts above the key's own."""
    authorization = {"authorization": f"Bearer {api_key}"} if api_key else {}
    lowered = {name.lower(): value for name, value in headers.items()}
    hidden = [value for value in lowered.values() if len(value) >= SECRET_CHARACTERS_MIN]
    return Endpoint(client, base_url.rstrip("/"), {**authorization, **lowered}, [api_key, *hidden], patience)


def bounded_text(text: str) -> str:
    text = storable_text(text)
    return text if len(text) <= DETAIL_CHARS_MAX else f"{text[:DETAIL_CHARS_MAX]}…"


async def bounded_body(response: httpx.Response, bytes_max: int) -> tuple[bytes, bool]:
    """The body up to ``bytes_max``, and whether that was all of it."""
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            return b"".join(pieces)[:bytes_max], False
    return b"".join(pieces), True


class Reads:
    """What an answer's connection brings, read by read."""

    def __init__(self, endpoint: Endpoint, response: httpx.Response) -> None:
        self._endpoint = endpoint
        plain = response.headers.get("content-encoding", "identity") == "identity"
        read = response.extensions.get(READ) if plain else None
        pieces = response.aiter_bytes()
        # The next bytes; empty at the end. Raises one of ``FAILURES``. ``first`` waits for as long as its caller does.
        self.first: Callable[[], Awaitable[bytes]] = partial(read, None) if read else partial(anext, pieces, b"")
        idle_s = endpoint.patience.idle_s
        self.read: Callable[[], Awaitable[bytes]] = partial(read, idle_s) if read else partial(_bounded, pieces, idle_s)

    async def next(self) -> bytes:
        """As ``read``, but raises ``ProviderFailed``."""
        try:
            return await self.read()
        except FAILURES as error:
            raise self._endpoint.translated(error) from None


async def _bounded(pieces: AsyncIterator[bytes], idle_s: float) -> bytes:
    try:
        async with asyncio.timeout(idle_s):
            return await anext(pieces, b"")
    except TimeoutError:
        raise httpx.ReadTimeout("the server was silent for too long") from None


def named(asked: httpx.URL, target: str) -> str:
    """The target of a redirect, without user, password and query."""
    try:
        return str(asked.join(target).copy_with(username=None, password=None, query=None, fragment=None))
    except httpx.InvalidURL:
        return "an address that is none"


def error_text(body: bytes) -> str:
    """What an error's body says, for a person: the message of a JSON error, or the text."""
    try:
        return error_message(msgspec.json.decode(body))
    except UNREADABLE:
        text = " ".join(body.decode("utf-8", "replace").split())
        return html_summary(text) or text


def html_summary(text: str) -> str:
    """What an HTML page in place of an answer is called, since its markup says nothing to a person. Empty if it is none."""
    if not HTML.match(text):
        return ""
    title = TITLE.search(text)
    return f"an HTML page, {html.unescape(title[1]).strip()!r}" if title else "an HTML page"


def error_members(body: bytes) -> dict[str, Any]:
    """``message``, ``type``, ``code`` and ``param`` of an error in OpenAI's form, as far as they are texts or numbers."""
    try:
        decoded = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    return members_of(decoded.get("error")) if isinstance(decoded, dict) else {}


def members_of(error: object) -> dict[str, Any]:
    if not isinstance(error, dict):
        return {}
    return {name: error[name] for name in ("message", "type", "code", "param") if isinstance(error.get(name), str | int)}


def error_message(error: object) -> str:
    """The words of an error that came as JSON, in any of the shapes that servers give it. May hold lone surrogates."""
    for _ in range(3):  # some proxies wrap an error in an error
        match error:
            case {"error": dict() | str() | list() as inner} if inner:
                error = inner
            case _:
                break
    match error:
        case {"message": str() as message, **rest}:
            code = rest.get("code") or rest.get("type")
            return f"{message} ({code})" if isinstance(code, str | int) and code else message
        case {"detail": str() as detail}:
            return detail
        case str():
            return error
        case None:
            return ""
        case _:
            try:
                return json.dumps(error, ensure_ascii=False)
            except RecursionError:
                return "an error that is nested too deeply to be shown"
