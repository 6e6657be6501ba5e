"""``steno stats``: tables and plots of the figures in the terminal."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import rich_click as click

from api.cli.login import Failed, Target, options, run, with_client
from api.cli.operating.plots import bars, columns, number
from api.cli.safe_text import safe_line
from stenograph_client import Client

SPANS: Final = {
    "today": (timedelta(days=1), "hour"),
    "week": (timedelta(days=7), "day"),
    "month": (timedelta(days=30), "day"),
    "year": (timedelta(days=365), "month"),
}
QUERY: Final = "/api/v1/analytics/query"
WATCH_S: Final = 2.0
MODELS_MAX: Final = 15
OF_MODELS: Final = ("generations", "failed", "first_token_ms_p50", "first_token_ms_p95", "tokens_per_second_p50", "output_tokens", "cost")


@click.command()
@click.argument("span", type=click.Choice(list(SPANS)), default="today")
@click.option("--model", help="Of one model.")
@click.option("--person", metavar="EMAIL", help="Of what one person asked (admin).")
@click.option("--time-zone", default=None, help="By whose clocks. Default: this machine's, or UTC.")
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until Ctrl-C.")
@options
def stats(span: str, model: str | None, person: str | None, time_zone: str | None, watch: bool, target: Target) -> None:
    """Show what was asked and answered: today, in the last week, month or year. For analysts and admins."""
    from rich.console import Console
    from rich.live import Live

    zone = time_zone or local_zone()

    async def work(client: Client) -> None:
        chosen = [f"model={model}"] if model is not None else []
        if person is not None:
            from api.cli.accounts.quotas import account_of

            chosen.append(f"person={(await account_of(client, person))['id']}")
        console = Console(file=sys.stdout)
        if not watch or not console.is_terminal:
            console.print(await page(client, span, chosen, zone))
            while watch:  # into a pipe or a file: one page after the other
                await asyncio.sleep(WATCH_S)
                console.print(await page(client, span, chosen, zone))
            return
        with Live(await page(client, span, chosen, zone), console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(WATCH_S)
                live.update(await page(client, span, chosen, zone), refresh=True)

    run(with_client(target, work))


def local_zone() -> str:
    """This machine's, where it has a name that a server knows."""
    import os
    import zoneinfo
    from pathlib import Path

    named = os.environ.get("TZ", "").removeprefix(":")
    if named in zoneinfo.available_timezones():
        return named
    place = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return place if place in zoneinfo.available_timezones() else "UTC"


async def page(client: Client, span: str, chosen: Sequence[str], zone: str) -> Any:
    """Everything that is shown, as of one moment for each of its parts."""
    from rich.console import Group
    from rich.text import Text

    length, granularity = SPANS[span]
    since = begin(datetime.now(UTC), span, length, zone)
    window = {"since": since.isoformat(), "time_zone": zone, "filter": list(chosen)}
    times = await ask(client, "generations,output_tokens,askers", granularity=granularity, **window)
    models = await ask(client, ",".join(OF_MODELS), dimensions="model", **window)
    (total,) = (await ask(client, "generations,failed,askers,input_tokens,output_tokens,cost,first_token_ms_p50", **window))["rows"]
    answers, failed, people, read, written, cost, wait = total
    line = [f"{number(answers)} answers", f"{number(people)} people", f"{number(failed)} failed", f"{number(read)} tokens read"]
    line += [f"{number(written)} written", f"first token after {number(wait)} ms (median)"]
    line += [f"cost {cost:,.2f}"] if cost is not None else []
    parts: list[Any] = [Text(f"{span}, {zone}: " + ", ".join(line), style="bold")]
    if answers:
        labels = [label(row[0], granularity) for row in times["rows"]]
        parts += [Text(), columns("answers", labels, [row[1] for row in times["rows"]])]
        if any(row[2] for row in times["rows"]):
            parts += [Text(), columns("tokens written", labels, [row[2] or 0 for row in times["rows"]])]
        parts += [Text(), table_of_models(models["rows"]), Text(), bars(shares(models["rows"]))]
    return Group(*parts)


def begin(now: datetime, span: str, length: timedelta, zone: str) -> datetime:
    """Today begins at midnight by the clocks of ``zone``."""
    import zoneinfo

    if span != "today":
        return now - length
    try:
        local = now.astimezone(zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise Failed(f"There is no time zone {zone}. Expected a name like Europe/Berlin or UTC.") from None
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


async def ask(client: Client, metrics: str, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await client.http.request("GET", f"{QUERY}?{urlencode({'metrics': metrics, **params}, doseq=True)}")
    return answer


def label(time: str, granularity: str) -> str:
    at = datetime.fromisoformat(time)
    return {"hour": f"{at:%H:%M}", "day": f"{at:%b %d}"}.get(granularity, f"{at:%Y-%m}")


def table_of_models(rows: Sequence[Sequence[Any]]) -> Any:
    from rich.table import Table

    table = Table("model", title_justify="left")
    for name in ("answers", "failed", "first token ms p50", "p95", "tokens/s", "tokens written", "cost"):
        table.add_column(name, justify="right")
    for model, *values in sorted(rows, key=lambda row: -row[1])[:MODELS_MAX]:
        table.add_row(safe_line(model or "-"), *(number(value) for value in values))
    return table


def shares(rows: Sequence[Sequence[Any]]) -> list[tuple[str, float]]:
    return [(safe_line(row[0] or "-"), float(row[1])) for row in sorted(rows, key=lambda row: -row[1])[:MODELS_MAX]]
