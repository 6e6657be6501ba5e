"""What the HTTP and the WebSocket protocol of one process share: the settings, and the connections of each address."""

from collections import Counter
from typing import Any, Final

import uvicorn
from uvicorn.middleware.proxy_headers import _TrustedHosts  # the rule that decides whose X-Forwarded-For is believed

from api.settings import Settings

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})


class AddressCounts:
    """The open connections of this process by address. Loopback and trusted proxies bound their own clients and are not counted."""

    def __init__(self, connections_max: int, trusted: str | list[str] | None) -> None:
        self._connections_max = connections_max
        self._trusted = _TrustedHosts(trusted or [])
        self._counts: Counter[str] = Counter()

    def add(self, client: tuple[str, int] | None) -> bool:
        """Count a connection. Returns whether its address has no more than it may have; it is counted either way."""
        if client is None or client[0] in LOOPBACK or client[0] in self._trusted:
            return True
        self._counts[client[0]] += 1
        return self._counts[client[0]] <= self._connections_max

    def remove(self, client: tuple[str, int] | None) -> None:
        if client is not None and self._counts[client[0]] > 1:
            self._counts[client[0]] -= 1
        elif client is not None:
            del self._counts[client[0]]


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with what the protocols of this project read beside it."""

    def __init__(self, app: Any, settings: Settings, **options: Any) -> None:
        super().__init__(app, **options)
        self.settings = settings
        self.addresses = AddressCounts(settings.connections_per_address_max, self.forwarded_allow_ips)
