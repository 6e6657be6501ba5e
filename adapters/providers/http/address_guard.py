"""Which addresses a provider that an admin has chosen may not have: those that a machine answers only its own programs on.

An admin names the address of a model server, and the server asks it. That must not become a way to the cloud's metadata service or
to another machine that trusts this one. The networks are the operator's (STENO_PROVIDER_REFUSED_NETWORKS); model servers on the same
machine and in private networks are the usual case, so those are open unless the operator closes them.
"""

import asyncio
import ipaddress
from collections.abc import Sequence

import httpx

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address behind a translator
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(httpx.ConnectError):
    """The address is in a network that is closed."""


class AddressGuard:
    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Raises ``ValueError`` for what is no network."""
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def refuses(self, host: str) -> bool:
        """Whether ``host`` is an address, in any of the ways to write one, in a closed network. A name is none: look at where it leads."""
        address = address_of(host)
        return address is not None and any(address in network for network in self._networks if network.version == address.version)

    def require(self, host: str) -> None:
        """Raises ``AddressRefused``."""
        if self.refuses(host):
            raise AddressRefused(f"{host} is in a network that is closed to providers")

    async def require_name(self, host: str, port: int) -> None:
        """Every address that a name leads to now. Raises ``AddressRefused``, and ``httpx.ConnectError`` for a name that leads nowhere."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        for *_, address in found:
            self.require(str(address[0]))


def address_of(host: str) -> Address | None:
    """The address that ``host`` is, as IPv4 where it stands for one; None for a name."""
    try:
        address: Address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


class GuardedProxyTransport(httpx.AsyncBaseTransport):
    """httpx's own transport through a proxy whose address an admin has chosen: looked at before each request."""

    def __init__(self, inner: httpx.AsyncBaseTransport, proxy: httpx.URL, guard: AddressGuard) -> None:
        self._inner = inner
        self._proxy = proxy
        self._guard = guard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._guard.require_name(self._proxy.host, self._proxy.port or 80)
        self._guard.require(request.url.host)  # a name is resolved by the proxy: its operator says where it may connect to
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
