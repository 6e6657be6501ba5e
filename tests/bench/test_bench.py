"""Each benchmark runs from end to end, small and short. No figure is asserted: what a machine of the moment says proves nothing."""

import json
from pathlib import Path

import pytest

from bench.__main__ import NAMES, main
from bench.report import Line, percentile
from bench.sockets import Frames, framed, read_events

SMOKE = [pytest.param(name, marks=[pytest.mark.postgres, pytest.mark.slow]) for name in NAMES]


@pytest.mark.parametrize("name", SMOKE)
def test_it_measures_what_it_names_and_loses_nothing(name: str, tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_dsn)
    written = tmp_path / "figures.json"
    assert main([name, "--quick", "--json", str(written)]) == 0
    figures = json.loads(written.read_text())
    [report] = figures["reports"]
    assert report["bench"] == name
    assert figures["machine"]["fsync"] in ("on", "off")
    assert all(line["measured"] == line["measured"] for line in report["lines"]), "a figure is not a number"
    assert [line for line in report["lines"] if "lost" in line["what"] and line["measured"]] == []


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
