"""The commands of the README, the tutorial and the how-to guides do what their pages say. One server is started for all of them.

Pages that need root or services of the machine have their own tests; what cannot be run here at all is marked ``console`` on its page.
"""

import json
import re
import signal
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from adapters.embedded.server import EmbeddedPostgres
from tests.crash.processes import ServerProcess, free_port
from tests.docs.pages import ROOT, fences
from tests.docs.shell import commands_of, environment, run

HOW_TO = ROOT / "docs" / "how-to"
TUTORIAL = ROOT / "docs" / "tutorial" / "first-conversation.md"
RUN_HERE = {"postgres", "several-processes", "backup-and-restore", "upgrade", "verify", "import-chats", "analytics"}
RUN_ELSEWHERE = {"README", "reverse-proxy", "systemd", "monitoring"}  # no commands; they need nginx, systemd, Prometheus

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EXPORT = [
    {
        "id": "5f0c2a53-3f0e-4a3b-9a3c-0d6d3f0f3a11",
        "title": "Imported",
        "chat": {
            "title": "Imported",
            "history": {
                "currentId": "b",
                "messages": {
                    "a": {"id": "a", "parentId": None, "childrenIds": ["b"], "role": "user", "content": "Hello"},
                    "b": {"id": "b", "parentId": "a", "childrenIds": [], "role": "assistant", "content": "Hello, Ada"},
                },
            },
        },
    }
]


class Reader(NamedTuple):
    """Someone who follows the pages: a folder to work in, and the server that the pages speak of."""

    folder: Path
    environ: dict[str, str]


@pytest.fixture(scope="module")
async def reader(open_folder: Path) -> AsyncIterator[Reader]:
    folder = open_folder / "docs"
    folder.mkdir(mode=0o711)
    server = ServerProcess(folder / "data", log_folder=folder)
    await server.start()
    try:
        yield Reader(folder, environment(folder, server.port, server.data))
    finally:
        server.signal(signal.SIGTERM)  # its Postgres ends with it
        await server.ended()


@pytest.fixture(scope="module")
async def tutorial(reader: Reader) -> str:
    """The output of the tutorial's commands; its account and its chat are there for the pages that come after it."""
    return run(commands_of(TUTORIAL), reader.folder, reader.environ, {})


@pytest.fixture(scope="module")
def own_postgres(open_folder: Path) -> Iterator[dict[str, str]]:
    """A Postgres that is nobody's data folder, as its administrator reaches it."""
    with EmbeddedPostgres(open_folder / "own-postgres") as postgres:
        yield {"PGHOST": str(open_folder / "own-postgres" / "postgres-socket"), "PGUSER": "stenograph", "dsn": postgres.dsn}


@pytest.fixture(scope="module")
def postgres_guide(reader: Reader, own_postgres: dict[str, str]) -> str:
    return run_with_own_postgres("postgres", reader, own_postgres)


# Something to back up: an account and a chat, as the tutorial makes them.
SOME_DATA = """
steno serve
echo 'correct horse' | steno login --url "http://127.0.0.1:$STENO_PORT" --sign-up --email ada@example.org --password-stdin
steno chat "Keep this"
"""


def run_with_own_postgres(name: str, reader: Reader, postgres: dict[str, str], *, before: str = "", **more: str) -> str:
    environ = reader.environ | {"PGHOST": postgres["PGHOST"], "PGUSER": postgres["PGUSER"], "STENO_PORT": str(free_port()), **more}
    environ["XDG_CONFIG_HOME"] = str(reader.folder / name)  # another server, another login
    address = f"@/steno?host={quote(postgres['PGHOST'], safe='')}"
    restored = address.replace("/steno?", "/steno_restored?")
    replaced = {"@db.example.org/steno_restored": restored, "@db.example.org/steno": address}
    return run(before + commands_of(HOW_TO / f"{name}.md"), reader.folder, environ, replaced)


async def test_every_guide_with_commands_is_run_here_or_by_a_test_of_its_own() -> None:
    with_commands = {page.stem for page in HOW_TO.glob("*.md") if any(fence.info == "sh" for fence in fences(page))}
    assert with_commands - RUN_ELSEWHERE == RUN_HERE


async def test_the_tutorial(tutorial: str) -> None:
    assert "Ada <ada@example.org>, admin" in tutorial
    assert "Tell me about lighthouses" in tutorial
    assert "The log is whole." in tutorial


async def test_the_tutorial_of_functions(reader: Reader) -> None:
    folder = reader.folder / "functions"
    folder.mkdir()
    environ = environment(folder, free_port(), folder / "data")
    output = run(commands_of(TUTORIAL.with_name("functions.md")), folder, environ, {})
    assert "HELLO THERE !" in output
    assert "HELLO AGAIN ?!" in output
    assert '"reason":"syntax","line":1' in output
    assert '"origin":"folder"' in output


async def test_the_first_requests_of_the_readme(reader: Reader, tutorial: str) -> None:
    # The address of the page belongs to the account of the tutorial, which is the first, and so the admin's.
    script = commands_of(ROOT / "README.md").replace("ada@example.org", "grace@example.org")
    output = run(script, reader.folder, reader.environ, {})
    assert "data: [DONE]" in output
    assert '"type":"message_end"' in output, "the stream continues after the cursor"


async def test_a_postgres_of_ones_own(postgres_guide: str) -> None:
    assert '"ready":true' in postgres_guide
    assert "chat_list" in postgres_guide


async def test_several_processes(reader: Reader, tutorial: str) -> None:
    environ = reader.environ | {"STENO_PORT": str(free_port())}
    output = run(commands_of(HOW_TO / "several-processes.md"), reader.folder, environ, {})
    assert output.count("stenograph_worker_silent_seconds{") == 2


async def test_backup_and_restore(reader: Reader, tutorial: str, postgres_guide: str, own_postgres: dict[str, str]) -> None:
    address = f"postgresql://steno:change-me@/steno?host={quote(own_postgres['PGHOST'], safe='')}"
    output = run_with_own_postgres("backup-and-restore", reader, own_postgres, before=SOME_DATA, DATABASE_URL=address)
    assert "The epoch is now" in output
    assert "of 1 chats in chats.jsonl" in output
    assert output.count("The log is whole.") == 1


async def test_upgrade(reader: Reader, tutorial: str) -> None:
    output = run(commands_of(HOW_TO / "upgrade.md"), reader.folder, reader.environ, {})
    assert "The log is whole." in output
    assert '"ready":true' in output


async def test_verify(reader: Reader, tutorial: str) -> None:
    output = run(commands_of(HOW_TO / "verify.md"), reader.folder, reader.environ, {})
    assert "is what a replay up to position" in output
    assert "\nTrue " in output


async def test_import_chats(reader: Reader, tutorial: str) -> None:
    with zipfile.ZipFile(reader.folder / "export.zip", "w") as archive:
        archive.writestr("conversations.json", json.dumps(EXPORT))
    output = run(commands_of(HOW_TO / "import-chats.md"), reader.folder, reader.environ, {})
    assert "Imported" in output


async def test_analytics(reader: Reader, tutorial: str) -> None:
    output = run(commands_of(HOW_TO / "analytics.md"), reader.folder, reader.environ, {})
    assert re.search(r"week, .*: \d+ answers, \d people", output), "the terminal"
    assert "When it began, by the time zone of your session" in output, "psql"
    assert "first_token_p95_ms" in output
    assert "demo" in output.partition("python3 figures.py")[2], "pandas"
    assert '"columns":["model","generations","output_tokens","first_token_ms_p95"]' in output
    assert "time,messages,people" in output
    assert "answers" in output.partition("import duckdb")[2]
    assert "figures holds everything up to position" in output
    assert "message_delta" in output.partition("python3 files.py")[2], "polars"
    assert "demo:5\t2026-01-01\t1.50\t6" in output
    assert '{"models":[],"position":' in output
