"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, LM Studio, OpenRouter and many more."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec

from adapters.providers.answer_stream import answered
from adapters.providers.http import LOCAL_KEYS, Endpoint
from adapters.providers.openai_answer import OpenAIReader
from adapters.providers.text import storable
from commands.providers import Model, Part, ProviderRequest

CONNECT_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 300.0  # also the wait for the first token, which a long prompt on a small machine makes long


class OpenAIProvider:
    """``base_url`` includes the version, as in ``https://api.openai.com/v1``. Without an ``api_key`` no key is sent.

    ``idle_timeout_s`` bounds the silence between any two reads, a comment being no silence; there is no bound on a whole answer.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        api_key: str = "",
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        headers: Mapping[str, str] = {},
    ) -> None:
        authorization = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._endpoint = Endpoint(client, base_url.rstrip("/"), {**headers, **authorization}, api_key, connect_timeout_s, idle_timeout_s)

    async def models(self) -> Sequence[Model]:
        """Raises ``ProviderFailed``; entries without an id are left out."""
        try:
            listed = msgspec.json.decode(await self._endpoint.fetched("/models"))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._endpoint.failed("provider_garbage", f"{self._endpoint.shown}: the list of models is not JSON") from None
        match listed:
            case {"data": list() as entries} | {"models": list() as entries} | list(entries):
                return [model for entry in entries if (model := _model(entry)) is not None]
            case _:
                raise self._endpoint.failed(
                    "provider_garbage", f"{self._endpoint.shown}: expected a list of models, received something else"
                )

    def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        return answered(self._endpoint, "/chat/completions", _body(ask), OpenAIReader())

    def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        return self._endpoint.forwarded(path, body)


def _body(ask: ProviderRequest) -> dict[str, Any]:
    params = {key: value for key, value in ask.params.items() if key not in LOCAL_KEYS}
    options = params.pop("stream_options", None)
    stream_options = {"include_usage": True, **(options if isinstance(options, Mapping) else {})}
    return {**params, "model": ask.model, "messages": ask.messages, "stream": True, "stream_options": stream_options}


def _model(entry: object) -> Model | None:
    match entry:
        case {"id": str() as model_id, **rest} | {"model": str() as model_id, **rest} | {"name": str() as model_id, **rest} if model_id:
            created, name = rest.get("created"), rest.get("name")
            return Model(
                id=storable(model_id),
                name=storable(name if isinstance(name, str) and name else model_id),
                owned_by="openai",
                created=created if isinstance(created, int) else 0,
                details={str(key): value for key, value in rest.items() if key not in ("object", "created", "name")},
            )
        case str() if entry:
            return Model(id=storable(entry), name=storable(entry), owned_by="openai")
        case _:
            return None
