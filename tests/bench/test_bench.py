"""Each benchmark runs from end to end, small and short. No figure is asserted: what a machine of the moment says proves nothing."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from bench import compare, host, machine, page
from bench.__main__ import NAMES, main
from bench.load.sockets import Frames, framed, read_events
from bench.report import Line, Report, percentile
from tests.forked import Forked

# What `python -c CODE …` and `python -m MODULE …` do.
RUN = """
import runpy, sys
way, what, *sys.argv[1:] = {command!r}
if way == "-m":
    runpy.run_module(what, run_name="__main__", alter_sys=True)
else:
    exec(what)
"""


def forked(command: list[str], environment: Mapping[str, str], written: BinaryIO) -> Forked:
    """As ``host.started``, without the start of a Python for each server, which takes longer than what the benchmarks do."""
    request = {"code": RUN.format(command=command), "environ": dict(environment), "folder": str(host.ROOT)}
    with open(os.devnull) as nothing:
        return Forked(request, (nothing.fileno(), written.fileno(), written.fileno()))


# They read the standard log, which is made once where they run one after the other in one process.
OF_THE_DATASET = ("read", "search", "verify", "projections")
SMOKE = [
    pytest.param(
        name,
        marks=[pytest.mark.postgres, pytest.mark.slow, *([pytest.mark.xdist_group("dataset")] if name in OF_THE_DATASET else [])],
    )
    for name in NAMES
]


@pytest.fixture(scope="module")
def dataset(open_folder: Path) -> Path:
    return open_folder / "dataset"


@pytest.mark.parametrize("name", SMOKE)
def test_it_measures_what_it_names_and_loses_nothing(
    name: str, tmp_path: Path, postgres_dsn: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("BENCH_DATASET", str(dataset))
    monkeypatch.setattr(machine, "CALIBRATION_ROUNDS", 20_000)  # a quarter of a second for each of them: the comparison below does them all
    monkeypatch.setattr(host, "started", forked)
    written = tmp_path / "figures.json"
    assert main([name, "--quick", "--json", str(written)]) == 0
    figures = json.loads(written.read_text())
    [report] = figures["reports"]
    assert report["bench"] == name
    assert figures["machine"]["fsync"] in ("on", "off")
    assert all(line["measured"] == line["measured"] for line in report["lines"]), "a figure is not a number"
    assert [line for line in report["lines"] if "lost" in line["what"] and line["measured"]] == []


@pytest.mark.postgres
@pytest.mark.slow
def test_two_revisions_are_compared_and_what_one_of_them_cannot_run_stops_nothing(
    tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_dsn)
    written = tmp_path / "compared.json"
    assert compare.main(["HEAD", "no-such-benchmark", "first-token", "--quick", "--rounds", "1", "--json", str(written)]) == 1
    lines = json.loads(written.read_text())["lines"]
    assert {line["bench"] for line in lines} == {"first-token"}
    assert all(len(line["base"]) == len(line["here"]) == 1 for line in lines)


def test_lines_are_compared_in_the_order_of_this_checkout_and_only_those_that_both_have() -> None:
    lines: dict[tuple[str, str], compare.Compared] = {}
    ours = {name: {"measured": number, "unit": "s"} for number, name in enumerate("zbya", 1)}
    theirs = {name: {"measured": 2, "unit": "s"} for name in "abcz"}
    for _ in range(2):
        compare.add(lines, "x", theirs, ours)
    assert [(line.what, line.ratios) for line in lines.values()] == [("z", [0.5, 0.5]), ("b", [1.0, 1.0]), ("a", [2.0, 2.0])]


def test_a_ratio_stands_beside_what_was_measured() -> None:
    line = Line(what="x", measured=70, unit="", raw=100, ratio_at_least=0.7)
    assert (line.ratio, line.passed, line.target) == (0.7, True, "≥ 0.7 × raw")


def test_a_miss_is_called_one() -> None:
    assert Line(what="x", measured=4, unit="ms", raw=2, at_most=5, ratio_at_most=1.3).passed is False


def test_a_figure_without_a_promise_is_neither() -> None:
    assert Line(what="x", measured=4, unit="ms").passed is None


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 3
    assert percentile([1], 0.99) == 1


def figures(bench: str, line: Line, *, quick: bool = False) -> dict[str, Any]:
    machine: dict[str, Any] = dict.fromkeys(("at", "cores", "cpu", "memory_gb", "system", "python", "postgres", "fsync"), "x")
    machine |= {"synchronous_commit": "on", "load_1m": 1.5, "fsync_ms": 4.0, "calibration_ms": 1204.0, "calibration_cpu_ms": 213.0}
    return {"machine": machine, "quick": quick, "reports": [Report(bench, [line], 3.0).as_json()]}


def test_the_page_gets_the_newest_figures_and_keeps_what_people_wrote() -> None:
    old = figures("storm", Line(what="old", measured=9, unit="s", at_most=4))
    new = figures("storm", Line(what="new", measured=6, unit="s", raw=2, at_most=4))
    made = page.written(f"by hand\n{page.BEGIN}\nbefore\n{page.END}\nalso by hand\n", [old, new])
    assert made.startswith("by hand\n")
    assert made.endswith("also by hand\n")
    assert "| new | ≤ 4 | 6 s | 2 s | 3.00 | **miss** ×1.5 |" in made
    assert "calibration 1,204 ms, 213 of them on a core" in made
    assert "old" not in made
    assert "before" not in made


def test_a_benchmark_measured_again_alone_leaves_the_others_as_they_are() -> None:
    both = page.written(
        f"{page.BEGIN}{page.END}",
        [figures("storm", Line(what="x", measured=1, unit="s")), figures("append", Line(what="y", measured=2, unit="s"))],
    )
    made = page.written(both, [figures("storm", Line(what="x", measured=3, unit="s"))])
    assert made == both.replace("| 1 s |", "| 3 s |")


def test_figures_that_mean_nothing_are_not_put_on_the_page() -> None:
    with pytest.raises(ValueError, match="--quick"):
        page.written(f"{page.BEGIN}{page.END}", [figures("storm", Line(what="x", measured=1, unit="s"), quick=True)])


def test_a_miss_says_by_how_much() -> None:
    assert page.by(Line(what="x", measured=50, unit="", raw=100, ratio_at_least=0.7).as_json()) == " ×1.4"
    assert page.by(Line(what="x", measured=10, unit="", at_least=15).as_json()) == " ×1.5"
    assert page.by(Line(what="x", measured=6, unit="", raw=2, at_most=5, ratio_at_most=1.2).as_json()) == " ×2.5"


def event(version: int, data: str, name: str = "message_delta") -> str:
    return f'{{"stream":"chat/x","version":{version},"position":9,"data":{{"type":"{name}","data":{data}}}}}'


def test_a_frame_is_read_by_its_marks() -> None:
    said = ",".join([event(4, '{"text":"~00000000000000ff000002"}'), event(5, '{"text":"~0000000000000100000003"}')])
    read = read_events(f'{{"op":"events","events":[{said}]}}'.encode())
    assert (read.first, read.last, read.whole, read.ended) == (4, 5, True, False)
    assert list(read.marks) == [(255, 2), (256, 3)]


def test_a_gap_in_a_frame_is_seen() -> None:
    read = read_events(f'{{"op":"events","events":[{event(4, "{}")},{event(6, "{}")}]}}'.encode())
    assert not read.whole


def test_the_end_repeats_the_text_and_is_not_counted_twice() -> None:
    said = event(4, '{"text":"~00000000000000ff000002"}') + "," + event(5, '{"content":"~00000000000000ff000002"}', "message_end")
    read = read_events(f'{{"op":"events","events":[{said}]}}'.encode())
    assert read.ended
    assert len(read.marks) == 1


def test_frames_that_are_the_same_are_read_once() -> None:
    payload = f'{{"op":"events","events":[{event(1, "{}")}]}}'.encode()
    frames = Frames()
    assert frames.read(payload) is frames.read(bytes(payload))


def test_a_frame_of_the_load_client_is_masked_and_names_its_length() -> None:
    assert framed(b"x" * 200)[:4] == bytes((0x81, 0x80 | 126, 0, 200))
    assert framed(b"hi") == bytes((0x81, 0x80 | 2, 0, 0, 0, 0)) + b"hi"
