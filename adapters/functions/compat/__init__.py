"""The few modules of Open WebUI, and of the framework that it is written in, which functions in the wild import.

Each is found under its own name (``open_webui.utils.misc``, ``fastapi``) only where the real one is not installed. What is not here is not
there: a function that imports it is refused, with the name of what it needs.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final

TOPS: Final = ("open_webui", "fastapi", "starlette")
FOLDER: Final = Path(__file__).parent


class CompatFinder(MetaPathFinder):
    """The last of the finders: asked only where no other has found a module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None) -> ModuleSpec | None:
        top, *rest = name.split(".")
        if top not in TOPS or (rest and not isinstance(getattr(sys.modules.get(top), "__loader__", None), CompatLoader)):
            return None
        at = FOLDER.joinpath(top, *rest)
        if (at / "__init__.py").is_file():
            return ModuleSpec(name, CompatLoader(), is_package=True)
        if at.with_suffix(".py").is_file():
            return ModuleSpec(name, CompatLoader())
        raise ModuleNotFoundError(f"this server has no module {name}; of {top} it has {', '.join(known(top))}", name=name)


class CompatLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an ordinary one

    def exec_module(self, module: types.ModuleType) -> None:
        """Everything that our own module of that name has."""
        ours = importlib.import_module(f"{__name__}.{module.__name__}")
        own: dict[str, Any] = {name: value for name, value in vars(ours).items() if not name.startswith("__") or name == "__getattr__"}
        vars(module).update(own)


def known(top: str) -> list[str]:
    """The modules that there are."""
    found = [path for path in (FOLDER / top).rglob("*.py") if path.name != "__init__.py"]
    return sorted(".".join(path.relative_to(FOLDER).with_suffix("").parts) for path in found) or [top]


def install() -> None:
    """From now on functions find these modules. Safe to repeat."""
    if not any(isinstance(finder, CompatFinder) for finder in sys.meta_path):
        sys.meta_path.append(CompatFinder())
