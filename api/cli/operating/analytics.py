"""``steno analytics``: logins of analysts, pseudonyms, prices of models, files for other engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import rich_click as click

from adapters.garbage_collection import collect_rarely
from api.cli.login import Failed
from api.cli.operating.projections import database
from api.cli.operating.server import data_option
from api.cli.progress import Progress

PRICE_MAX = Decimal(1_000_000)


@click.group()
def analytics() -> None:
    """What analysts may see: figures of everything, and not a word of anybody."""


@contextmanager
def owner(data: Path | None) -> Iterator[str]:
    """The database of the settings; what is refused there is said in words."""
    from adapters.postgres.analysts.analysts import AnalystRefused

    with database(data) as dsn:
        try:
            yield dsn
        except AnalystRefused as error:
            raise Failed(str(error)) from None


@analytics.command()
@click.argument("name")
@click.option(
    "--timeout", "timeout_s", type=click.IntRange(1, 3600), default=60, show_default=True, help="Seconds that a statement may take."
)
@click.option("--remove", is_flag=True, help="Take the login away.")
@data_option
def login(name: str, timeout_s: int, remove: bool, data: Path | None) -> None:
    """Make the login NAME of Postgres for an analyst, and print how to connect. It reads the schema `analytics` and nothing else.

    Of a login that is there the password is changed.
    """
    from adapters.postgres.analysts.analysts import drop_login, make_login

    with owner(data) as dsn:
        if remove:
            drop_login(dsn, name)
            click.echo(f"{name} is no login any more.", err=True)
            return
        url, is_new = make_login(dsn, name, timeout_s=timeout_s)
    click.echo(f"{name} is a login now." if is_new else f"{name} has a new password.", err=True)
    click.echo("Its connection, shown once:", err=True)
    click.echo(url)


@analytics.command()
@click.argument("wanted", type=click.Choice(["on", "off"]), required=False)
@data_option
def pseudonyms(wanted: str | None, data: Path | None) -> None:
    """Say whether analysts see pseudonyms in place of the ids of people, chats and messages; `on` and `off` change it at once."""
    from adapters.postgres.analysts.analysts import pseudonyms as changed

    with owner(data) as dsn:
        is_on = changed(dsn, None if wanted is None else wanted == "on")
    click.echo("Analysts see pseudonyms." if is_on else "Analysts see the ids themselves.")


@analytics.command()
@click.argument("model")
@click.argument("input_price", metavar="INPUT", required=False)
@click.argument("output_price", metavar="OUTPUT", required=False)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day of this price, UTC. Today, unless it is said.")
@click.option("--remove", is_flag=True, help="Take the price of that day away.")
@data_option
def price(model: str, input_price: str | None, output_price: str | None, since: datetime | None, remove: bool, data: Path | None) -> None:
    """Set what a million tokens of MODEL cost from a day on: INPUT that are read, OUTPUT that are written. The currency is yours."""
    from adapters.postgres.analysts.analysts import remove_price, set_price

    day = since.date() if since is not None else datetime.now(UTC).date()
    if not 0 < len(model) <= 512:
        raise Failed("A model's id has from 1 to 512 characters.")
    if remove:
        with owner(data) as dsn:
            if not remove_price(dsn, model, day):
                raise Failed(f"{model} has no price that begins on {day}.")
        click.echo(f"{model} has no price of its own from {day} on.", err=True)
        return
    if input_price is None or output_price is None:
        raise click.UsageError("Say both prices: of tokens that are read, and of tokens that are written.")
    read, written = amount(input_price), amount(output_price)
    with owner(data) as dsn:
        set_price(dsn, model, day, read, written)
    click.echo(f"{model} costs {read} and {written} a million tokens from {day} on.", err=True)


@analytics.command()
@data_option
def prices(data: Path | None) -> None:
    """Show all prices of models."""
    from adapters.postgres.analysts.analysts import prices as known

    with owner(data) as dsn:
        rows = known(dsn)
    for one in rows:
        click.echo(f"{one.model_id}\t{one.since}\t{one.input_per_million}\t{one.output_per_million}")


@analytics.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "_format", type=click.Choice(["parquet"]), default="parquet", show_default=True, help="Of the files.")
@click.option(
    "--partition", "_partition", type=click.Choice(["day"]), default="day", show_default=True, help="What a folder holds, by UTC."
)
@data_option
def export(folder: Path, _format: str, _partition: str, data: Path | None) -> None:
    """Bring the data set in DIR up to date: Parquet files of events, generations and messages, without a word of anybody.

    DIR is made, or is one that was exported to before: then what came since is added. It can be interrupted or killed at any moment;
    the next export continues where this one stopped.
    """
    from adapters.files.data_set import DataSetRefused
    from adapters.postgres.analysts.export import export as write
    from adapters.postgres.connections.errors import database_errors

    collect_rarely()
    with owner(data) as dsn, database_errors(), Progress("Exporting", 0, unit="events") as bar:
        try:
            done = write(dsn, folder, bar.reached)
        except DataSetRefused as error:
            raise Failed(str(error)) from None
    click.echo(
        f"New events: {done.events:,}, in files: {done.files:,}. Rows of generations and messages: {done.rows:,}, of days: {done.days:,}.",
        err=True,
    )
    click.echo(f"{folder} holds everything up to position {done.position:,}.", err=True)


def amount(given: str) -> Decimal:
    try:
        value = Decimal(given)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or not 0 <= value <= PRICE_MAX:
        raise click.UsageError(f"{given!r} is no price: expected a number from 0 to {PRICE_MAX:,}.")
    return value
