"""``steno export --all`` and ``steno import``: from one real database into another, and to the same bytes."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.postgres.transfer.export import WholeExport
from commands.ports import AppendRequest, Claim, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.chat.facts import ChatCreated, ChatDeleted, MessageAdded
from domain.log.event import Event
from domain.log.stream import chat_stream, user_stream
from tests import forked
from tests.commands.transfer.test_restore import CHAT, ME, OTHER, events_of, exported, talk
from tests.conftest import create_database, database_name, drop_database
from tests.domain.histories import OWNER
from tests.stores import blobs_of

ROOT = Path(__file__).parents[4]
BOB = UUID(int=0xB0B)
BOBS = chat_stream(UUID(int=0xC3))

Steno = Callable[..., tuple[int, str]]


@pytest.fixture
def steno(tmp_path: Path) -> Steno:
    """Runs it on a database, as a process of its own; its exit code, and all it says."""

    def run(dsn: str, *arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "DATABASE_URL": dsn, "STENO_DATA": str(tmp_path / "data"), "COLUMNS": "200"}
        done = forked.steno(*arguments, environ=environment, together=True)
        return done.code, done.out

    return run


@pytest.fixture
def another(postgres_dsn: str, migrated_template: str) -> Iterator[str]:
    copied = create_database(postgres_dsn, template=database_name(migrated_template))
    yield copied
    drop_database(postgres_dsn, copied)


async def opened(dsn: str) -> PostgresLog:
    log = postgres_log(dsn, lambda _: None)
    await log.start()
    return log


async def with_account(dsn: str, user_id: UUID, email: str) -> None:
    log = await opened(dsn)
    user = user_stream(user_id)
    made = Event(None, UserCreated(name="Me", email=email, role="user"))
    await log.append(AppendRequest([StreamAppend(user, [made], 0)], claims=[Claim("email", email, user)]))
    await log.close()


@pytest.fixture
def filled(database: str) -> str:
    """Two chats of one person, the second with a large message, and a deleted one of another."""

    async def fill() -> None:
        await with_account(database, OWNER, "me@example.org")
        await with_account(database, BOB, "bob@example.org")
        log = await opened(database)
        kept = {"blob": await blobs_of(log).put(OTHER, ("ü" * 200_000).encode()), "size_bytes": 400_000}
        await log.append(AppendRequest([StreamAppend(CHAT, talk("word " * 700), 0)], ME))
        await log.append(AppendRequest([StreamAppend(OTHER, [*talk()[:1], Event(UUID(int=9), MessageAdded(None, "user", kept))], 0)], ME))
        await log.append(AppendRequest([StreamAppend(BOBS, [Event(None, ChatCreated(BOB, "Bob's")), Event(None, ChatDeleted())], 0)]))
        await log.close()

    asyncio.run(fill())
    return database


def test_a_whole_log_goes_to_another_database_and_comes_out_as_the_same_bytes(
    filled: str, another: str, steno: Steno, tmp_path: Path
) -> None:
    file, again = tmp_path / "all.jsonl", tmp_path / "again.jsonl"
    code, said = steno(filled, "export", "--all", "-o", str(file))
    assert (code, "events of 3 chats" in said) == (0, True), said
    for user_id, email in ((OWNER, "me@example.org"), (BOB, "bob@example.org")):
        asyncio.run(with_account(another, user_id, email))
    code, said = steno(another, "import", str(file))
    assert (code, "3 of 3 chats" in said) == (0, True), said
    assert steno(another, "export", "--all", "-o", str(again))[0] == 0
    assert file.read_bytes() == again.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["again.jsonl", "all.jsonl"]

    async def compare() -> None:
        there, here = await opened(filled), await opened(another)
        for stream in (CHAT, OTHER, BOBS):
            assert await events_of(here, stream) == await events_of(there, stream)
        lines = file.read_bytes().splitlines(keepends=True)
        assert [*await exported(there, CHAT), *await exported(there, OTHER)] == lines[:-2]
        # Readers see when it was, not when it was restored.
        before, after = await PostgresChatQueries(there.reader).chat(CHAT.id), await PostgresChatQueries(here.reader).chat(CHAT.id)
        assert msgspec.json.decode(msgspec.json.encode(after.to_json())) == msgspec.json.decode(msgspec.json.encode(before.to_json()))
        await there.close()
        await here.close()

    asyncio.run(compare())


def test_the_chats_of_one_person(filled: str, steno: Steno) -> None:
    code, said = steno(filled, "export", "--all", "--user", "Bob@example.org")
    assert code == 0
    assert [f'"stream":"{BOBS}"' in line for line in said.splitlines()] == [True, True]
    code, said = steno(filled, "export", "--all", "--user", "eve@example.org")
    assert (code, "Nobody here has the address eve@example.org." in said) == (1, True)


def test_another_owner(filled: str, another: str, steno: Steno, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    steno(filled, "export", "--all", "-o", str(file))
    asyncio.run(with_account(another, OWNER, "me@example.org"))
    code, said = steno(another, "import", str(file))
    assert (code, "2 of 3 chats" in said, f"owner {BOB} has no account here" in said) == (1, True, True), said
    code, said = steno(another, "import", str(file), "--user", "me@example.org")
    assert (code, "3 of 3 chats" in said, "1 chats got another owner" in said) == (0, True, True), said


def test_an_export_that_fails_leaves_nothing_under_its_name(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.cli.transfer.exporting import destination

    with pytest.raises(KeyboardInterrupt), destination(tmp_path / "all.jsonl") as write, WholeExport(filled) as source:
        for lines in source.lines():
            write(lines)
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else(filled: str, steno: Steno, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello\n")
    code, said = steno(filled, "import", str(file))
    assert (code, "no chat export that is known here" in said) == (1, True), said
    code, said = steno(filled, "import", str(file), "--format", "jsonl")
    assert (code, "Line 1: it is not JSON" in said) == (1, True), said
