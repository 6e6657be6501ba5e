"""``steno stats`` and ``steno analytics``, as people run them."""

import asyncio
import signal
from pathlib import Path

import psycopg
import pytest

from api.cli.operating.plots import bars, columns, number
from api.settings import Settings
from tests.api.cli.shell import Shell
from tests.api.conftest import WAIT_S, Running, User, running

pytestmark = pytest.mark.anyio


async def answered(user: User, model: str) -> None:
    chat_id = await user.new_chat()
    started = await user.ask(chat_id, model)
    path = f"/api/tasks/chat/{chat_id}"
    async with asyncio.timeout(WAIT_S):
        while started["task_ids"][0] in (await user.get(path)).json()["task_ids"]:  # noqa: ASYNC110  # over HTTP there is no event
            await asyncio.sleep(0.01)


async def test_it_shows_sums_plots_and_a_table_of_models(server: Running, tmp_path: Path) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    shell = Shell(tmp_path, server.url)
    shell.environ["COLUMNS"] = "120"
    nothing = await shell.run("stats", "today", "--token", admin.token)
    assert (nothing.code, "0 answers" in nothing.out) == (0, True), nothing.err
    for user, model in ((admin, "demo:5"), (admin, "demo:5"), (bob, "demo:3")):
        await answered(user, model)
    shown = await shell.run("stats", "week", "--token", admin.token, "--time-zone", "Asia/Tokyo")
    assert shown.code == 0, shown.err
    assert "week, Asia/Tokyo: 3 answers, 2 people, 0 failed" in shown.out
    assert {"demo:5", "demo:3", "first token ms p50", "█"} <= {
        part for part in ("demo:5", "demo:3", "first token ms p50", "█") if part in shown.out
    }
    of_bob = await shell.run("stats", "--token", admin.token, "--person", bob.email)
    assert "1 answers, 1 people" in of_bob.out
    refused = await shell.run("stats", "--token", bob.token)
    assert (refused.code, "for analysts and admins" in refused.err) == (1, True)
    wrong = await shell.run("stats", "--token", admin.token, "--time-zone", "Mars/Olympus")
    assert (wrong.code, "no time zone" in wrong.err) == (1, True)


async def test_a_watched_one_goes_on_until_it_is_stopped(server: Running, tmp_path: Path) -> None:
    admin = await server.sign_up()
    shell = Shell(tmp_path, server.url)
    process = shell.start("stats", "--watch", "--token", admin.token, "--url", server.url)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        await process.stdout.readuntil(b"answers")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


@pytest.mark.postgres
async def test_an_operator_makes_a_login_sets_prices_and_pseudonyms(database: str, settings: Settings, tmp_path: Path) -> None:
    async with running(settings, database) as server:
        await server.sign_up()
        shell = Shell(tmp_path, server.url)
        shell.environ["DATABASE_URL"] = database
        made = await shell.run("analytics", "login", "ana_of_a_test", "--timeout", "7", at="")
        assert made.code == 0, made.err
        try:
            with psycopg.connect(made.out.strip(), autocommit=True) as analyst:
                assert analyst.execute("SHOW statement_timeout").fetchone() == ("7s",)
                assert analyst.execute("SELECT count(*) FROM freshness").fetchone() == (1,)
        finally:
            gone = await shell.run("analytics", "login", "ana_of_a_test", "--remove", at="")
        assert gone.code == 0, gone.err
        refused = await shell.run("analytics", "login", "Robert'); DROP TABLE events", at="")
        assert (refused.code, "is no name for a login" in refused.err) == (1, True)
        assert "pseudonyms" in (await shell.run("analytics", "pseudonyms", at="")).out
        assert "the ids themselves" in (await shell.run("analytics", "pseudonyms", "off", at="")).out
        assert (await shell.run("analytics", "price", "demo", "1.5", "6", "--since", "2026-01-01", at="")).code == 0
        assert (await shell.run("analytics", "prices", at="")).out == "demo\t2026-01-01\t1.5\t6\n"
        files = tmp_path / "files"
        made = await shell.run("analytics", "export", "--format", "parquet", "--partition", "day", str(files), at="")
        assert (made.code, "holds everything up to position" in made.err) == (0, True), made.err
        assert files_of_events(files) == 1
        (files / "_stenograph" / "manifest.json").write_bytes(b"{}")
        refused = await shell.run("analytics", "export", str(files), at="")
        assert (refused.code, "cannot be read" in refused.err) == (1, True)
        for bad in (("-1", "2"), ("nan", "2"), ("1e9", "2"), ("1",)):
            assert (await shell.run("analytics", "price", "demo", *bad, at="")).code == 2
        assert (await shell.run("analytics", "price", "demo", "--since", "2026-01-01", "--remove", at="")).code == 0
        assert (await shell.run("analytics", "price", "demo", "--since", "2026-01-01", "--remove", at="")).code == 1


def test_a_plot_shows_every_value_above_zero() -> None:
    lines = columns("answers", ["00:00", "02:00"], [0, 1, 1000]).plain.split("\n")
    assert lines[0] == "answers (at most 1,000)"
    assert [line[6:8] for line in lines[1:7]] == ["██"] * 6
    assert lines[6].startswith("   ▁▁")
    assert lines[7].startswith("00:00")
    assert columns("none", [], []).plain.startswith("none")
    assert bars([("a", 2), ("bb", 1), ("c", 0)]).plain.split("\n") == [f"a   {'█' * 40} 2", f"bb  {'█' * 20} 1", "c    0"]
    assert bars([]).plain == ""


def test_numbers_are_short_and_unknown_is_not_zero() -> None:
    values = (None, 0, 7, 0.1234, 12_345, 123_456, 2_500_000, 3e9)
    assert [number(value) for value in values] == ["-", "0", "7", "0.12", "12,345", "123k", "2.5M", "3G"]


def files_of_events(folder: Path) -> int:
    return len(list(folder.glob("events/day=*/*.parquet")))
