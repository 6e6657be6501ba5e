"""A function's source made into an object that can be called. It runs in a function's thread: a source may do anything while it loads."""

import ast
import functools
import importlib.util
import linecache
import re
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.functions.compat import install
from adapters.functions.frontmatter import frontmatter
from adapters.functions.loaded import Loaded
from adapters.functions.valves import declared, with_stored_valves
from commands.functions.functions import FunctionKind
from domain.errors import FunctionNotLoaded

CLASSES: Final[Mapping[str, FunctionKind]] = {"Pipe": "pipe", "Filter": "filter", "Action": "action"}
# Names under which older functions import what is below ``open_webui`` today.
OLD_PACKAGES: Final = frozenset({"utils", "apps", "main", "config"})
OLD_IMPORT: Final = re.compile(rf"^\s*from\s+(?:{'|'.join(sorted(OLD_PACKAGES))})\b", re.MULTILINE)
_parsing: Final = threading.Lock()  # CPython 3.11 counts the depth of trees for all threads together, and fails where two make one at once
DETAIL_CHARACTERS_MAX: Final = 500


def load(function_id: str, source: str, stored: Mapping[str, Any]) -> Loaded:
    """Run the source and make its ``Pipe``, ``Filter`` or ``Action``, with the valves that are ``stored``.

    Raises ``FunctionNotLoaded``. The module that was there before stays in its place then.
    """
    file = f"function {function_id}"
    refused = functools.partial(FunctionNotLoaded, function_id)
    if importlib.util.find_spec("pydantic") is None:
        raise refused("no_pydantic", "functions need pydantic, which is not installed: pip install 'stenograph[functions]'")
    install()
    try:
        code = compile(_with_todays_imports(source, file), file, "exec")
    except SyntaxError as error:
        raise refused("syntax", f"{type(error).__name__}: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, or nested too deeply
        raise refused("syntax", f"{type(error).__name__}: {error}") from None
    manifest = frontmatter(source)
    module_name = f"function_{function_id}"
    module = types.ModuleType(module_name)
    module.__file__ = file
    before = sys.modules.get(module_name)
    sys.modules[module_name] = module  # pydantic and dataclasses look there for the names in annotations
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # so that a traceback shows the lines
    try:
        exec(code, module.__dict__)  # noqa: S102 - an admin has put this code in, to be run
        kind, made_of = _class_of(module)
        instance = with_stored_valves(made_of, stored)
        return Loaded(function_id, kind, instance, manifest, declared(instance))
    except BaseException as error:
        if before is not None:
            sys.modules[module_name] = before
        else:
            del sys.modules[module_name]
        if isinstance(error, Exception | SystemExit):
            raise _translated(refused, error, file, manifest) from error
        raise


def _class_of(module: types.ModuleType) -> tuple[FunctionKind, type]:
    for name, kind in CLASSES.items():
        found = getattr(module, name, None)
        if isinstance(found, type):
            return kind, found
    raise _NoClass


class _NoClass(Exception):
    pass


def _translated(
    refused: Callable[..., FunctionNotLoaded], error: Exception | SystemExit, file: str, manifest: Mapping[str, str]
) -> FunctionNotLoaded:
    line = line_in(error, file)
    said = f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS_MAX]
    match error:
        case _NoClass():
            return refused("no_class", "expected a class named Pipe, Filter or Action, found none")
        case TypeError() if getattr(error, "is_about_valves", False):
            return refused("valves", str(error), line)
        case ImportError():
            needs = manifest.get("requirements")
            more = f"; this server does not install what a function requires, which is {needs}" if needs else ""
            return refused("import", f"{said}{more}", line)
        case SyntaxError():  # of something that it imports
            return refused("import", said, line)
        case _:
            return refused("exception", said, line)


def line_in(error: BaseException, file: str) -> int | None:
    """The line of the source that raised, or that called what did."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _with_todays_imports(source: str, file: str) -> str | ast.Module:
    """``from utils.misc import …`` is ``from open_webui.utils.misc import …`` today. The source itself stays as it is."""
    if OLD_IMPORT.search(source) is None:
        return source
    with _parsing:
        tree = ast.parse(source, file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            top = node.module.partition(".")[0]
            if top in OLD_PACKAGES:
                node.module = f"open_webui.{node.module}"
    return tree
