"""A function in memory."""

from collections.abc import Mapping
from typing import Any, Final

from adapters.functions.valves import Declared
from commands.functions.functions import FunctionKind

METHODS: Final[Mapping[FunctionKind, tuple[str, ...]]] = {
    "pipe": ("pipe", "pipes"),
    "filter": ("inlet", "stream", "outlet"),
    "action": ("action",),
}


class Loaded:
    """A function in memory. ``instance`` is used in functions' threads alone."""

    __slots__ = ("declared", "function_id", "has_toggle", "instance", "kind", "manifest")

    def __init__(self, function_id: str, kind: FunctionKind, instance: Any, manifest: Mapping[str, str], declared: Declared) -> None:
        self.function_id = function_id
        self.kind = kind
        self.instance = instance
        self.manifest = manifest
        self.declared = declared
        self.has_toggle = kind == "filter" and bool(getattr(instance, "toggle", False))
