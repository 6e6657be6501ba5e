"""A refusal in OpenAI's shape, as its SDKs read it: ``{"error": {"message", "type", "param", "code"}}``.

Source: https://platform.openai.com/docs/guides/error-codes. SDKs choose their exception by the status alone, so that has to be right.
"""

from collections.abc import Mapping
from typing import Any, Final

PATHS: Final = ("/v1/", "/openai/")
OTHERS: Final = ("/openai/config", "/openai/verify")  # below them, and nothing of OpenAI's: an admin's page asks there

TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
# Where OpenAI's status for a code is another than ours.
STATUSES: Final[Mapping[str, int]] = {"model_not_found": 404, "chat_not_found": 404}
CODES: Final[Mapping[str, str]] = {"not_authenticated": "invalid_api_key"}  # ours → OpenAI's, where it has a name for the same


def is_spoken(path: str) -> bool:
    """Whether clients of this path read OpenAI's shape."""
    return path.startswith(PATHS) and not path.startswith(OTHERS)


def shaped(status: int, code: str, detail: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The body. ``more`` may hold ``param``, and ``provider``: what a provider said goes before our own words."""
    said = more.get("provider") or {}
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {
        "message": said.get("message") or detail,
        "type": said.get("type") or kind,
        "param": said.get("param") or more.get("param"),
        "code": said.get("code") or CODES.get(code, code),
    }
    return {"error": error}
