"""The table of metrics, the dashboard and the alerts name what a server shows, and nothing else."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from adapters.shared_memory import SharedMemory
from api.process.metrics import AllProcessesCollector, MetricsPublisher, publish_parent_metrics
from api.process.supervisor import Worker
from api.settings import Settings
from tests.api.conftest import running
from tests.api.process.scrape import scrape
from tests.docs.pages import ROOT, rows

HOW_TO = ROOT / "docs" / "how-to"
NAME = re.compile(r"\b(?:stenograph|process|python)_[a-z0-9_]+\b")
PARTS = re.compile(r"_(?:bucket|sum|count)$")  # of a histogram


def of_all_workers() -> dict[str, str]:
    """The metrics, by their types, that a server of several processes has besides those of each process."""
    memory = SharedMemory(2)
    publisher = MetricsPublisher(memory, 1, CollectorRegistry())
    publish_parent_metrics(memory, [Worker(1)])
    return types_of(AllProcessesCollector(memory, publisher).collect())


def types_of(families: object) -> dict[str, str]:
    return {f"{one.name}_total" if one.type == "counter" else one.name: one.type for one in families}  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_the_table_of_metrics_is_what_a_server_shows(tmp_path: Path, database: str) -> None:
    async with running(Settings(data=tmp_path), database) as server:
        seen = await scrape(server)
    families = list(text_string_to_metric_families(seen.text))
    shown = {name: kind for name, kind in types_of(families).items() if name.startswith("stenograph_")} | of_all_workers()
    table = rows(ROOT / "docs" / "reference" / "metrics.md", "metric")
    written = {row[0].strip("`"): row[1] for row in table}
    assert written == shown
    assert [name for name, count in Counter(row[0] for row in table).items() if count > 1] == []
    labels = {row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[2])) for row in table}
    for family in families:
        for sample in family.samples:
            name = sample.name if sample.name in labels else PARTS.sub("", sample.name)
            if name in labels:
                assert sample.labels.keys() - {"le"} == labels[name], name


@pytest.mark.anyio
async def test_the_dashboard_and_the_alerts_name_metrics_that_there_are(tmp_path: Path, database: str) -> None:
    async with running(Settings(data=tmp_path), database) as server:
        seen = await scrape(server)
    shown = {name for name, _ in seen.samples} | {
        one for line in seen.text.splitlines() if line.startswith("# TYPE ") for one in [line.split()[2]]
    }
    shown |= of_all_workers().keys()
    named = {name for file in ("grafana-dashboard.json", "prometheus-rules.yml", "monitoring.md") for name in names_in(HOW_TO / file)}
    assert len(named) > 30
    assert named - shown == set()


def names_in(file: Path) -> set[str]:
    return set(NAME.findall(file.read_text(encoding="utf-8")))


def test_each_panel_of_the_dashboard_has_a_place_of_its_own_and_says_its_unit() -> None:
    panels = json.loads((HOW_TO / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = Counter(
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert set(places.values()) == {1}
    assert max(x for x, _ in places) == 23
    assert [panel["title"] for panel in panels if panel["type"] != "row" and not panel["fieldConfig"]["defaults"]["unit"]] == []


def test_each_alert_stands_in_the_guide_and_has_a_test_that_fires_it() -> None:
    alerts = re.findall(r"^ +- alert: (\w+)$", (HOW_TO / "prometheus-rules.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(alerts) == len(set(alerts)) > 10
    guide = (HOW_TO / "monitoring.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"`(Stenograph\w+)`", guide))) == sorted(alerts)
    tests = (HOW_TO / "prometheus-rules-test.yml").read_text(encoding="utf-8")
    fired = {name for name, expected in re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?", tests) if not expected}
    assert fired == set(alerts)
