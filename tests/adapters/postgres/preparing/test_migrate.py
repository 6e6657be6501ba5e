"""Each file once, in order, whole or not at all, however many servers start at once."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

import sql as our_sql
from adapters.postgres.preparing.migrate import (
    APP_ROLE,
    AppRoleMissing,
    DatabaseAhead,
    Migrated,
    MigrationEdited,
    MigrationFailed,
    MigrationsMisnumbered,
    migrate,
)
from tests.conftest import create_database, drop_database, dsn_of

ONE = "CREATE TABLE one (a integer); GRANT SELECT ON one TO stenograph_app;"
TWO = "CREATE TABLE two (a integer);"


@pytest.fixture
def empty(postgres_dsn: str) -> Iterator[str]:
    made = create_database(postgres_dsn)
    yield made
    drop_database(postgres_dsn, made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "functions").mkdir()
    write(tmp_path, "migrations/0001_one.sql", ONE)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def ask(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def ask_nothing(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def tables(dsn: str) -> list[str]:
    return [str(name) for (name,) in ask(dsn, "SELECT relname FROM pg_class WHERE relname IN ('one', 'two') ORDER BY 1")]


def test_what_is_missing_is_applied_in_order(empty: str, folder: Path) -> None:
    write(folder, "migrations/0002_two.sql", "INSERT INTO one VALUES (2); " + TWO)
    assert migrate(empty, sql_folder=folder) == Migrated(["0001_one.sql", "0002_two.sql"], [], [])
    assert tables(empty) == ["one", "two"]


def test_what_is_applied_is_not_applied_again(empty: str, folder: Path) -> None:
    migrate(empty, sql_folder=folder)
    write(folder, "migrations/0002_two.sql", TWO)
    assert migrate(empty, sql_folder=folder) == Migrated(["0002_two.sql"], [], [])
    assert migrate(empty, sql_folder=folder) == Migrated([], [], [])


def test_an_edited_file_is_refused(empty: str, folder: Path) -> None:
    migrate(empty, sql_folder=folder)
    write(folder, "migrations/0001_one.sql", ONE + " -- a word")
    with pytest.raises(MigrationEdited, match=r"0001_one\.sql was edited"):
        migrate(empty, sql_folder=folder)


def test_a_database_ahead_of_the_code_is_refused(empty: str, folder: Path) -> None:
    write(folder, "migrations/0002_two.sql", TWO)
    migrate(empty, sql_folder=folder)
    (folder / "migrations/0002_two.sql").unlink()
    with pytest.raises(DatabaseAhead, match=r"0002_two\.sql"):
        migrate(empty, sql_folder=folder)


@pytest.mark.parametrize("name", ["0003_gap.sql", "0001_twice.sql", "2_short.sql", "0002-dash.sql"])
def test_a_wrong_number_is_refused_before_anything_is_done(name: str, empty: str, folder: Path) -> None:
    write(folder, f"migrations/{name}", TWO)
    with pytest.raises(MigrationsMisnumbered):
        migrate(empty, sql_folder=folder)
    assert tables(empty) == []


def test_a_file_that_fails_leaves_nothing_of_itself_and_all_before_it(empty: str, folder: Path) -> None:
    write(folder, "migrations/0002_two.sql", TWO + " SELECT 1 / 0;")
    with pytest.raises(MigrationFailed, match=r"0002_two\.sql: division by zero"):
        migrate(empty, sql_folder=folder)
    assert tables(empty) == ["one"]
    write(folder, "migrations/0002_two.sql", TWO)
    assert migrate(empty, sql_folder=folder) == Migrated(["0002_two.sql"], [], [])


def test_servers_that_start_at_once_apply_each_file_once(empty: str, folder: Path) -> None:
    write(folder, "migrations/0002_two.sql", TWO)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: migrate(empty, sql_folder=folder), range(8)))
    assert sorted(name for each in done for name in each.migrations) == ["0001_one.sql", "0002_two.sql"]


def test_the_wait_for_another_server_is_bounded(empty: str, folder: Path) -> None:
    migrate(empty, sql_folder=folder)
    with psycopg.connect(empty) as other:
        other.execute("SELECT pg_advisory_xact_lock(495857004143)")
        with pytest.raises(MigrationFailed, match="lock timeout"):
            migrate(empty, sql_folder=folder, lock_timeout_s=0.1)


def test_a_function_is_replaced_when_its_text_changes(empty: str, folder: Path) -> None:
    write(folder, "functions/answer.sql", "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 41'")
    assert migrate(empty, sql_folder=folder).functions == ["answer.sql"]
    assert migrate(empty, sql_folder=folder).functions == []
    write(folder, "functions/answer.sql", "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 42'")
    assert migrate(empty, sql_folder=folder).functions == ["answer.sql"]
    assert ask(empty, "SELECT answer()") == [(42,)]


@pytest.mark.parametrize(
    "changed",
    [
        "CREATE OR REPLACE PROCEDURE answer(a integer, b text, INOUT c bigint DEFAULT NULL) LANGUAGE plpgsql AS 'BEGIN c := 1; END'",
        "CREATE OR REPLACE PROCEDURE answer(renamed integer, INOUT c integer DEFAULT NULL) LANGUAGE plpgsql AS 'BEGIN c := 1; END'",
        "CREATE OR REPLACE FUNCTION answer(a integer) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    ],
    ids=["other arguments", "other names", "another kind"],
)
def test_a_function_with_a_new_signature_leaves_no_old_one_behind(changed: str, empty: str, folder: Path) -> None:
    write(
        folder,
        "functions/answer.sql",
        "CREATE OR REPLACE PROCEDURE answer(a integer, INOUT c integer DEFAULT NULL) LANGUAGE plpgsql AS 'BEGIN c := 1; END'",
    )
    migrate(empty, sql_folder=folder)
    write(folder, "functions/answer.sql", changed)
    assert migrate(empty, sql_folder=folder).functions == ["answer.sql"]
    assert ask(empty, "SELECT count(*) FROM pg_proc WHERE proname = 'answer'") == [(1,)]


def test_a_function_that_fails_leaves_the_old_one(empty: str, folder: Path) -> None:
    write(folder, "functions/answer.sql", "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 41'")
    migrate(empty, sql_folder=folder)
    write(folder, "functions/answer.sql", "CREATE OR REPLACE FUNCTION answer() RETURNS text LANGUAGE sql AS 'SELEKT'")
    with pytest.raises(MigrationFailed, match=r"answer\.sql"):
        migrate(empty, sql_folder=folder)
    assert ask(empty, "SELECT answer()") == [(41,)]


def test_the_tables_of_a_projection_are_made_anew_when_their_file_changes(empty: str) -> None:
    folder = our_sql.folder()
    names = ["channel_counts", "channel_search", "chat_list", "chat_search", "chat_tree", "figures"]
    assert migrate(empty).projections == [f"{name}.sql" for name in names]
    ask_nothing(empty, "UPDATE projections SET position = 5; UPDATE projections SET sha256 = 'older' WHERE name = 'chat_list'")
    ask_nothing(empty, "CREATE TABLE stenograph_chat_list.left_over (a integer)")
    assert migrate(empty, sql_folder=folder) == Migrated([], [], ["chat_list.sql"])
    assert migrate(empty, sql_folder=folder) == Migrated([], [], [])
    assert ask(empty, "SELECT position FROM projections ORDER BY name") == [(5,), (5,), (0,), (5,), (5,), (5,)]
    assert ask(empty, "SELECT to_regclass('stenograph_chat_list.left_over')") == [(None,)]


def test_the_tables_of_a_projection_that_is_no_more_are_dropped(empty: str) -> None:
    migrate(empty)
    for name in ("history", "history_rebuild"):
        ask_nothing(empty, f"CREATE SCHEMA stenograph_{name}; CREATE TABLE stenograph_{name}.chats (a integer)")
    names = ["history", "history_rebuild_1_of_2", "history_rebuild_2_of_2", "chat_list_rebuild_1_of_2"]
    ask_nothing(empty, "INSERT INTO projections (name, sha256) VALUES " + ", ".join(f"('{name}', 'a')" for name in names))
    assert migrate(empty) == Migrated([], [], [])
    known = ["channel_counts", "channel_search", "chat_list", "chat_list_rebuild_1_of_2", "chat_search", "chat_tree", "figures"]
    assert ask(empty, "SELECT name FROM projections ORDER BY name") == [(name,) for name in known]
    assert ask(empty, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stenograph_history%'") == []


def test_a_schema_that_somebody_else_made_is_left_alone(empty: str) -> None:
    ask_nothing(empty, "CREATE SCHEMA stenograph_chat_list; CREATE TABLE stenograph_chat_list.theirs (a integer)")
    with pytest.raises(MigrationFailed, match='schema "stenograph_chat_list" already exists'):
        migrate(empty)
    assert ask(empty, "SELECT count(*) FROM stenograph_chat_list.theirs") == [(0,)]


def test_the_owner_may_take_the_apps_role(empty: str, folder: Path) -> None:
    migrate(empty, sql_folder=folder)
    with psycopg.connect(empty) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(APP_ROLE)))
        connection.execute("SELECT * FROM one")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO one VALUES (1)")


@pytest.fixture
def plain_owner(postgres_dsn: str, empty: str) -> Iterator[str]:
    """The URL of ``empty`` as an owner who is no superuser, such as a hosted Postgres hands out."""
    name = f"steno_test_owner_{uuid4().hex[:8]}"
    owner, database = sql.Identifier(name), sql.Identifier(psycopg.conninfo.conninfo_to_dict(empty)["dbname"])  # type: ignore[arg-type]
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'steno'").format(owner))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))
        yield as_user(empty, name)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(database))
        with psycopg.connect(empty, autocommit=True) as inside:
            inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(owner))
        connection.execute(sql.SQL("DROP ROLE {}").format(owner))


def as_user(dsn: str, user: str) -> str:
    scheme, _, rest = dsn.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{user}:steno@{authority.rpartition('@')[2]}{slash}{path}"


def test_an_owner_who_may_not_take_the_role_is_told_what_to_ask_for(plain_owner: str, folder: Path, database: str) -> None:
    with pytest.raises(AppRoleMissing, match=f"CREATE ROLE {APP_ROLE} NOLOGIN; GRANT {APP_ROLE} TO"):
        migrate(plain_owner, sql_folder=folder)


def test_an_owner_who_was_given_the_role_needs_no_more(plain_owner: str, postgres_dsn: str, database: str) -> None:
    user = psycopg.conninfo.conninfo_to_dict(plain_owner)["user"]
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(APP_ROLE), sql.Identifier(str(user))))
    assert "append_batch.sql" in migrate(plain_owner).functions


def test_dsn_of_keeps_the_rest_of_the_url() -> None:
    assert dsn_of("postgresql://u:p@h:1/a?host=%2Ftmp", "b") == "postgresql://u:p@h:1/b?host=%2Ftmp"
