"""The HTTP clients for all providers."""

from typing import Final

import httpx

from adapters.providers.transport import StreamTransport

CONNECTIONS_MAX: Final = 2_000  # each running generation holds one; httpx's own default of 100 would queue the 101st
KEEPALIVE_MAX: Final = 200


def provider_client(*, proxy: str | None = None, connections_max: int = CONNECTIONS_MAX) -> httpx.AsyncClient:
    """A client for many long streams at once. Its owner closes it.

    Nothing is taken from the environment (``trust_env`` is off): where a server connects to is said in its own settings, and
    a forgotten ``HTTP_PROXY`` must not stand between it and a model on the same machine. Only ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR`` count. With ``proxy`` httpx's own, slower transport is used.
    """
    if proxy is None:
        return httpx.AsyncClient(
            transport=StreamTransport(connections_max=connections_max, keepalive_max=KEEPALIVE_MAX), trust_env=False, headers=_HEADERS
        )
    limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=KEEPALIVE_MAX, keepalive_expiry=30.0)
    return httpx.AsyncClient(proxy=proxy, limits=limits, http1=True, http2=False, trust_env=False, headers=_HEADERS)


class ProviderClients:
    """One client for all providers without a proxy, and one for each proxy."""

    def __init__(self) -> None:
        self._by_proxy: dict[str | None, httpx.AsyncClient] = {}

    def client(self, proxy: str | None) -> httpx.AsyncClient:
        known = self._by_proxy.get(proxy)
        if known is None:
            known = self._by_proxy[proxy] = provider_client(proxy=proxy)
        return known


# Compression would make a server gather tokens before it sends them.
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "stenograph"}
