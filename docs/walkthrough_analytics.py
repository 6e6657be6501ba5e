"""Makes ``docs/walkthrough-analytics.md`` and its pictures: what an analyst finds out, and in which ways it can be asked.

    .venv/bin/python -m pip install 'stenograph[analytics]' duckdb chitchat-dataset
    .venv/bin/python docs/walkthrough_analytics.py --model-url http://127.0.0.1:9411/v1 --model NAME

Real conversations are imported, some hundred answers of the built-in model are streamed, rated and compared, and five questions are asked:
in SQL, over HTTP, in the terminal, by DuckDB over Parquet files, and of the arena. ``--model-url`` is any OpenAI-compatible server whose
model answers a few of them, too. Everything is started here, on a free port and in a temporary folder. The page shows what was said.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final

import duckdb
import httpx
import psycopg

from adapters.embedded.server import EmbeddedPostgres
from bench.load.dataset import installed
from stenograph_client.client import Client

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
PEOPLE: Final = ("Ada", "Ben", "Cem", "Dora", "Eli")
PASSWORD: Final = "correct horse battery"
MODELS: Final = ("demo:5", "demo:20", "demo:40")
ANSWERS: Final = 300
OF_THE_MODEL: Final = 3
AT_ONCE: Final = 8
IMPORTED: Final = 300
READY_S: Final = 60
ANSWER_S: Final = 300
SEED: Final = 7
ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIDTH: Final = 720
BAR: Final = 22
INK, BARS, GRID = "#24292f", ("#3b6ea5", "#e08a3c"), "#d0d7de"


class Page:
    """What is told, and the folder of its pictures."""

    def __init__(self, environment: dict[str, str], folder: Path, pictures: Path) -> None:
        self._pictures = pictures
        self.lines: list[str] = []
        self._environment = environment
        self.folder = folder

    def say(self, text: str) -> None:
        self.lines += [text, ""]
        sys.stdout.write(text + "\n\n")

    def shown(self, kind: str, asked: str, answer: str) -> None:
        self.say(f"```{kind}\n{asked.strip()}\n```\n\n```text\n{answer.strip()}\n```")

    def picture(self, name: str, drawn: str, what: str) -> None:
        self._pictures.mkdir(exist_ok=True)
        (self._pictures / f"{name}.svg").write_text(drawn)
        self.say(f"![{what}](pictures/{name}.svg)")

    def steno(self, *words: str, more: Sequence[str] = ()) -> str:
        """Run it; ``more`` is said and not shown. Returns what it said."""
        ran = subprocess.run(
            [sys.executable, "-m", "api.cli", *words, *more],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return ESCAPES.sub("", ran.stdout + ran.stderr)


# -------------------------------------------------------------------------------------------------------------- pictures


def bars(title: str, unit: str, rows: Sequence[tuple[str, Sequence[float]]], legend: Sequence[str] = ()) -> str:
    """A bar for each value of each row, beside its name."""
    top = max((value for _, values in rows for value in values), default=1) or 1
    left, right = 150, 70
    lines, y = [], 58
    for name, values in rows:
        lines.append(words(left - 8, y + BAR * len(values) / 2 + 4, name, "end"))
        for number, value in enumerate(values):
            wide = (WIDTH - left - right) * value / top
            lines.append(f'<rect x="{left}" y="{y:g}" width="{max(wide, 1):.1f}" height="{BAR - 6}" fill="{BARS[number]}"/>')
            lines.append(words(left + wide + 6, y + BAR - 10, f"{value:,.0f}" if value >= 10 else f"{value:.2g}"))
            y += BAR
        y += 8
    return picture(title, unit, lines, legend, y + 6)


def columns(title: str, unit: str, rows: Sequence[tuple[str, float]]) -> str:
    """A column for each value in order of time; the first and last have their names below."""
    top = max((value for _, value in rows), default=1) or 1
    left, bottom, high = 60, 230, 160
    wide = (WIDTH - left - 20) / max(len(rows), 1)
    lines = [
        f'<line x1="{left}" y1="{bottom}" x2="{WIDTH - 20}" y2="{bottom}" stroke="{GRID}"/>',
        words(left - 8, 76, f"{top:,.0f}", "end"),
    ]
    for number, (_, value) in enumerate(rows):
        x, tall = left + number * wide, high * value / top
        lines.append(f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{max(wide - 1, 1):.1f}" height="{tall:.1f}" fill="{BARS[0]}"/>')
    if rows:
        lines += [words(left, bottom + 18, rows[0][0]), words(WIDTH - 20, bottom + 18, rows[-1][0], "end")]
    return picture(title, unit, lines, (), bottom + 34)


def words(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def picture(title: str, unit: str, lines: Sequence[str], legend: Sequence[str], height: float) -> str:
    keys, x = [], WIDTH - 20
    for number, name in reversed(list(enumerate(legend))):
        x -= 8 * len(name)
        keys.append(words(x, 40, name))
        x -= 18
        keys.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{BARS[number]}"/>')
        x -= 12
    head = f'<text x="16" y="24" font-size="15" font-weight="600">{escape(title)}</text>' + words(16, 42, unit)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12" fill="{INK}">'
    )
    return "\n".join([opening, '<rect width="100%" height="100%" fill="#ffffff"/>', head, *keys, *lines, "</svg>"]) + "\n"


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [list(names), *([cell(value) for value in row] for row in rows)]
    wide = [max(len(row[number]) for row in cells) for number in range(len(names))]
    return "\n".join("  ".join(value.ljust(size) for value, size in zip(row, wide, strict=True)).rstrip() for row in cells)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else str(value)


# ------------------------------------------------------------------------------------------------------------ the answers


async def answered(url: str, admin: Client, page: Page, answers: int, model: str | None) -> None:
    """Some hundred answers by several people, a second model beside every fourth, and ratings of these."""
    choose = random.Random(SEED)
    gate = asyncio.Semaphore(AT_ONCE)
    for name in PEOPLE[1:]:
        await admin.add_user(name, f"{name.lower()}@example.org", PASSWORD)
    clients = [Client(url, retry_s=60) for _ in PEOPLE[1:]]
    for name, client in zip(PEOPLE[1:], clients, strict=True):
        await client.sign_in(f"{name.lower()}@example.org", PASSWORD)
    everybody = [admin, *clients]
    asked = [choose.choice(MODELS) for _ in range(answers)] + ([model] * OF_THE_MODEL if model else [])
    plans = [
        (choose.choice(everybody), one, choose.choice(MODELS), choose.choice((1, 1, -1)), number % 4 == 0)
        for number, one in enumerate(asked)
    ]

    async def one(client: Client, first: str, second: str, rating: int, is_duel: bool) -> None:
        async with gate:
            chat = await client.new_chat("A question")
            begun = await client.complete(first, chat_id=chat["id"], user_message={"content": "Say something."}, params={"max_tokens": 48})
            await ended(client, begun)
            if is_duel and second != first:
                beside = await client.complete(second, chat_id=chat["id"], parent_id=begun_question(await client.chat(chat["id"])))
                await ended(client, beside)
                await client.http.post(f"/api/v1/chats/{chat['id']}/messages/{beside.message_id}/rating", {"rating": rating})

    await asyncio.gather(*(one(*plan) for plan in plans))
    for client in clients:
        await client.aclose()
    page.say(
        f"{len(asked):,} answers by {', '.join(dict.fromkeys(asked))} for {len(PEOPLE)} people; to every fourth question a second model "
        "answers too, and its answer is rated."
    )


def begun_question(chat: Mapping[str, Any]) -> str:
    """The first question of a chat."""
    messages = chat["chat"]["history"]["messages"].values()
    return str(next(one["id"] for one in messages if one["role"] == "user"))


async def ended(client: Client, begun: Any) -> None:
    async with asyncio.timeout(ANSWER_S):
        async for _ in client.answer(begun):
            pass


# ---------------------------------------------------------------------------------------------------------- five questions


async def five_questions(page: Page, admin: Client, place: Sequence[str]) -> None:
    head = await counted(admin)
    page.say("## 1. How fast does each model begin and go on? In SQL")
    page.say("A login that reads the schema `analytics` and nothing else:")
    login = page.steno("analytics", "login", "ana").splitlines()[0]
    page.say("```sh\nsteno analytics login ana > analyst.txt\n```")
    query = """
SELECT model_id, sum(answers) AS answers, max(first_token_p50_ms) AS first_token_p50_ms, max(first_token_p95_ms) AS first_token_p95_ms,
       max(gap_p50_ms) AS gap_p50_ms
  FROM latency WHERE granularity = 'month' GROUP BY model_id ORDER BY model_id;"""
    with psycopg.connect(login, autocommit=True) as analyst:
        cursor = analyst.execute(query)
        rows = cursor.fetchall()
        page.shown("sql", query, table([one.name for one in cursor.description or ()], rows))
    shown = [(str(row[0]), (float(row[2] or 0), float(row[3] or 0))) for row in rows]
    page.picture("first-token", bars("To the first token", "milliseconds", shown, ("p50", "p95")), "Time to the first token, by model")

    page.say("## 2. When were the imported messages written, by the clocks of New York? Over HTTP")
    path = "/api/v1/analytics/query?metrics=messages,people&granularity=week&time_zone=America/New_York&filter=origin=imported"
    answer: Any = await admin.http.request("GET", f"{path}&at_least={head}")
    page.shown("http", f"GET {path}", table(answer["columns"], [(row[0][:10], *row[1:]) for row in answer["rows"]][:6]) + "\n…")
    weeks = [(row[0][:10], float(row[1])) for row in answer["rows"]]
    page.picture("imported", columns("Imported messages by week", "messages", weeks), "Imported messages by week")

    page.say("## 3. What is going on today? In the terminal")
    said = page.steno("stats", "today", "--time-zone", "UTC", more=place)
    page.shown("sh", "steno stats today --time-zone UTC", said)

    page.say("## 4. How are the tokens of an answer spread over its events? DuckDB over Parquet")
    page.shown("sh", "steno analytics export figures", page.steno("analytics", "export", "figures"))
    over = """
SELECT g.model_id, count(DISTINCT g.message_id) AS answers, count(*) / count(DISTINCT g.message_id) AS events_each,
       avg(e.data_bytes) AS bytes_each, sum(e.data_bytes) / 1000 AS kilobytes
  FROM read_parquet('figures/events/*/*.parquet', hive_partitioning = true) AS e
  JOIN read_parquet('figures/generations/*/*.parquet', hive_partitioning = true) AS g USING (message_id)
 GROUP BY ALL ORDER BY ALL"""
    found = await asyncio.to_thread(asked_of_files, over, page.folder)
    page.shown("sql", over, table(*found))
    spread = [(str(row[0]), (float(row[2]),)) for row in found[1]]
    page.picture("events-each", bars("Events of an answer", "events", spread), "Events of an answer, by model")

    page.say("## 5. Which model is better? By its duels")
    ranks: Any = await admin.http.request("GET", "/api/v1/analytics/arena")
    names = ("model_id", "rating", "low", "high", "won", "lost")
    page.shown("http", "GET /api/v1/analytics/arena", table(names, [[one[name] for name in names] for one in ranks["models"]]))
    better = [(one["model_id"], (float(one["rating"]),)) for one in ranks["models"]]
    page.picture("arena", bars("Ratings by duels", "on Elo's scale, mean 1,000", better), "Ratings by duels")
    page.say(
        "The ratings were thrown as dice here: two of three are good, whatever was said. So the intervals cross, and no model is better."
    )


async def counted(admin: Client) -> int:
    """The head of the log, once everything up to it is counted."""
    answer: Any = await admin.http.request("GET", "/api/v1/analytics/query?metrics=messages")
    while True:
        await asyncio.sleep(0.5)
        then: Any = await admin.http.request("GET", "/api/v1/analytics/query?metrics=messages")
        if then["position"] == answer["position"] > 0:
            return int(then["position"])
        answer = then


def asked_of_files(query: str, folder: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{folder}'")
        found = connection.execute(query)
        return [one[0] for one in found.description or ()], found.fetchall()


# --------------------------------------------------------------------------------------------------------------- the stage


async def walk(source: Path, pictures: Path, answers: int, imported: int, model_url: str | None, model: str | None) -> list[str]:
    folder = Path(tempfile.mkdtemp(prefix="steno-walk-"))
    folder.chmod(0o711)  # the embedded Postgres runs as another user when we are root
    chosen = dict(list(json.loads(source.read_text()).items())[:imported])
    (folder / "dataset.json").write_text(json.dumps(chosen))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STENO_")}
    url = f"http://127.0.0.1:{port}"
    try:
        with EmbeddedPostgres(folder / "postgres") as embedded:
            environment = {
                **kept,
                **({"STENO_OPENAI_BASE_URLS": model_url} if model_url else {}),
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
                "DATABASE_URL": embedded.dsn,
                "STENO_PORT": str(port),
                "STENO_DATA": str(folder / "data"),
                "XDG_CONFIG_HOME": str(folder / "config"),
                "COLUMNS": "110",
                "NO_COLOR": "1",
            }
            page = Page(environment, folder, pictures)
            with (folder / "server.log").open("ab") as log:
                server = subprocess.Popen([sys.executable, "-m", "api.cli", "serve"], env=environment, cwd=ROOT, stdout=log, stderr=log)
            try:
                await ready(url)
                async with Client(url, retry_s=60) as admin:
                    await admin.sign_up("Ada", "ada@example.org", PASSWORD)
                    page.say("## What there is to count")
                    said = page.steno("import", "dataset.json", "--format", "chitchat", "--stream-answers")
                    page.say(f"Real conversations of two people each, imported: {said.strip().splitlines()[-1]}")
                    await answered(url, admin, page, answers, model if model_url else None)
                    await five_questions(page, admin, ("--url", url, "--token", str(admin.credentials.token)))
                return page.lines
            finally:
                server.terminate()
                server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def ready(url: str) -> None:
    async with asyncio.timeout(READY_S), httpx.AsyncClient() as http:
        while True:
            try:
                if (await http.get(f"{url}/ready")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make docs/walkthrough-analytics.md.")
    parser.add_argument(
        "--model-url", help="an OpenAI-compatible server, such as http://127.0.0.1:9411/v1; default: the built-in model alone"
    )
    parser.add_argument("--model", help="the name of its model")
    parser.add_argument("--conversations", type=Path, help="a dataset.json; default: the installed package")
    parser.add_argument("--imported", type=int, default=IMPORTED, help="so many of them (default: %(default)s)")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="so many answers of the built-in model (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE / "walkthrough-analytics.md")
    given = parser.parse_args()
    source = given.conversations or installed()
    if source is None:
        raise SystemExit("The conversations are not here:  pip install chitchat-dataset   (or name a file: --conversations)")
    lines = asyncio.run(
        walk(source.resolve(), given.output.resolve().parent / "pictures", given.answers, given.imported, given.model_url, given.model)
    )
    where = (
        f"the model `{given.model}` behind an OpenAI-compatible server and the built-in one" if given.model_url else "the built-in model"
    )
    when = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    intro = f"Five questions of an analyst, asked in five ways. Made by `docs/walkthrough_analytics.py` on {when}, with {where}."
    given.output.write_text("\n".join(["# Walkthrough: what an analyst finds out", "", intro, "", *lines]).rstrip() + "\n")


if __name__ == "__main__":
    main()
