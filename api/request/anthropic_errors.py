"""A refusal in Anthropic's shape, as its SDKs read it: ``{"type": "error", "error": {"type", "message"}}``.

Source: https://docs.anthropic.com/en/api/errors.
"""

from collections.abc import Mapping
from typing import Any, Final

PATH: Final = "/v1/messages"
VERSION_HEADER: Final = "anthropic-version"  # Anthropic's clients send it with every request

TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def is_spoken(path: str, headers: Mapping[str, str]) -> bool:
    """Whether a request is in this dialect."""
    return path == PATH or path.startswith(f"{PATH}/") or (path.startswith("/v1/") and VERSION_HEADER in headers)


def shaped(status: int, detail: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The body. ``more`` may hold ``param``, and ``provider``: what a provider said goes before our own words."""
    said = more.get("provider") or {}
    param = more.get("param")
    message = said.get("message") or (f"{param}: {detail}" if param else detail)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}
