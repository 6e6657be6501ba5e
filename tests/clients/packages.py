"""OpenAI's and Anthropic's clients, loaded when a test first uses one.

Together they take two seconds of a core, which each of the processes that collect the tests would spend. The tests that use them
run in one process (``GROUPS`` in ``tests/conftest.py``).
"""

import importlib
from typing import Any


class Package:
    """A module that is imported when a class in it is asked for: pytest asks all that a test module holds whether it is a test."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if not name[0].isupper():
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


anthropic: Any = Package("anthropic")
openai: Any = Package("openai")
