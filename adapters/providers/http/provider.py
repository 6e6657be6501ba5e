"""What every provider on a server of its own has: the endpoint, and how its list of models is read."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from adapters.providers.http.http import PATIENCE, Patience, endpoint_of, html_summary
from domain.log.codec import UNREADABLE


class HttpProvider:
    """Without an ``api_key`` no key is sent. A header of the operator's counts above the key's own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        api_key: str = "",
        *,
        patience: Patience = PATIENCE,
        headers: Mapping[str, str] = {},
    ) -> None:
        self._endpoint = endpoint_of(client, base_url, api_key, headers, patience)

    async def _list_at(self, path: str) -> Any:
        """What the server answers when it is asked for its models, decoded. Raises ``ProviderFailed``."""
        body = await self._endpoint.fetched(path)
        try:
            return msgspec.json.decode(body)
        except UNREADABLE:
            received = html_summary(body.decode("utf-8", "replace")) or "what is not JSON"
            raise self._endpoint.failed("provider_garbage", f"expected a list of models, received {received}") from None
