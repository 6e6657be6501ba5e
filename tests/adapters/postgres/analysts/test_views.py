"""The schema of analysts: everything in it is described, and it is all that an analyst can read."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from adapters.postgres.analysts.analysts import AnalystRefused, drop_login, make_login
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import migrate
from adapters.projector.rebuild import rebuild
from projections.figures.projection import Figures
from tests.adapters.postgres.analysts.test_figures import ANN, project, told

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def owner(database: str) -> "Iterator[psycopg.Connection[Any]]":
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def analyst(database: str) -> "Iterator[psycopg.Connection[Any]]":
    """With no other rights than an analyst's."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET ROLE stenograph_analyst")
        yield connection


def views(connection: "psycopg.Connection[Any]") -> list[str]:
    found = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'analytics' ORDER BY 1").fetchall()
    return [name for (name,) in found]


def test_every_view_and_every_column_is_described(owner: "psycopg.Connection[Any]") -> None:
    silent = owner.execute("""
        SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum >= 0
         WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NULL
         UNION ALL
        SELECT c.relname, NULL FROM pg_class AS c WHERE c.relnamespace = 'analytics'::regnamespace AND obj_description(c.oid) IS NULL
    """).fetchall()
    assert silent == []
    assert len(views(owner)) == 17


async def test_an_analyst_reads_the_views_and_nothing_else(
    database: str, log: PostgresLog, owner: "psycopg.Connection[Any]", analyst: "psycopg.Connection[Any]"
) -> None:
    await told(log, random.Random(1))
    await project(database, log, random.Random(1))
    for view in views(owner):
        assert analyst.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("analytics", view))).fetchall() != [], view
    others = owner.execute("""
        SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
           AND n.nspname NOT IN ('analytics', 'pg_catalog', 'information_schema', 'pg_toast')
    """).fetchall()
    names = {name for _, name in others}
    assert {"events", "blobs", "passwords", "messages", "texts", "analyst_settings", "counted_messages"} <= names
    for schema, name in others:
        with pytest.raises(errors.InsufficientPrivilege):
            analyst.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name)))
    for view in views(owner):
        with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.FeatureNotSupported)):
            analyst.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier("analytics", view)))
    for statement in ("CREATE TABLE public.mine (a integer)", "CREATE VIEW analytics.mine AS SELECT 1", "COPY (SELECT 1) TO PROGRAM 'cat'"):
        with pytest.raises(errors.InsufficientPrivilege):
            analyst.execute(statement)


async def test_no_view_has_a_word_that_was_said(database: str, log: PostgresLog, owner: "psycopg.Connection[Any]") -> None:
    """What people and models wrote, titles, names and addresses: none of it is in any column."""
    await told(log, random.Random(2))
    await project(database, log, random.Random(2))
    for view in views(owner):
        query = sql.SQL("SELECT coalesce(string_agg(v::text, ' '), '') FROM {} AS v").format(sql.Identifier("analytics", view))
        (text,) = owner.execute(query).fetchone() or ("",)
        for said in ("a question", "a title", "word", "better", "hello", "general", "ann@example.com", "Ann", "refused", "search"):
            assert said not in text, (view, said)


async def test_ids_are_pseudonyms_until_the_operator_says_otherwise(
    database: str, log: PostgresLog, owner: "psycopg.Connection[Any]", analyst: "psycopg.Connection[Any]"
) -> None:
    await told(log, random.Random(3))
    await project(database, log, random.Random(3))
    mine = "SELECT count(*) FROM analytics.people WHERE person_id = %s"
    counted = analyst.execute("SELECT count(DISTINCT person_id) FROM analytics.messages").fetchone()
    assert analyst.execute(mine, (ANN.id,)).fetchone() == (0,)
    joined = analyst.execute("SELECT count(*) FROM analytics.generations JOIN analytics.people USING (person_id)").fetchone()
    assert joined is not None
    assert joined[0] > 0, "one person has the same pseudonym everywhere"
    owner.execute("UPDATE analyst_settings SET pseudonyms = false")
    assert analyst.execute(mine, (ANN.id,)).fetchone() == (1,)
    assert analyst.execute("SELECT count(DISTINCT person_id) FROM analytics.messages").fetchone() == counted


async def test_a_rebuild_and_a_migration_keep_the_views(database: str, log: PostgresLog, analyst: "psycopg.Connection[Any]") -> None:
    await told(log, random.Random(4))
    await project(database, log, random.Random(4))
    query = "SELECT * FROM analytics.activity WHERE granularity = 'day'"
    before = analyst.execute(query).fetchall()
    built = await rebuild(database, [Figures()], lambda _: None)
    assert (built.compared, built.differing) == (True, {})
    assert analyst.execute(query).fetchall() == before != []
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("UPDATE projections SET sha256 = 'older' WHERE name = 'figures'")
        assert migrate(database).projections == ["figures.sql"]
        assert analyst.execute(query).fetchall() == [], "the tables are empty until the log is replayed"
        owner.execute("DROP SCHEMA analytics CASCADE; CREATE SCHEMA analytics")
    with pytest.raises(Exception, match="analytics"):
        migrate(database)  # a schema of somebody else's is left alone


async def test_periods_are_those_of_the_time_zone(database: str, log: PostgresLog, analyst: "psycopg.Connection[Any]") -> None:
    await told(log, random.Random(5))
    await project(database, log, random.Random(5))
    for zone in ("Europe/Berlin", "America/St_Johns"):
        analyst.execute("SELECT set_config('timezone', %s, false)", (zone,))
        (day,) = analyst.execute("SELECT max(period) FROM analytics.activity WHERE granularity = 'day'").fetchone() or (None,)
        assert (day.hour, day.minute) == (0, 0)


async def test_cost_is_that_of_the_price_of_the_day(database: str, log: PostgresLog, owner: "psycopg.Connection[Any]") -> None:
    choose = random.Random(6)
    for _ in range(3):
        await told(log, choose)
    await project(database, log, choose)
    price = "INSERT INTO model_prices VALUES (%s, current_date - %s::integer, %s, %s)"
    owner.execute(price, ("small", 9, 100, 100))
    owner.execute(price, ("small", 1, 1_000_000, 2_000_000))
    owner.execute(price, ("small", -1, 5, 5))
    costs = owner.execute("SELECT DISTINCT model_id, cost FROM analytics.generations WHERE input_tokens = 7 ORDER BY 1").fetchall()
    assert costs == [("large", None), ("small", 7 + 2 * 3)]


def test_a_view_that_is_missing_is_made_at_the_next_start(owner: "psycopg.Connection[Any]", database: str) -> None:
    owner.execute("DROP VIEW analytics.arena")
    migrate(database)
    assert "arena" in views(owner)


@pytest.fixture
def name(owner: "psycopg.Connection[Any]") -> Iterator[str]:
    """Of a login, which belongs to the whole cluster."""
    made = f"analyst_{uuid4().hex[:12]}"
    yield made
    owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(made)))


def test_a_login_reads_only_and_not_for_ever(database: str, name: str) -> None:
    url, is_new = make_login(database, name, timeout_s=1)
    assert is_new
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM activity").fetchone() == (0,), "the schema need not be named"
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM public.events")
        with pytest.raises(errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMPORARY TABLE mine (a integer)")
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SET ROLE stenograph_app")
    assert make_login(database, name, timeout_s=5)[1] is False
    drop_login(database, name)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_no_login_is_made_of_a_role_that_is_somebody_elses(database: str, name: str, owner: "psycopg.Connection[Any]") -> None:
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    for taken in (name, "stenograph_app", "pg_monitor", 'x"; DROP TABLE events; --', "", "A"):
        with pytest.raises(AnalystRefused):
            make_login(database, taken, timeout_s=1)
        with pytest.raises(AnalystRefused):
            drop_login(database, taken)
