"""``__request__``: what a function sees of the request that led to its call. No secret of the server or of the caller is in it."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any


class Config:
    """Settings that functions look up by Open WebUI's names. None of them is here: each is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Headers(Mapping[str, str]):
    """By name, without regard to case."""

    def __init__(self, headers: Mapping[str, str] = {}) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self) -> Any:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Request:
    """In the shape of Starlette's, as far as functions look at it. ``actor_id``: who asks; ``generate_chat_completion`` asks for them."""

    def __init__(self, headers: Mapping[str, str] = {}, metadata: Mapping[str, Any] = {}, models: Mapping[str, Any] = {}) -> None:
        self.headers = Headers(headers)
        self.cookies: dict[str, str] = {}
        self.query_params: dict[str, str] = {}
        self.method = "POST"
        self.base_url = ""
        self.url = SimpleNamespace(path="/api/chat/completions", hostname="", scheme="http")
        self.client = None
        self.state = SimpleNamespace(metadata=dict(metadata), direct=False, token=None)
        self.app = SimpleNamespace(state=SimpleNamespace(config=Config(), MODELS=dict(models), FUNCTIONS={}, TOOLS={}))
