"""The servers that ``tests/api`` runs on, for other people's clients."""

from tests.api.conftest import server, serving, settings

__all__ = ["server", "serving", "settings"]
