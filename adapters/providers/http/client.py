"""The HTTP clients for all providers."""

from typing import Final

import httpx

from adapters.providers.http.address_guard import AddressGuard, GuardedProxyTransport
from adapters.providers.http.transport import StreamTransport

CONNECTIONS_MAX: Final = 2_000  # each running generation holds one; httpx's own default of 100 would queue the 101st
KEEPALIVE_MAX: Final = 200


def provider_client(
    *, proxy: str | None = None, connections_max: int = CONNECTIONS_MAX, guard: AddressGuard | None = None
) -> httpx.AsyncClient:
    """A client for many long streams at once. Its owner closes it.

    Nothing is taken from the environment (``trust_env`` is off): where a server connects to is said in its own settings, and
    a forgotten ``HTTP_PROXY`` must not stand between it and a model on the same machine. Only ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR`` count. With ``proxy`` httpx's own, slower transport is used. ``guard`` looks at the addresses that are connected to.
    Raises ``ValueError`` for a proxy that cannot be one.
    """
    transport: httpx.AsyncBaseTransport
    if proxy is None:
        transport = StreamTransport(connections_max=connections_max, keepalive_max=KEEPALIVE_MAX, guard=guard)
    else:
        limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=KEEPALIVE_MAX, keepalive_expiry=30.0)
        try:
            address = httpx.Proxy(proxy)
        except httpx.InvalidURL as error:
            raise ValueError(f"no address of a proxy: {error}") from None
        transport = httpx.AsyncHTTPTransport(proxy=address, limits=limits, http1=True, http2=False, trust_env=False)
        if guard is not None:
            transport = GuardedProxyTransport(transport, httpx.URL(proxy), guard)
    return httpx.AsyncClient(transport=transport, trust_env=False, headers=_HEADERS)


class ProviderClients:
    """One client for all providers without a proxy, and one for each proxy; and the same again for those that are guarded."""

    def __init__(self, guard: AddressGuard | None = None) -> None:
        self._guard = guard
        self._clients: dict[tuple[str | None, bool], httpx.AsyncClient] = {}

    def client(self, proxy: str | None, *, is_guarded: bool = False) -> httpx.AsyncClient:
        """Raises ``ValueError`` for a proxy that cannot be one."""
        known = self._clients.get((proxy, is_guarded))
        if known is None:
            known = provider_client(proxy=proxy, guard=self._guard if is_guarded else None)
            self._clients[proxy, is_guarded] = known
        return known


# Compression would make a server gather tokens before it sends them.
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "stenograph"}
