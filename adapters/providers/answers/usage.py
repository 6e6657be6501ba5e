"""Token counts of an answer, under the same names for every provider."""

from collections.abc import Mapping
from typing import Any, Final

from adapters.providers.answers.text import bounded_json

_INPUT: Final = ("input_tokens", "prompt_tokens", "prompt_eval_count")
_OUTPUT: Final = ("output_tokens", "completion_tokens", "predicted_n", "eval_count")


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
    return {**bounded_json(usage), "input_tokens": read, "output_tokens": written, "total_tokens": total}


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((_count(usage[name]) for name in names if usage.get(name) is not None), None)


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0
