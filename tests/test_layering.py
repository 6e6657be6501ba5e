"""Imports point inwards only. The rules are read off the import statements, whether or not a line of them ever runs."""

import ast
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "commands": {"domain", "projections"},
    "projections": {"domain"},
    "sql": set(),
    "stenograph_client": set(),  # it is published without the server
    "adapters": {"domain", "commands", "projections", "sql"},
    "api": {"domain", "commands", "projections", "sql", "adapters", "stenograph_client"},
}
PACKAGES = {*MAY_IMPORT, "bench", "tests"}
# structlog in commands: a run works in the background, and the outermost loop of a worker logs what nobody waits for.
LIBRARIES_OF_THE_CORE = {"domain": {"msgspec"}, "commands": {"msgspec", "structlog"}, "projections": {"msgspec"}, "sql": set()}
DRIVERS = {
    "asyncpg": {"adapters"},
    "psycopg": {"adapters"},
    "aiosql": {"adapters"},
    "httpx": {"adapters", "stenograph_client"},
    "opentelemetry": {"adapters"},
}
# The only modules outside adapters that construct what they define. database.py has the embedded Postgres, whose life encloses the app's.
WIRING = {
    Path("api/systems.py"),
    Path("api/assembly.py"),
    Path("api/app.py"),
    Path("api/process/serve.py"),
    Path("api/process/database.py"),
}
# What adapters define and is no adapter: pure state made for one connection, and values.
VALUES = {"Subscription", "Batch", "Known"}

FOLDERS = {package: Path(package) for package in PACKAGES} | {"stenograph_client": Path("client/stenograph_client")}
MODULES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / FOLDERS[package]).rglob("*.py"))


@functools.cache
def nodes_of(module: Path) -> Sequence[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))))


@functools.cache
def imports_of(module: Path) -> Sequence[tuple[str, str]]:
    """Each import as ``(module, name)``: ``import a.b`` gives ("a.b", ""), ``from a.b import c`` gives ("a.b", "c")."""
    return list(imports_among(module, nodes_of(module)))


def imports_among(module: Path, nodes: Sequence[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from ((name.name, "") for name in names)
            case ast.ImportFrom(level=0, module=str(source), names=names):
                yield from ((source, name.name) for name in names)
            case ast.ImportFrom(level=level, module=source, names=names):
                package = module.parent.parts[: len(module.parent.parts) - (level - 1)]
                absolute = ".".join([*package, *([source] if source else [])])
                yield from ((absolute, name.name) for name in names)


def package_of(module: Path) -> str:
    return next(package for package, folder in FOLDERS.items() if module.is_relative_to(folder))


def tops_of(module: Path) -> set[str]:
    return {source.partition(".")[0] for source, _ in imports_of(module)}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_inwards(module: Path) -> None:
    package = package_of(module)
    assert tops_of(module) & PACKAGES - {package} <= MAY_IMPORT[package]


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) in LIBRARIES_OF_THE_CORE], ids=str)
def test_the_core_needs_little_besides_the_standard_library(module: Path) -> None:
    assert tops_of(module) - PACKAGES - sys.stdlib_module_names <= LIBRARIES_OF_THE_CORE[package_of(module)]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_adapters_import_a_driver(module: Path) -> None:
    assert {driver for driver in tops_of(module) & DRIVERS.keys() if package_of(module) not in DRIVERS[driver]} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) == "api" and module not in WIRING], ids=str)
def test_only_the_wiring_constructs_adapters(module: Path) -> None:
    imported = {name for source, name in imports_of(module) if source.partition(".")[0] == "adapters"}
    called = {node.func.id for node in nodes_of(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    # A class by its capital: a function of an adapter may be called, and its error is raised or caught, not wired.
    constructed = {name for name in imported & called if name[0].isupper() and not name.endswith("Error")} - VALUES
    assert constructed == set()


def test_no_two_packages_import_each_other() -> None:
    needs = {package: set[str]() for package in MAY_IMPORT}
    for module in MODULES:
        needs[package_of(module)] |= tops_of(module) & MAY_IMPORT.keys() - {package_of(module)}

    def reached_from(package: str, seen: frozenset[str] = frozenset()) -> set[str]:
        return set().union(*({needed} | reached_from(needed, seen | {needed}) for needed in needs[package] - seen))

    assert {package for package in needs if package in reached_from(package)} == set()


def test_no_two_modules_import_each_other() -> None:
    """Also not by way of others, nor for the type checker alone: what two modules share has a module of its own."""
    ours = [module for module in MODULES if package_of(module) != "stenograph_client"]
    by_name = {".".join(module.with_suffix("").parts): module for module in ours}
    needs: dict[str, set[str]] = {}
    for name, module in by_name.items():
        named = {f"{source}.{imported}" for source, imported in imports_of(module)} | {source for source, _ in imports_of(module)}
        needs[name] = named & by_name.keys() - {name}
    while ends := {name for name, needed in needs.items() if not needed}:  # circles, and what imports them, remain
        needs = {name: needed - ends for name, needed in needs.items() if name not in ends}
    assert needs == {}


@pytest.mark.parametrize("package", ["api", "commands", "adapters", "adapters/postgres"])
def test_no_two_rooms_import_each_other(package: str) -> None:
    """A room is a folder below a package: what two of them share lies in a third, or beside them."""
    top, needs = tuple(package.split("/")), dict[str, set[str]]()
    for module in MODULES:
        if module.parts[: len(top)] == top and len(module.parts) > len(top) + 1:
            room, sources = module.parts[len(top)], [tuple(source.split(".")) for source, _ in imports_of(module)]
            others = {source[len(top)] for source in sources if source[: len(top)] == top and len(source) > len(top) + 1}
            needs.setdefault(room, set()).update(others - {room})
    while ends := {room for room, needed in needs.items() if not needed & needs.keys()}:
        needs = {room: needed for room, needed in needs.items() if room not in ends}
    assert needs == {}


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) != "adapters"], ids=str)
def test_no_decision_hangs_on_the_name_or_the_text_of_an_exception(module: Path) -> None:
    """An error is told apart by its class, which an adapter raises: its name and its words are the driver's to change."""
    tests = [node.test for node in nodes_of(module) if isinstance(node, ast.If | ast.IfExp | ast.While)]
    asked = [ast.unparse(part) for test in tests for part in ast.walk(test) if isinstance(part, ast.Compare | ast.Call)]
    names = (".__name__", ".__module__", "str(error)", "str(exc)", "error.args")
    assert [part for part in asked if any(name in part for name in names)] == []


def test_there_is_no_utils() -> None:
    assert [module for module in MODULES if module.stem in {"utils", "util", "helpers", "common", "misc"}] == []


def test_every_folder_says_what_it_is_for() -> None:
    silent = [package for package in PACKAGES if not ast.get_docstring(ast.parse((ROOT / FOLDERS[package] / "__init__.py").read_text()))]
    assert silent == []
