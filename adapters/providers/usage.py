"""Token counts of an answer, under the same names for every provider."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from adapters.providers.text import storable

_INPUT: Final = ("input_tokens", "prompt_tokens", "prompt_eval_count")
_OUTPUT: Final = ("output_tokens", "completion_tokens", "predicted_n", "eval_count")
_DEPTH_MAX: Final = 20  # of what a provider nests in its usage


def normalized(usage: Mapping[str, Any]) -> dict[str, Any]:
    """``usage`` as it came, with ``input_tokens``, ``output_tokens`` and ``total_tokens``.

    Knows OpenAI's names, Anthropic's, Ollama's, and llama.cpp's ``timings`` (``prompt_n`` + ``cache_n``, ``predicted_n``).
    """
    given = usage.get("total_tokens")
    read = _first(usage, _INPUT)
    if read is None:
        read = _count(usage.get("prompt_n")) + _count(usage.get("cache_n"))
    written = _first(usage, _OUTPUT) or 0
    total = _count(given) or read + written
    return {**_storable(usage), "input_tokens": read, "output_tokens": written, "total_tokens": total}


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((_count(usage[name]) for name in names if usage.get(name) is not None), None)


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0


def _storable(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return storable(value)
        case dict() | list() if depth == _DEPTH_MAX:
            return None
        case dict():
            return {storable(key): _storable(inner, depth + 1) for key, inner in value.items()}
        case list():
            return [_storable(inner, depth + 1) for inner in value]
        case float() if not isfinite(value):
            return None  # JSON has no such number
        case _:
            return value
