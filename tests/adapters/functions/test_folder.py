"""Each file of the server's folder is a function; what is wrong with one is said, and the others go on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.functions.folder import FunctionFolder
from tests.functions import ADA, Workbench, workbench

pytestmark = pytest.mark.anyio

GOOD = '"""\ntitle: A good one\ndescription: It is good.\n"""\nclass Filter:\n    def inlet(self, body): return "good"\n'


def folder_of(bench: Workbench) -> FunctionFolder:
    folder = bench.functions.folder
    assert folder is not None
    return folder


async def read(bench: Workbench) -> None:
    """As after two looks between which nothing has changed."""
    await folder_of(bench).read(at_once=True)


async def test_a_file_is_a_function_that_is_on_and_for_every_model(tmp_path: Path) -> None:
    (tmp_path / "Good-One.py").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no function")
    (tmp_path / "__init__.py").write_text("")
    async with workbench(functions=tmp_path) as bench:
        (known,) = await bench.functions.library.list_known()
        assert (known.state.function_id, known.state.name, known.state.origin) == ("good_one", "A good one", "folder")
        assert known.author is None
        assert known.state.meta["description"] == "It is good."
        (shown,) = bench.functions.runtime.filters()
        assert shown.is_global
        assert await bench.call("good_one", "inlet") == "good"


async def test_a_changed_file_is_loaded_again_and_one_that_has_gone_is_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(GOOD)
    async with workbench(functions=tmp_path) as bench:
        file.write_text(GOOD.replace('return "good"', 'return "better"'))
        await read(bench)
        assert await bench.call("f", "inlet") == "better"
        file.unlink()
        await read(bench)
        assert bench.functions.runtime.get("f") is None
        assert await bench.functions.library.list_known() == []


async def test_the_folder_is_looked_at_by_itself(tmp_path: Path) -> None:
    async with workbench(functions=tmp_path) as bench:
        (tmp_path / "f.py").write_text(GOOD)
        async with asyncio.timeout(60):
            while bench.functions.runtime.get("f") is None:  # noqa: ASYNC110 - nothing there offers an event
                await asyncio.sleep(0.05)


async def test_a_file_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    async with workbench(functions=tmp_path) as bench:
        file = tmp_path / "f.py"
        file.write_text(GOOD)
        await folder_of(bench).read()  # seen for the first time
        file.write_text(GOOD + "# more\n")
        await folder_of(bench).read()  # it has changed since
        assert bench.functions.runtime.get("f") is None
        await folder_of(bench).read()
        assert bench.functions.runtime.get("f") is not None


BAD: dict[str, tuple[str, str, str | None, int | None]] = {
    "syntax": ("class Filter\n", "function_not_loaded", "syntax", 1),
    "missing": ("x = 1\n", "function_not_loaded", "no_class", None),
    "imports": ("import no_such_package\n", "function_not_loaded", "import", 1),
    "raises": ("1 / 0\n", "function_not_loaded", "exception", 1),
    "valves": ("class Filter:\n    Valves = 5\n", "function_not_loaded", "valves", None),
    "1st": (GOOD, "bad_request", None, None),
}


async def test_each_bad_file_is_named_with_what_is_wrong_and_the_good_ones_run(tmp_path: Path) -> None:
    for name, (source, *_) in BAD.items():
        (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n" + GOOD.encode())
    (tmp_path / "good.py").write_text(GOOD)
    async with workbench(functions=tmp_path) as bench:
        problems = {one.file: (one.code, one.reason, one.line) for one in folder_of(bench).problems}
        assert problems == {f"{name}.py": tuple(expected) for name, (_, *expected) in BAD.items()} | {
            "latin.py": ("content_refused", None, None)
        }
        assert [one.id for one in bench.functions.runtime.filters()] == ["good"]


async def test_of_two_files_with_one_id_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "a-b.py").write_text(GOOD)
    (tmp_path / "a_b.py").write_text(GOOD.replace('return "good"', 'return "other"'))
    async with workbench(functions=tmp_path) as bench:
        (problem,) = folder_of(bench).problems
        assert (problem.file, problem.code, problem.detail) == ("a_b.py", "function_exists", "a-b.py has the same id, a_b")
        assert await bench.call("a_b", "inlet") == "good"


async def test_a_file_with_the_id_of_one_that_was_put_in_over_http_is_refused(tmp_path: Path) -> None:
    async with workbench(functions=tmp_path) as bench:
        await bench.put("f", GOOD)
        (tmp_path / "f.py").write_text(GOOD.replace('return "good"', 'return "other"'))
        await read(bench)
        assert [one.code for one in folder_of(bench).problems] == ["function_exists"]
        assert await bench.call("f", "inlet") == "good"


async def test_a_file_that_becomes_bad_leaves_the_last_good_one_and_is_good_again(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(GOOD)
    async with workbench(functions=tmp_path) as bench:
        file.write_text("class Filter\n")
        await read(bench)
        assert await bench.call("f", "inlet") == "good"
        assert [one.line for one in folder_of(bench).problems] == [1]
        file.write_text(GOOD + "\n# better\n")
        await read(bench)
        assert folder_of(bench).problems == []


async def test_what_an_admin_has_switched_stays_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(GOOD)
    async with workbench(functions=tmp_path) as bench:
        await bench.functions.library.toggle(ADA, "f")
        file.write_text(GOOD + "\n# more\n")
        await read(bench)
        assert not (await bench.functions.library.known("f")).state.active


async def test_a_folder_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "f.py").write_text(GOOD)
    async with workbench(functions=folder) as bench:
        folder.rename(tmp_path / "elsewhere")
        await read(bench)
        assert await bench.call("f", "inlet") == "good"


async def test_a_start_on_an_unchanged_folder_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(GOOD)
    async with workbench(functions=tmp_path) as bench:
        before = await bench.system.log.head()
        again: Any = FunctionFolder(tmp_path, bench.functions.library)
        await again.read(at_once=True)
        assert await bench.system.log.head() == before
