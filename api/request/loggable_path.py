"""The path of a request as logs may hold it."""

from typing import Final

WEBHOOKS: Final = "/api/v1/channels/webhooks/"


def loggable_path(path: str) -> str:
    """Without the token that a service may show in the path of its webhook."""
    if not path.startswith(WEBHOOKS):
        return path
    webhook_id, slash, _ = path.removeprefix(WEBHOOKS).partition("/")
    return f"{WEBHOOKS}{webhook_id}{slash and '/…'}"
