"""How many tokens a provider says that an answer took. What it did not say is unknown and never 0."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

INPUT: Final = ("prompt_tokens", "prompt_eval_count", "input_tokens")
OUTPUT: Final = ("completion_tokens", "predicted_n", "eval_count", "output_tokens")
OURS: Final = frozenset({"input_tokens", "output_tokens"})  # the names that a run adds, 0 where the provider said nothing
TOKENS_MAX: Final = 2**53


class Tokens(msgspec.Struct, frozen=True):
    input: int | None = None
    output: int | None = None
    cached: int | None = None  # of ``input``
    reasoning: int | None = None  # of ``output``


def tokens_of(usage: Any) -> Tokens:
    """Of a stored ``usage``, whatever it holds."""
    if not isinstance(usage, Mapping):
        return Tokens()
    read = first(usage, INPUT)
    if read is None and ("prompt_n" in usage or "cache_n" in usage):
        counts = [count(usage.get(name, 0)) for name in ("prompt_n", "cache_n")]
        read = sum(one for one in counts if one is not None) if None not in counts else None
    cached = detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    return Tokens(
        read,
        first(usage, OUTPUT),
        cached if cached is not None else count(usage.get("cache_read_input_tokens")),
        detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens"),
    )


def first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """A 0 under a name that the run adds itself says nothing: no answer takes no tokens."""
    for name in names:
        if usage.get(name) is not None:
            known = count(usage[name])
            return None if known == 0 and name in OURS else known
    return None


def detail(usage: Mapping[str, Any], groups: tuple[str, ...], name: str) -> int | None:
    return next((count(known.get(name)) for group in groups if isinstance(known := usage.get(group), Mapping)), None)


def count(value: Any) -> int | None:
    """A number of tokens; None for what is none: negative, too large, a text."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < TOKENS_MAX:
        return None
    return int(value)
