"""Debian's Prometheus with the files of the how-to guide: it takes them, scrapes a server, and answers what the dashboard asks."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.settings import Settings
from tests.api.conftest import Running, running
from tests.api.process.scrape import scrape
from tests.crash.processes import free_port
from tests.docs.shell import commands_of, environment, run
from tests.package.debian import program

pytestmark = pytest.mark.anyio
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
FILES = ("prometheus.yml", "prometheus-rules.yml", "prometheus-rules-test.yml")
STARTS_WITHIN_S = 60


@pytest.fixture
async def server(tmp_path: Path, database: str) -> AsyncIterator[Running]:
    async with running(Settings(data=tmp_path), database) as server:
        user = await server.sign_up()
        await user.ask(await user.new_chat(), "demo:3")
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an operator has put the guide's files."""
    made = tmp_path / "prometheus"
    made.mkdir()
    for name in FILES:
        shutil.copy(HOW_TO / name, made)
    return made


async def test_the_commands_of_the_guide(server: Running, folder: Path) -> None:
    program("promtool", "prometheus")
    environ = environment(folder, urlsplit(server.url).port or 0, folder / "data")
    output = await asyncio.to_thread(run, commands_of(HOW_TO / "monitoring.md"), folder, environ, {})
    assert "stenograph_log_head" in output
    assert '"ready":true' in output
    assert "rules found" in output
    assert output.count("SUCCESS") >= 3


async def test_a_rule_that_does_not_fire_as_its_test_says_is_found(folder: Path) -> None:
    rules = folder / "prometheus-rules.yml"
    text = rules.read_text(encoding="utf-8")
    assert text.count("== 0\n        for: 1m") == 2
    rules.write_text(text.replace("== 0\n        for: 1m", "== 7\n        for: 1m"), encoding="utf-8")
    code, output = await promtool(folder, "test", "rules", "prometheus-rules-test.yml")
    assert code != 0
    assert "StenographDown" in output
    assert "StenographNotWritable" in output


async def test_the_names_of_metrics_follow_prometheus_conventions(server: Running, folder: Path) -> None:
    code, output = await promtool(folder, "check", "metrics", given=(await scrape(server)).text)
    assert (code, output) == (0, "")


async def promtool(folder: Path, *arguments: str, given: str = "") -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        program("promtool", "prometheus"),
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(given.encode())
    return process.returncode, output.decode()


async def test_prometheus_scrapes_a_server_and_answers_the_dashboard(server: Running, folder: Path) -> None:
    config = folder / "prometheus.yml"
    text = config.read_text(encoding="utf-8")
    assert text.count("127.0.0.1:8080") == 1
    assert text.count("15s") == 2
    config.write_text(text.replace("127.0.0.1:8080", urlsplit(server.url).netloc).replace("15s", "200ms"), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}", "--log.level=warn")
    process = await asyncio.create_subprocess_exec(program("prometheus", "prometheus"), *options, cwd=folder)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}/api/v1", timeout=10) as http:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while not await has_scraped(http):
                    assert process.returncode is None, "it has ended"
                    await asyncio.sleep(0.05)
            for title, expression in asked_by_the_dashboard():
                assert await answer(http, expression) is not None, title
            async with asyncio.timeout(STARTS_WITHIN_S):  # an answer that was asked for goes on meanwhile
                while await answer(http, "max(stenograph_log_head)") != [await head(server)]:  # noqa: ASYNC110  # it offers no event
                    await asyncio.sleep(0.05)
            (group,) = (await http.get("/rules")).json()["data"]["groups"]
            assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
            assert [rule["name"] for rule in group["rules"] if rule["state"] == "firing"] == []
    finally:
        process.terminate()
        await process.wait()


async def head(server: Running) -> str:
    return f"{(await scrape(server)).value('stenograph_log_head'):g}"


async def has_scraped(http: httpx.AsyncClient) -> bool:
    try:
        return await answer(http, 'up{job="stenograph"} == 1') == ["1"]
    except httpx.TransportError:
        return False


async def answer(http: httpx.AsyncClient, expression: str) -> list[str] | None:
    """The values of an instant query; None where Prometheus refuses it, or is not ready yet."""
    response = await http.get("/query", params={"query": expression})
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return None
    said: dict[str, Any] = response.json()
    return [one["value"][1] for one in said["data"]["result"]] if said["status"] == "success" else None


def asked_by_the_dashboard() -> list[tuple[str, str]]:
    """Each query with its panel's title, as Grafana sends it."""
    panels = json.loads((HOW_TO / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 30
    return [(title, query.replace("$job", "stenograph").replace("$__rate_interval", "1m")) for title, query in queries]
