"""The examples of the client's docstrings and README, run against a real server."""

import ast
import asyncio
import builtins
import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import stenograph_client
from api.settings import Settings
from commands import security_log
from stenograph_client import Client
from tests.api.conftest import Running, running
from tests.client.world import WAIT_S

pytestmark = pytest.mark.anyio
URL = "http://localhost:8080"  # as the examples name the server
README = Path(__file__).resolve().parents[2] / "client" / "README.md"
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def modules() -> Iterator[ModuleType]:
    yield stenograph_client
    for found in pkgutil.iter_modules(stenograph_client.__path__, "stenograph_client."):
        yield importlib.import_module(found.name)


def own_doc(value: Any) -> str:
    """Not that of a base class."""
    return inspect.cleandoc(vars(value).get("__doc__") or "" if inspect.isclass(value) else value.__doc__ or "")


def docstrings(module: ModuleType) -> Iterator[tuple[str, str]]:
    """``(name, docstring)`` of a module and of all classes and functions that it defines, methods included."""
    yield module.__name__, own_doc(module)
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        yield f"{module.__name__}.{name}", own_doc(value)
        for inner, member in vars(value).items() if inspect.isclass(value) else ():
            if isinstance(member, FunctionType):
                yield f"{module.__name__}.{name}.{inner}", own_doc(member)


def examples() -> Iterator[doctest.DocTest]:
    parser = doctest.DocTestParser()
    for module in modules():
        for name, text in docstrings(module):
            if parser.get_examples(text):
                yield parser.get_doctest(text, vars(module), name, module.__file__, None)


EXAMPLES = list(examples())


@pytest.fixture(autouse=True)
def _no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs in this process, and what it prints is no output of an example."""
    monkeypatch.setattr(security_log, "_write_line", lambda _: None)


async def run_example(source: str, names: dict[str, Any]) -> None:
    """One statement. What it prints, and the value of an expression, go to standard output, as in ``python -m asyncio``."""
    code = compile(source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    outcome = FunctionType(code, names)()
    if inspect.isawaitable(outcome):
        await outcome


async def run_examples(test: doctest.DocTest, names: Mapping[str, Any], url: str) -> list[str]:
    """The examples of one docstring, one after the other. Returns what differs from what the docstring says."""
    checker = doctest.OutputChecker()
    globs = {**test.globs, **names, "__builtins__": builtins}
    differences = []
    for example in test.examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            await run_example(example.source.replace(URL, url), globs)
        if not checker.check_output(example.want, printed.getvalue(), OPTIONS):
            differences.append(f"{example.source}{checker.output_difference(example, printed.getvalue(), OPTIONS)}")
    return differences


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One for all examples: each of them makes chats of its own."""
    async with running(Settings(data=tmp_path_factory.mktemp("data"), drain_s=0.2)) as made:
        async with Client(made.url) as client:
            await client.sign_up("Ada", "ada@example.org", "correct horse battery")
        yield made


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
async def test_an_example_does_what_it_says(test: doctest.DocTest, server: Running) -> None:
    async with Client(server.url, email="ada@example.org", password="correct horse battery") as client, asyncio.timeout(WAIT_S):
        assert await run_examples(test, {"client": client, "aclosing": aclosing}, server.url) == []


async def test_an_example_that_says_something_else_is_found() -> None:
    """So that no example passes only because it was not run."""
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert len(await run_examples(test, {}, URL)) == 1


def test_what_a_program_calls_first_has_an_example() -> None:
    names = {test.name for test in EXAMPLES}
    calls = ("follow", "events", "new_chat", "add_message", "answer", "stop")
    assert {"stenograph_client", *(f"stenograph_client.client.Client.{call}" for call in calls)} <= names


async def test_the_program_of_the_readme_runs(server: Running) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    source = program.replace(URL, server.url).replace('password="…"', 'password="correct horse battery"')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, errors.decode()) == (0, "")
    assert len(out.split()) > 5, "the answer's words"
