"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, LM Studio, OpenRouter and many more."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from adapters.providers.answers.answer_stream import answered
from adapters.providers.http.http import ADAPTERS_KEYS
from adapters.providers.http.provider import HttpProvider
from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Model, Part, ProviderRequest
from domain.errors import ProviderFailed
from domain.values.storable import storable_text

# Settings that chat completions have; what a server knows beyond them goes to it by ``custom_params``.
OPTION_KEYS: Final = (
    *("temperature", "top_p", "min_p", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "seed", "stop"),
    *("logit_bias", "logprobs", "top_logprobs", "response_format", "reasoning_effort", "verbosity", "service_tier", "tools", "tool_choice"),
    "parallel_tool_calls",
)


class OpenAIProvider(HttpProvider):
    """``base_url`` includes the version, as in ``https://api.openai.com/v1``. Without an ``api_key`` no key is sent."""

    _takes_usage = True  # until this server has refused a request for it

    async def models(self) -> Sequence[Model]:
        """Raises ``ProviderFailed``; entries without an id are left out."""
        match await self._list_at("/models"):
            case {"data": list() as entries} | {"models": list() as entries} | list(entries):
                return [model for entry in entries if (model := _model(entry)) is not None]
            case _:
                raise self._endpoint.failed("provider_garbage", "expected a list of models, received something else")

    async def verify(self) -> Mapping[str, Any]:
        """That it is there and takes the key: what it lists. Raises ``ProviderFailed``."""
        listed = [{"id": model.id, "object": "model", "created": model.created, "name": model.name} for model in await self.models()]
        return {"object": "list", "data": listed}

    def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        return answered(
            self._endpoint, "/chat/completions", body_of(ask, include_usage=self._takes_usage), OpenAIReader(), partial(self._instead, ask)
        )

    def _instead(self, ask: ProviderRequest, failure: ProviderFailed) -> Mapping[str, Any] | None:
        """Usage is asked for until this server has refused the request for that."""
        if not self._takes_usage or not _refuses_usage(failure):
            return None
        self._takes_usage = False
        return body_of(ask, include_usage=False)

    def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        return self._endpoint.forwarded(path, body)


def _refuses_usage(failure: ProviderFailed) -> bool:
    """Whether a server has refused the request for the key that asks for usage. It has said nothing yet then."""
    return failure.said.get("status") in (400, 422) and any(name in str(failure) for name in ("stream_options", "include_usage"))


def body_of(ask: ProviderRequest, *, include_usage: bool) -> dict[str, Any]:
    """The body of a request for chat completions."""
    params = {key: ask.options[key] for key in OPTION_KEYS if key in ask.options}
    params |= {key: value for key, value in ask.params.items() if key not in ADAPTERS_KEYS}
    given = params.pop("stream_options", None)
    stream_options = {**({"include_usage": True} if include_usage else {}), **(given if isinstance(given, Mapping) else {})}
    body = {**params, "model": ask.model, "messages": ask.messages, "stream": True}
    return {**body, "stream_options": stream_options} if stream_options else body


def _model(entry: object) -> Model | None:
    match entry:
        case {"pipeline": {"type": "filter"}}:
            return None  # of a server of pipelines: it changes questions and answers, and answers none
        case {"id": str() as model_id, **rest} | {"model": str() as model_id, **rest} | {"name": str() as model_id, **rest} if model_id:
            created, name = rest.get("created"), rest.get("name")
            return Model(
                id=storable_text(model_id),
                name=storable_text(name if isinstance(name, str) and name else model_id),
                owned_by="openai",
                created=created if isinstance(created, int) else 0,
                details={str(key): value for key, value in rest.items() if key not in ("object", "created", "name")},
            )
        case str() if entry:
            return Model(id=storable_text(entry), name=storable_text(entry), owned_by="openai")
        case _:
            return None
