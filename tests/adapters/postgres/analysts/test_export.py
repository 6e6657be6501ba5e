"""The data set of files: it holds what the views hold, each event once, wherever an export was killed or found no room."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pyarrow.parquet as pq
import pytest

from adapters.files.data_set import DataSet, DataSetRefused, DiskFull
from adapters.postgres.analysts import export as exporting
from adapters.postgres.analysts.analysts import set_price
from adapters.postgres.analysts.export import GENERATION_COLUMNS, MESSAGE_COLUMNS, Exported, export
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.projector.writer import Writer, connect
from bench.load.month import make
from domain.chat.facts import ChatCreated, MessageAdded
from domain.generation import MessageStarted
from domain.log.event import Emitted, Event
from domain.log.stream import chat_stream
from projections.figures.projection import Figures
from tests.adapters.postgres.analysts.test_figures import ANN, NODE, append, ended, project, told

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
ROOT = Path(__file__).resolve().parents[4]
SPOKEN = ("a question", "a title", "word", "better", "hello", "general", "ann@example.com", "person 1", "refused", "search")
# Forks children that export and kill themselves at one of their next steps to the disk, until one of them gets to the end. After each
# the data set is looked at: what is there is whole, and no event is missing or there twice.
KILLED_AGAIN_AND_AGAIN = """
import os, random, signal, sys
from pathlib import Path
import pandas, pyarrow.dataset  # which pyarrow would import in each child
import pyarrow.parquet as pq
from adapters.files.data_set import positions_of
from adapters.postgres.analysts.export import export

dsn, folder, choose = sys.argv[1], Path(sys.argv[2]), random.Random(int(sys.argv[3]))

def child(steps):
    def dying(call):
        def step(*given, **named):
            nonlocal steps
            steps -= 1
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)
        return step
    for module, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
        setattr(module, name, dying(getattr(module, name)))
    export(dsn, folder, lambda *_: None)
    os._exit(0)

def look():
    end = 0
    for first, last, file in sorted((*positions_of(file), file) for file in folder.glob("events/*/*.parquet")):
        assert first == end + 1, (first, end)
        assert pq.read_table(file, columns=["position"])["position"].to_pylist() == list(range(first, last + 1))
        end = last
    for file in folder.glob("*/day=*/*.parquet"):
        pq.read_table(file)

killed = 0
while True:
    pid = os.fork()
    if pid == 0:
        try:
            child(choose.randint(1, 20 + killed * killed))  # later and later, or none would get to the end
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    look()
    if os.WIFEXITED(status):
        print(killed, os.WEXITSTATUS(status))
        break
    killed += 1
"""


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "figures"


def exported(dsn: str, folder: Path) -> Exported:
    return export(dsn, folder, lambda *_: None)


def read(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows as DuckDB reads them, without the name of the folder."""
    import duckdb  # only here: it takes its time in each process that collects tests

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        named = f"{folder}/{table}/*/*.parquet"
        found = connection.execute("SELECT * EXCLUDE day FROM read_parquet(?, hive_partitioning = true)", [named]).fetchall()
    return sorted(found, key=repr)


def asked(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET timezone = 'UTC'")
        return sorted(connection.execute(query).fetchall(), key=repr)  # type: ignore[arg-type]


def columns(names: Any) -> str:
    """Of a view, with ids as the texts that files hold."""
    ids = ("conversation_id", "message_id", "parent_id", "person_id")
    return ", ".join(f"{name}::text" if name in ids else f"{name}::float8" if name == "cost" else name for name in names)


EVENTS = """
    SELECT e.position, s.kind, analytics.pseudonym(e.stream_id, a)::text, e.version,
           CASE WHEN e.type = 'status' THEN 'emitted' ELSE e.type END, analytics.pseudonym(e.message_id, a)::text,
           analytics.pseudonym((e.actor ->> 'id')::uuid, a)::text, e.actor ->> 'role', octet_length(e.data::text), e.recorded_at,
           NULL::timestamptz
      FROM events AS e JOIN streams AS s USING (stream_id) CROSS JOIN analyst_settings AS a
"""


def assert_holds_the_log(dsn: str, folder: Path) -> None:
    assert read(folder, "events") == asked(dsn, EVENTS)
    assert read(folder, "generations") == asked(dsn, f"SELECT {columns(GENERATION_COLUMNS)} FROM analytics.generations")
    assert read(folder, "messages") == asked(dsn, f"SELECT {columns(MESSAGE_COLUMNS)} FROM analytics.messages")


async def test_it_holds_what_the_views_hold_however_often_it_was_brought_up_to_date(
    database: str, log: PostgresLog, folder: Path, tmp_path: Path
) -> None:
    choose = random.Random(1)
    parts: dict[Path, int] = {}
    for _ in range(4):
        await told(log, choose)
        await project(database, log, choose)
        done = exported(database, folder)
        assert (done.position, done.events > 0, done.rows > 0) == (await log.head(), True, True)
        assert_holds_the_log(database, folder)
        assert parts.items() <= inodes(folder).items(), "a file of events was written again"
        parts = inodes(folder)
    again = exported(database, folder)
    assert (again.events, again.files, again.rows) == (0, 0, 0), "nothing has come"
    exported(database, tmp_path / "fresh")
    for table in ("events", "generations", "messages"):
        assert read(tmp_path / "fresh", table) == read(folder, table)


async def test_polars_reads_the_same_as_duckdb(database: str, folder: Path) -> None:
    import polars  # as DuckDB is

    make(database, 500)
    await projected(database)
    exported(database, folder)
    for table in ("events", "generations", "messages"):
        frame = polars.scan_parquet(folder / table, hive_partitioning=True).drop("day").collect()
        assert sorted(frame.rows(), key=repr) == [
            tuple(one.astimezone(UTC) if isinstance(one, datetime) else one for one in row) for row in read(folder, table)
        ]
    by_day = polars.scan_parquet(folder / "events", hive_partitioning=True).group_by("day").len().collect()
    assert dict(by_day.rows()) == dict(asked(database, "SELECT (recorded_at AT TIME ZONE 'UTC')::date, count(*) FROM events GROUP BY 1"))


async def test_every_engine_knows_its_types(database: str, folder: Path) -> None:
    """No type of pyarrow's own, no 96-bit times, and times in UTC: what Spark reads, too."""
    make(database, 300)
    await projected(database)
    exported(database, folder)
    for file in files(folder):
        metadata = pq.read_metadata(file)
        assert b"ARROW:schema" not in (metadata.metadata or {})
        for number in range(metadata.num_columns):
            column = metadata.schema.column(number)
            assert column.physical_type in ("INT32", "INT64", "DOUBLE", "BOOLEAN", "BYTE_ARRAY"), column
            logical = column.logical_type.type
            assert logical in ("NONE", "STRING", "TIMESTAMP"), column
            if logical == "TIMESTAMP":
                assert '"isAdjustedToUTC":true,"timeUnit":"microseconds"' in column.logical_type.to_json()


async def test_no_file_has_a_word_that_was_said(database: str, log: PostgresLog, folder: Path) -> None:
    chat, m = chat_stream(uuid4()), uuid4()
    await told(log, random.Random(2))
    await append(log, chat, [Event(None, ChatCreated(ANN.id, "t")), Event(m, MessageAdded(None, "user", "q"))])
    await append(log, chat, [Event(m, Emitted("my.secret", {"text": "a"}))])  # a name that somebody made up
    await project(database, log, random.Random(2))
    exported(database, folder)
    for table in ("events", "generations", "messages"):
        text = repr(read(folder, table))
        assert [said for said in (*SPOKEN, "my.secret", str(ANN.id)) if said in text] == [], table
    assert "emitted" in repr(read(folder, "events"))


async def test_a_message_that_is_filled_on_another_day_is_in_one_file(database: str, log: PostgresLog, folder: Path) -> None:
    chat, m = chat_stream(uuid4()), uuid4()
    week_ago = int((datetime.now(UTC) - timedelta(days=7)).timestamp())
    await append(
        log, chat, [Event(None, ChatCreated(ANN.id, "t")), Event(m, MessageAdded(None, "assistant", "", fields={"timestamp": week_ago}))]
    )
    await project(database, log, random.Random(0))
    exported(database, folder)
    assert len(read(folder, "messages")) == 1
    await append(log, chat, [Event(m, MessageStarted(None, 'a "b",\nc', "", uuid4(), NODE, fills=True)), Event(m, ended())])
    await project(database, log, random.Random(0))
    exported(database, folder)
    assert_holds_the_log(database, folder)
    assert len(read(folder, "messages")) == 1


async def test_new_prices_are_in_all_rows(database: str, log: PostgresLog, folder: Path) -> None:
    for seed in range(3):
        await told(log, random.Random(seed))
    await project(database, log, random.Random(3))
    exported(database, folder)
    set_price(database, "small", (datetime.now(UTC) - timedelta(days=1)).date(), 1, 2)  # type: ignore[arg-type]
    assert exported(database, folder).rows > 0
    assert_holds_the_log(database, folder)
    place = list(GENERATION_COLUMNS).index("cost")
    assert {row[place] for row in read(folder, "generations")} > {None}


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_any_moment_it_goes_on_and_nothing_is_there_twice(database: str, folder: Path, seed: int) -> None:
    make(database, 1_200)
    await projected(database)
    ran = await asyncio.to_thread(killed_again_and_again, database, folder, seed)
    assert ran.returncode == 0, ran.stderr
    killed, code = map(int, ran.stdout.split())
    assert (killed > 10, code) == (True, 0), ran.stderr
    assert_holds_the_log(database, folder)
    assert unfinished(folder) == []


def killed_again_and_again(dsn: str, folder: Path, seed: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, dsn, str(folder), str(seed)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


async def test_a_disk_that_fills_keeps_what_is_whole_and_it_goes_on(database: str, small_disk: Path) -> None:
    make(database, 1_200)
    await projected(database)
    folder, balloon = small_disk / "figures", small_disk / "balloon"
    for room_bytes in (0, 12_000, 60_000, 200_000):
        fill(balloon, room_bytes)
        with pytest.raises(DiskFull, match="no room left"):
            exported(database, folder)
        assert unfinished(folder) == []
        read_all(folder)
        balloon.unlink()
    exported(database, folder)
    assert_holds_the_log(database, folder)


def unfinished(folder: Path) -> list[str]:
    return [one.name for one in folder.glob("_stenograph/[0-9]*")]


def read_all(folder: Path) -> None:
    """Every file that has a name is whole."""
    for file in files(folder):
        pq.read_table(file)


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*/day=*/*.parquet"))


def inodes(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_ino for file in folder.glob("events/*/*.parquet")}


def fill(balloon: Path, room_bytes: int) -> None:
    """So many bytes are left on its disk."""
    disk = os.statvfs(balloon.parent)
    with balloon.open("wb") as file:
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - room_bytes)))


async def test_a_folder_of_something_else_is_refused(database: str, log: PostgresLog, folder: Path, tmp_path: Path) -> None:
    await told(log, random.Random(4))
    await project(database, log, random.Random(4))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").touch()
    with pytest.raises(DataSetRefused, match="holds other files"):
        exported(database, tmp_path / "other")
    with pytest.raises(DataSetRefused, match=r"Not a directory|File exists"):
        exported(database, tmp_path / "other" / "holiday.jpg")
    exported(database, folder)
    with DataSet(folder, *known(database)), pytest.raises(DataSetRefused, match="Another export"):
        exported(database, folder)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("UPDATE analyst_settings SET pseudonyms = false")
        with pytest.raises(DataSetRefused, match="shows ids in another way"):
            exported(database, folder)
        owner.execute("UPDATE analyst_settings SET pseudonyms = true")
        exported(database, folder)
        owner.execute("UPDATE projections SET position = position - 1, sha256 = 'another' WHERE name = 'figures'")
        with pytest.raises(DataSetRefused, match="computed anew"):
            exported(database, folder)
        owner.execute("INSERT INTO epochs VALUES (gen_random_uuid(), 1, 1, 0, now() + interval '1 day')")
    with pytest.raises(DataSetRefused, match="another history"):
        exported(database, folder)
    (folder / "_stenograph" / "manifest.json").write_text("{")
    with pytest.raises(DataSetRefused, match="cannot be read"):
        exported(database, folder)


async def test_many_rows_of_a_day_are_several_groups_and_files(
    database: str, log: PostgresLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(exporting, "FILE_ROWS_MAX", 20)
    monkeypatch.setattr(exporting, "WINDOW_POSITIONS", 31)
    await told(log, random.Random(5))
    await project(database, log, random.Random(5))
    assert exported(database, folder).files > 2
    assert_holds_the_log(database, folder)


def known(dsn: str) -> tuple[UUID | None, str]:
    with psycopg.connect(dsn, cursor_factory=psycopg.RawCursor) as connection:
        standing = exporting.standing_of(connection)
    return standing.epoch, standing.ids


async def projected(dsn: str) -> None:
    """Rows for a log that was made without a server."""
    connection = await connect(dsn, [schema_of("figures")])
    writer = Writer(connection, [Figures()], uuid4(), 60)
    assert await writer.acquire()
    head = await writer.head()
    while writer.position < head:
        await writer.advance(500, head)
    await writer.release()
    await connection.close()
