"""``steno verify``: what an operator is shown, and its exit codes, on a real database."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.postgres.log.log import postgres_log
from adapters.projector.rebuild import rebuild
from api.systems import PROJECTIONS
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatCreated, MessageAdded
from domain.log.event import Event
from domain.log.stream import chat_stream
from tests import forked
from tests.adapters.postgres.log.test_verify import damage
from tests.domain.histories import OWNER
from tests.forked import POLL_S, Talking

CHAT = UUID("01900000-0000-7000-8000-0000000000c0")
Steno = Callable[..., tuple[int, str]]


@pytest.fixture
def environment(database: str, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database, "STENO_DATA": str(tmp_path), "COLUMNS": "120"}


@pytest.fixture
def steno(environment: dict[str, str]) -> Steno:
    """Runs it as a process of its own; its exit code, and all it says."""

    def run(*arguments: str) -> tuple[int, str]:
        done = forked.steno("verify", *arguments, environ=environment, together=True)
        return done.code, done.out

    return run


@pytest.fixture
def with_a_chat(database: str) -> None:
    async def append() -> None:
        log = postgres_log(database, lambda _: None)
        await log.start()
        events = [Event(None, ChatCreated(OWNER, "a chat")), Event(uuid4(), MessageAdded(None, "user", "Hi"))]
        await log.append(AppendRequest([StreamAppend(chat_stream(CHAT), events, 0)]))
        await log.close()
        await rebuild(database, PROJECTIONS, lambda _: None)

    asyncio.run(append())


@pytest.mark.usefixtures("with_a_chat")
def test_a_whole_log_is_said_to_be_whole(steno: Steno) -> None:
    assert steno() == (0, "2 events were read up to position 2.\nThe log is whole.\n")
    assert steno("--stream", f"chat/{CHAT}")[0] == 0
    assert steno("--projections") == (
        0,
        "2 events were read up to position 2.\n"
        "The projection chat_list is what a replay up to position 2 makes.\n"
        "The projection chat_search is what a replay up to position 2 makes.\n"
        "The projection chat_tree is what a replay up to position 2 makes.\n"
        "The projection channel_search is what a replay up to position 2 makes.\n"
        "The projection channel_counts is what a replay up to position 2 makes.\n"
        "The projection figures is what a replay up to position 2 makes.\n"
        "The log is whole.\n",
    )


@pytest.mark.usefixtures("with_a_chat")
def test_damage_is_named_with_its_position(steno: Steno, database: str) -> None:
    damage(database, "UPDATE events SET data = '{}' WHERE position = 2")
    code, said = steno()
    assert code == 1
    assert f"facts: position 2, chat/{CHAT} version 2: expected the data of a message_added: " in said
    assert "The log is damaged. The first bad position is 2." in said
    code, said = steno("--json")
    assert code == 1
    report = json.loads(said)
    assert (report["ok"], report["counts"], report["first_bad_position"]) == (False, {"facts": 1}, 2)
    assert report["findings"][0]["stream"] == f"chat/{CHAT}"


@pytest.mark.usefixtures("with_a_chat")
def test_a_view_that_is_not_what_the_log_says_is_named(steno: Steno, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE stenograph_chat_list.chats SET title = 'forged'")
    assert steno()[0] == 0
    code, said = steno("--projections")
    assert code == 1
    assert f'chat_list.chats (chat_id "{CHAT}"): title: expected "a chat", found "forged"' in said
    assert "steno projections rebuild chat_list" in said
    assert json.loads(steno("--projections", "--json")[1])["ok"] is False


def test_what_can_not_be_verified_is_neither_whole_nor_damaged(steno: Steno, environment: dict[str, str]) -> None:
    assert steno("--stream", f"chat/{CHAT}") == (2, f"There is no stream chat/{CHAT}.\n")
    assert steno("--stream", "nonsense")[0] == 2
    assert steno("--stream", f"chat/{CHAT}", "--projections")[0] == 2
    environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    code, said = steno()
    assert code == 2
    assert said.startswith("The database can't be read: ")
    del environment["DATABASE_URL"]
    code, said = steno()
    assert code == 2
    assert said.startswith("There is no database in ")


@pytest.mark.anyio
@pytest.mark.usefixtures("with_a_chat")
async def test_ctrl_c_ends_it_and_leaves_nothing_behind(environment: dict[str, str], database: str) -> None:
    with psycopg.connect(database) as holder:
        # It waits for the checkpoint, which is held here.
        holder.execute("SELECT FROM projections FOR UPDATE")
        started = Talking("verify", "--projections", environ=environment)
        with psycopg.connect(database, autocommit=True) as looker:
            query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while looker.execute(query).fetchone() is None:
                assert started.returncode is None
                await asyncio.sleep(POLL_S)
        started.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            _, said = await started.communicate()
        assert started.returncode == 130, said.decode()
    with psycopg.connect(database) as looker:
        assert looker.execute("SELECT name FROM projections ORDER BY name").fetchall() == [
            (one,) for one in ("channel_counts", "channel_search", "chat_list", "chat_search", "chat_tree", "figures")
        ]
        assert looker.execute("SELECT to_regnamespace('stenograph_chat_tree_verify')").fetchone() == (None,)


@pytest.mark.anyio
@pytest.mark.usefixtures("with_a_chat")
async def test_one_that_is_cut_off_says_nothing_about_the_log(environment: dict[str, str], database: str) -> None:
    with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as other:
        holder.execute("LOCK TABLE blobs IN ACCESS EXCLUSIVE MODE")  # it waits there, with the log behind it
        started = Talking("verify", environ=environment)
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name = 'steno verify'
        """
        while other.execute(query).fetchone() is None:
            assert started.returncode is None
            await asyncio.sleep(POLL_S)
        async with asyncio.timeout(30):
            said = b"".join(await started.communicate()).decode()
    assert started.returncode == 2
    assert "The database can't be read: terminating connection due to administrator command" in said
    assert "whole" not in said


def test_a_view_that_can_not_be_compared_is_said_so(steno: Steno, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE projections SET sha256 = 'another'")
    code, said = steno("--projections")
    assert code == 2
    assert "chat_tree was not compared: the tables of chat_tree are those of another version" in said
