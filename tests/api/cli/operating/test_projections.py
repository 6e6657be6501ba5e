"""``steno projections``: what an operator is shown, and what it does, on a real database."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.postgres.log.log import postgres_log
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatCreated
from domain.log.event import Event
from domain.log.stream import chat_stream
from tests import forked
from tests.domain.histories import OWNER

ROOT = Path(__file__).parents[4]


Steno = Callable[..., tuple[int, str]]


@pytest.fixture
def steno(database: str, tmp_path: Path) -> Steno:
    """Runs it as a process of its own; its exit code, and all it says."""
    environment = {**os.environ, "DATABASE_URL": database, "STENO_DATA": str(tmp_path), "COLUMNS": "120"}

    def run(*arguments: str) -> tuple[int, str]:
        done = forked.steno("projections", *arguments, environ=environment, together=True)
        return done.code, done.out

    return run


@pytest.fixture
def with_chats(database: str) -> None:
    async def append() -> None:
        log = postgres_log(database, lambda _: None)
        await log.start()
        for number in range(3):
            chat = chat_stream(uuid4())
            await log.append(AppendRequest([StreamAppend(chat, [Event(None, ChatCreated(OWNER, f"chat {number}"))], 0)]))
        await log.close()

    asyncio.run(append())


@pytest.mark.usefixtures("with_chats")
def test_they_are_listed_with_how_far_they_are_behind(steno: Steno) -> None:
    code, said = steno("list")
    assert code == 0, said
    assert "The log's head is 3." in said
    [row] = [line for line in said.splitlines() if "chat_list" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["chat_list", "0", "3", "nobody writes it now"]


@pytest.mark.usefixtures("with_chats")
def test_a_rebuild_says_what_it_made_and_how_it_differs(steno: Steno) -> None:
    code, said = steno("rebuild", "chat_list", "chat_tree")
    assert code == 0, said
    assert "Rebuilt as of position 3: chat_list, chat_tree." in said
    assert "stood elsewhere in the log" in said
    assert "It holds the same rows as the one before it." in steno("rebuild", "chat_list", "chat_tree")[1]


def test_pause_and_resume_are_seen_in_the_list(steno: Steno) -> None:
    assert steno("pause", "chat_search") == (0, "chat_search is paused.\n")
    assert "paused" in steno("list")[1]
    assert steno("resume", "chat_search") == (0, "chat_search goes on.\n")
    assert "paused" not in steno("list")[1]


@pytest.mark.parametrize("what", ["rebuild", "pause", "resume"])
def test_of_a_name_that_is_none_one_is_told(steno: Steno, what: str) -> None:
    code, said = steno(what, "nothing")
    assert code == 1
    assert "There is no projection nothing" in said
