"""Ollama's own protocol: ``/api/tags`` and ``/api/chat``, converted from and to OpenAI's form.

The conversions are the reference system's (its requests mean the same here), with these additions: sampling keys that stand
beside ``messages``, as OpenAI's clients send them, become options; ``max_completion_tokens`` counts as ``max_tokens``;
``response_format: json_object`` becomes ``format: "json"``; one ``stop`` becomes a list of it.
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from adapters.providers.answers.answer_stream import answered
from adapters.providers.http.provider import HttpProvider
from adapters.providers.ollama.ollama_answer import OllamaReader
from commands.providers.provider import Model, Part, ProviderRequest
from domain.log.codec import UNREADABLE
from domain.values.storable import storable_text

_OPTION_KEYS: Final = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "tfs_z", "seed", "presence_penalty", "frequency_penalty"),
    *("repeat_penalty", "repeat_last_n", "mirostat", "mirostat_eta", "mirostat_tau", "num_ctx", "num_batch", "num_keep"),
    *("num_predict", "num_gpu", "num_thread", "use_mmap", "use_mlock"),
)


THOUGHTS: Final = ("thinking", "reasoning_content", "reasoning")  # of a message: Ollama's own name, and those of others
VERSION_CHARACTERS_MAX: Final = 100


class OllamaProvider(HttpProvider):
    """``base_url`` is the server's root, as in ``http://localhost:11434``. The key is for a proxy in front of it."""

    async def models(self) -> Sequence[Model]:
        """Raises ``ProviderFailed``; entries without a name are left out."""
        match await self._list_at("/api/tags"):
            case {"models": list() as entries}:
                return [model for entry in entries if (model := _model(entry)) is not None]
            case _:
                raise self._endpoint.failed("provider_garbage", "expected {models: […]}, received something else")

    async def verify(self) -> Mapping[str, Any]:
        """That it is there and takes the key: its version. Raises ``ProviderFailed``."""
        try:
            said = msgspec.json.decode(await self._endpoint.fetched("/api/version"))
        except UNREADABLE:
            said = None
        match said:
            case {"version": str() as version}:
                return {"version": storable_text(version[:VERSION_CHARACTERS_MAX])}
            case _:
                raise self._endpoint.failed("provider_garbage", "expected the version of an Ollama server, received something else")

    def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        return answered(self._endpoint, "/api/chat", request_of(ask), OllamaReader())

    def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """By Ollama's own OpenAI API."""
        return self._endpoint.forwarded(f"/v1{path}", body)


def request_of(ask: ProviderRequest) -> dict[str, Any]:
    """The body for ``/api/chat``."""
    params = {**ask.options, **ask.params}
    given = params.get("options")
    options: dict[str, Any] = {key: params[key] for key in _OPTION_KEYS if params.get(key) is not None}
    options |= given if isinstance(given, Mapping) else {}
    request: dict[str, Any] = {"model": ask.model, "messages": [_message(message) for message in ask.messages], "stream": True}
    for key in ("tools", "metadata"):
        if params.get(key) is not None:
            request[key] = params[key]

    for key, parse in _ROOT_KEYS.items():
        value = options.pop(key, None)
        value = params.get(key) if value is None else value
        if value is not None:
            request[key] = parse(value)
    if (system := options.pop("system", None)) is not None:
        request["system"] = system

    if (limit := options.pop("max_tokens", None)) is not None:
        options["num_predict"] = limit
    for key in ("max_completion_tokens", "max_tokens"):
        if params.get(key) is not None:
            options["num_predict"] = params[key]
    if params.get("stop") is not None:
        options["stop"] = params["stop"]
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]  # Ollama takes a list only
    match params.get("response_format"):
        case {"type": "json_object"}:
            request["format"] = "json"
        case {"type": str() as kind, **rest}:
            inner = rest.get(kind)
            if isinstance(inner, Mapping) and inner.get("schema") is not None:
                request["format"] = inner["schema"]
        case _:
            pass  # plain text, which is what it does anyway
    if options:
        request["options"] = options
    return request


def _parsed(value: object) -> object:
    """A JSON text as what it says; any other text as it is: ``"300"`` → 300, ``"5m"`` → ``"5m"``."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _thinking(value: object) -> object:
    return value if value in ("low", "medium", "high") else bool(value)


_ROOT_KEYS: Final[Mapping[str, Callable[[object], object]]] = {"format": _parsed, "keep_alive": _parsed, "think": _thinking}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": message.get("role", "user"), "content": ""}
    content, calls = message.get("content"), message.get("tool_calls")
    if calls:
        converted["tool_calls"] = [_call(call) for call in calls if isinstance(call, Mapping)]
    elif isinstance(content, str):
        converted["content"] = content
    elif isinstance(content, Sequence):
        texts: list[str] = []
        images: list[str] = []
        for part in content:
            match part:
                case {"type": "text", "text": str() as text}:
                    texts.append(text)
                case {"type": "image_url", "image_url": {"url": str() as url} | (str() as url)} if url:
                    images.append(url.rpartition(",")[2] if url.startswith("data:") else url)
                case _:
                    pass  # audio and files mean nothing to Ollama
        converted["content"] = "".join(texts).strip()
        if images:
            converted["images"] = images
    if message.get("tool_call_id") is not None and not calls:
        converted["tool_call_id"] = message["tool_call_id"]
    if thought := next((message[name] for name in THOUGHTS if isinstance(message.get(name), str) and message[name]), None):
        converted["thinking"] = thought
    return converted


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = _parsed(function.get("arguments"))
    return {
        "index": call.get("index", 0),
        "id": call.get("id"),
        "function": {"name": function.get("name"), "arguments": arguments if isinstance(arguments, Mapping) else {}},
    }


def _model(entry: object) -> Model | None:
    match entry:
        case {"model": str() as model_id, **rest} | {"name": str() as model_id, **rest} if model_id:
            name = rest.get("name")
            return Model(
                id=storable_text(model_id),
                name=storable_text(name if isinstance(name, str) and name else model_id),
                owned_by="ollama",
                created=_seconds(rest.get("modified_at")),
                details={str(key): value for key, value in rest.items() if key != "name"},
            )
        case _:
            return None


def _seconds(moment: object) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp()) if isinstance(moment, str) else 0
    except (ValueError, OverflowError):
        return 0
