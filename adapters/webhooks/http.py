"""``WebhookSender`` over HTTP. Every address that a name leads to is looked at when it is connected to; redirects are not followed."""

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx

from adapters.providers.http.address_guard import AddressGuard, AddressRefused
from adapters.providers.http.client import provider_client
from commands.channels.outgoing_worker import Sent

CONNECTIONS_MAX: Final = 64
CONNECT_S: Final = 5.0
ANSWER_S: Final = 20.0
WHOLE_S: Final = 30.0  # of one request; shorter than the lease


class HttpWebhookSender:
    def __init__(self, guard: AddressGuard) -> None:
        self._client = provider_client(connections_max=CONNECTIONS_MAX, guard=guard)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        try:
            async with (
                asyncio.timeout(WHOLE_S),
                self._client.stream("POST", url, headers=dict(headers), content=body, timeout=timeout, follow_redirects=False) as answer,
            ):
                return Sent(answer.status_code, None, retry_after_s(answer.headers.get("retry-after")))  # its body is of no interest
        except AddressRefused:
            return Sent(None, "the address is in a network that is closed to webhooks")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError) as error:
            return Sent(None, type(error).__name__)  # its text may hold the address

    async def aclose(self) -> None:
        await self._client.aclose()


def retry_after_s(said: str | None) -> float | None:
    """Seconds; a date is not understood."""
    return float(said) if said is not None and said.isdecimal() and len(said) < 8 else None
