from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.providers.http.client import provider_client


@pytest.fixture(params=["our transport", "httpx's transport"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """What holds with our transport holds with httpx's own, which is used when there is a proxy."""
    ours = request.param == "our transport"
    async with provider_client() if ours else httpx.AsyncClient(trust_env=False) as made:
        yield made
