"""Why an answer ended, under one name for every provider."""

from typing import Final

from domain.errors import ProviderFailed

_NAMES: Final = {
    "stop": ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "finish_reason_stop"),
    "length": ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
    "content_filter": (
        *("content_filter", "content_filtered", "safety", "image_safety", "recitation", "refusal", "blocklist"),
        *("prohibited_content", "spii", "sensitive", "guardrail_intervened"),
    ),
    "error": (
        *("error", "malformed_function_call", "unexpected_tool_call", "malformed_tool_call", "network_error", "server_error"),
        *("model_error", "abort", "aborted", "insufficient_system_resource", "failed"),
    ),
}
_NAMED: Final = {name: ours for ours, names in _NAMES.items() for name in names}


def classified(reason: str) -> str:
    """``stop``, ``length``, ``tool_calls``, ``content_filter`` or ``error``; a reason that is not known stays as it is."""
    return _NAMED.get(reason.lower(), reason)


def failure_of(reason: str, said: str, *, is_empty: bool) -> ProviderFailed | None:
    """Why an answer with this end is none, or ``None``. ``reason`` is a classified one, ``said`` the provider's own word for it.

    An answer that was cut off or filtered is one as far as it goes; where nothing of it came, there is nothing to show.
    """
    if reason == "error":
        return ProviderFailed("provider_error", f"the provider ended the answer with {said!r} and did not say why")
    if is_empty and reason == "content_filter":
        return ProviderFailed("provider_filtered", f"the provider withheld the answer: it ended with {said!r} and without any content")
    if is_empty and reason == "length":
        return ProviderFailed("provider_empty", f"the answer reached its limit of tokens before its first word: it ended with {said!r}")
    return None
