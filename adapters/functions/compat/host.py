"""What the modules here can ask of the server, from a function's thread."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol


class Host(Protocol):
    def person(self, user_id: str) -> Mapping[str, Any] | None:
        """``id``, ``name``, ``email`` and ``role`` of an account; None where there is none. Blocks for a moment."""
        ...

    def complete(self, user_id: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Ask the model ``body["model"]`` of this server. Yields its answer as chunks in OpenAI's form.

        Raises an exception with the server's text where the model cannot be asked.
        """
        ...


class _Absent:
    def person(self, user_id: str) -> Mapping[str, Any] | None:
        return None

    def complete(self, user_id: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        raise RuntimeError("no model can be asked here")


host: Host = _Absent()


def set_host(given: Host) -> None:
    global host
    host = given
