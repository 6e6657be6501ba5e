"""The few modules of Open WebUI, and of the framework that it is written in, which functions in the wild import.

Each is found under its own name (``open_webui.utils.misc``, ``fastapi``) only where the real one is not installed. What is not here is not
there: a function that imports it is refused, with the name of what it needs.
"""

import importlib
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Final

# By the name under which functions import it, what stands there.
MODULES: Final[Mapping[str, str]] = {
    "open_webui.utils.misc": "adapters.functions.compat.messages",
    "open_webui.utils.chat": "adapters.functions.compat.asking",
    "open_webui.main": "adapters.functions.compat.asking",
    "open_webui.models.users": "adapters.functions.compat.users",
    "open_webui.constants": "adapters.functions.compat.constants",
    "open_webui.env": "adapters.functions.compat.env",
    "fastapi": "adapters.functions.compat.framework",
    "fastapi.requests": "adapters.functions.request",
    "fastapi.responses": "adapters.functions.compat.responses",
    "starlette.requests": "adapters.functions.request",
    "starlette.responses": "adapters.functions.compat.responses",
    "starlette.background": "adapters.functions.compat.background",
}
PACKAGES: Final = frozenset({"open_webui", "open_webui.utils", "open_webui.models", "fastapi", "starlette"})
TOPS: Final = frozenset({"open_webui", "fastapi", "starlette"})


class CompatFinder(MetaPathFinder):
    """The last of the finders: asked only where no other has found a module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None) -> ModuleSpec | None:
        top, below, _ = name.partition(".")
        if top not in TOPS or (below and not isinstance(getattr(sys.modules.get(top), "__loader__", None), CompatLoader)):
            return None
        if name in MODULES or name in PACKAGES:
            return ModuleSpec(name, CompatLoader(), is_package=name in PACKAGES)
        there = ", ".join(sorted(one for one in MODULES if one.startswith(top)))
        raise ModuleNotFoundError(f"this server has no module {name}; of {top} it has {there}", name=name)


class CompatLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an ordinary one

    def exec_module(self, module: types.ModuleType) -> None:
        """Everything that our own module of that name has."""
        if module.__name__ in MODULES:
            ours = importlib.import_module(MODULES[module.__name__])
            own: dict[str, Any] = {name: value for name, value in vars(ours).items() if not name.startswith("__")}
            vars(module).update(own)


def install() -> None:
    """From now on functions find these modules. Safe to repeat."""
    if not any(isinstance(finder, CompatFinder) for finder in sys.meta_path):
        sys.meta_path.append(CompatFinder())
