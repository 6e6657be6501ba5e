"""Which addresses are closed, in whatever way they are written."""

import pytest

from adapters.providers.http.address_guard import AddressGuard, AddressRefused
from adapters.providers.http.client import ProviderClients, provider_client
from adapters.providers.http.http import Patience
from adapters.providers.openai.openai import OpenAIProvider
from api.settings import REFUSED_NETWORKS
from tests.adapters.providers.asking import ask, heard_until_failure
from tests.adapters.providers.scripted import END, answering, said, serving

GUARD = AddressGuard(REFUSED_NETWORKS)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "100.100.100.200",
        "168.63.129.16",
    ],
)
def test_closed_addresses_are_refused(host: str) -> None:
    assert GUARD.refuses(host)
    with pytest.raises(AddressRefused):
        GUARD.require(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "8.8.8.8", "example.org", "localhost", "", "1.2.3"]
)
def test_others_are_not(host: str) -> None:
    assert not GUARD.refuses(host)


def test_what_is_no_network_is_no_setting() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        AddressGuard(["nonsense"])


@pytest.mark.anyio
async def test_the_address_of_a_connection_counts_and_not_its_name() -> None:
    guard = AddressGuard(["127.0.0.0/8", "::1/128"])
    async with serving(answering(said("a") + END)) as server, provider_client(guard=guard) as client:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost"), server.url.replace("127.0.0.1", "2130706433")):
            _, failure = await heard_until_failure(OpenAIProvider(client, url, patience=Patience(connect_s=5)))
            assert failure.code == "provider_unreachable"
            assert "STENO_PROVIDER_REFUSED_NETWORKS" in str(failure)
        assert server.asked == []


@pytest.mark.anyio
async def test_a_proxy_is_looked_at_and_what_is_asked_through_it() -> None:
    async with serving(answering(said("a") + END)) as proxy:
        closed = ProviderClients(AddressGuard(["127.0.0.0/8"])).client(proxy.url, is_guarded=True)
        open_ = ProviderClients(GUARD).client(proxy.url, is_guarded=True)
        async with closed, open_:
            for client, url in ((closed, "http://nowhere.example/v1"), (open_, "http://169.254.169.254/v1")):
                _, failure = await heard_until_failure(OpenAIProvider(client, url))
                assert "STENO_PROVIDER_REFUSED_NETWORKS" in str(failure)
            assert proxy.asked == []
            parts = [part async for read in OpenAIProvider(open_, "http://nowhere.example/v1").stream(ask()) for part in read]
            assert parts
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("proxy", ["socks9://x", "nonsense", "http://x:y"])
def test_a_proxy_that_cannot_be_one_is_a_value_error(proxy: str) -> None:
    with pytest.raises(ValueError):  # the text is httpx's
        provider_client(proxy=proxy)
