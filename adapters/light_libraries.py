"""structlog and httpx without Rich and Pygments, which both load for terminals: 4 MB in each server process, which draws nothing."""

import importlib
import sys
from typing import Final

LIBRARIES: Final = ("structlog", "httpx")
LEFT_OUT: Final = ("rich", "pygments")


def load_without_terminals() -> None:
    """Import ``LIBRARIES`` while ``LEFT_OUT`` cannot be imported. Both libraries run without those; later imports of them work as usual.

    A module that is None in ``sys.modules`` cannot be imported: https://docs.python.org/3/reference/import.html#the-module-cache.
    """
    left_out = [name for name in LEFT_OUT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]  # None is what says so
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
    finally:
        for name in left_out:
            del sys.modules[name]
