"""``steno import``: as a process of its own, on a real database."""

import asyncio
import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from commands.channels.importing.imported import ImportIds
from commands.ports import AppendRequest, Claim, StreamAppend
from commands.transfer.open_webui import SOURCE
from domain.accounts.user.facts import UserCreated
from domain.chat.whole_chat import imported_id
from domain.log.event import Event
from domain.log.stream import channel_stream, chat_stream, user_stream
from tests import forked
from tests.commands.channels.test_importing import EXPORT, LINES
from tests.commands.transfer.test_foreign import CHATGPT, CLAUDE, LIBRECHAT
from tests.commands.transfer.test_open_webui import row
from tests.domain.histories import OWNER, READER
from tests.stores import blobs_of

ROOT = Path(__file__).parents[4]

Steno = Callable[..., tuple[int, str]]


def ask(database: str, question: Callable[[PostgresLog], Any]) -> Any:
    async def asked() -> Any:
        log = postgres_log(database, lambda _: None)
        await log.start()
        try:
            return await question(log)
        finally:
            await log.close()

    return asyncio.run(asked())


@pytest.fixture
def steno(database: str, tmp_path: Path) -> Steno:
    """Runs it as a process of its own; its exit code, and all it says."""
    environment = {**os.environ, "DATABASE_URL": database, "STENO_DATA": str(tmp_path), "COLUMNS": "200"}
    sign_up(database, OWNER, "me@example.org")

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        done = forked.steno("import", *arguments, environ=environment, stdin=stdin, together=True)
        return done.code, done.out

    return run


def sign_up(database: str, user_id: UUID, email: str) -> None:
    stream = user_stream(user_id)
    request = AppendRequest(
        [StreamAppend(stream, [Event(None, UserCreated("Me", email, "user"))], 0)], claims=[Claim("email", email, stream)]
    )
    ask(database, lambda log: log.append(request))


def exported(tmp_path: Path, *rows: Any) -> str:
    file = tmp_path / "export.json"
    file.write_text(json.dumps(rows))
    return str(file)


def numbered(number: int) -> dict[str, Any]:
    return {**row(), "id": f"c{number}", "title": f"Chat {number}"}


def zipped(**files: Any) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("export/chat.html", "<html>")
        for name, rows in files.items():
            made.writestr(f"export/{name}.json", json.dumps(rows))
    return archive.getvalue()


def head(database: str) -> Any:
    return ask(database, lambda log: log.head())


def test_an_export_is_imported_and_a_second_time_nothing_is(steno: Steno, database: str, tmp_path: Path) -> None:
    file = exported(tmp_path, *map(numbered, range(30)))
    code, said = steno(file)
    assert (code, said) == (0, "30 chats imported (270 events), 0 were there already, 0 refused.\n")
    chat = ask(database, lambda log: PostgresChatQueries(log.reader).chat(imported_id(OWNER, SOURCE, "c7")))
    assert (chat.title, chat.messages_count, chat.listed, chat.tags) == ("Chat 7", 3, True, ["one_tag", "inner"])
    assert int(chat.updated_at.timestamp()) == 1_600_000_100
    before = head(database)
    assert steno(file) == (0, "0 chats imported (0 events), 30 were there already, 0 refused.\n")
    assert head(database) == before


def test_what_is_broken_is_named_and_the_rest_is_imported(steno: Steno, tmp_path: Path) -> None:
    bad = numbered(1)
    bad["chat"]["history"]["messages"]["x"] = {"id": "x", "parentId": "nobody", "role": "user", "content": "x"}
    code, said = steno(exported(tmp_path, numbered(0), bad, 7, numbered(2), numbered(2)))
    assert code == 1
    assert "chat 'Chat 1' (c1): history.messages.x.parentId: there is no such message in this chat\n" in said
    assert "chat number 3, at byte " in said
    assert "another chat of this import has the same id" in said
    assert "2 chats imported" in said
    assert "3 refused" in said


def test_half_a_file_leaves_what_is_whole_and_says_where_it_ends(steno: Steno, tmp_path: Path) -> None:
    text = json.dumps([numbered(0), numbered(1), numbered(2)])
    half = tmp_path / "half.json"
    half.write_text(text[: int(len(text) * 0.8)])
    code, said = steno(str(half))
    assert code == 1
    assert "2 chats imported" in said
    assert "the file ends in the middle of an item, at byte" in said


def test_one_chat_alone_and_a_pipe_are_taken(steno: Steno) -> None:
    assert "1 chat imported" in steno("-", stdin=json.dumps(numbered(0)).encode())[1]


def test_chitchat_is_known_by_its_looks_and_its_answers_can_be_streamed(steno: Steno, database: str, tmp_path: Path) -> None:
    said = {"text": "one two", "timestamp": "2018-05-02T19:38:09Z"}
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"x": {"messages": [[{**said, "sender": "a"}], [{**said, "sender": "b"}]]}}))
    assert "1 chat imported (8 events)" in steno(str(file), "--stream-answers")[1]
    types = [stored.type for stored in ask(database, lambda log: log.read_log(after=1, limit=100))]
    assert types[2:7] == ["message_start", "content_block", "message_delta", "message_delta", "message_end"]


def test_whose_chats_they_become_must_be_known(steno: Steno, database: str, tmp_path: Path) -> None:
    file = exported(tmp_path, numbered(0))
    assert "no account nobody@example.org" in steno(file, "--user", "nobody@example.org")[1]
    sign_up(database, READER, "other@example.org")
    assert "There are 2 accounts" in steno(file)[1]
    assert "1 chat imported" in steno(file, "--user", "Other@example.org")[1]
    assert "1 chat imported" in steno(file, "--user", "me@example.org")[1]


def test_a_message_of_thirty_megabytes_is_kept_whole(steno: Steno, database: str, tmp_path: Path) -> None:
    large = numbered(0)
    large["chat"]["history"]["messages"]["a"]["content"] = "word " * 6_000_000
    assert "2 chats imported" in steno(exported(tmp_path, large, numbered(1)))[1]
    chat_id = imported_id(OWNER, SOURCE, "c0")
    chat = ask(database, lambda log: PostgresChatQueries(log.reader).chat(chat_id))
    [content] = [message["content"] for message in chat.messages.values() if message.get("client_id") == "a"]
    assert content["size_bytes"] == 30_000_000
    assert len(ask(database, lambda log: blobs_of(log).get(chat_stream(chat_id), content["blob"]))) == 30_000_000


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), ("hello", "no chat export"), ("[", "ends before it is complete")])
def test_a_file_of_something_else_is_refused(steno: Steno, tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    code, said = steno(str(file))
    assert (code, reason in said) == (1, True), said


def test_an_archive_is_read_for_the_conversations_in_it(steno: Steno, database: str, tmp_path: Path) -> None:
    """Files, several of them, beside others that are no chats; from a file and from a pipe."""
    archive = zipped(**{"conversations-000": [CHATGPT], "conversations-001": [CLAUDE], "users": [{"uuid": "u"}]})
    file = tmp_path / "export.zip"
    file.write_bytes(archive)
    assert steno(str(file))[1].startswith("2 chats imported")
    before = head(database)
    assert steno("-", stdin=archive)[1].startswith("0 chats imported (0 events), 2 were there already")
    assert steno("-", stdin=gzip.compress(json.dumps({"chats": [row(), LIBRECHAT]}).encode()))[1].startswith("2 chats imported")
    assert head(database) > before


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zipped(conversations=[CHATGPT])[:-30], "archive is damaged"),
        (zipped(), "no JSON file"),
        (gzip.compress(json.dumps([row()] * 50).encode())[:-20], "archive is damaged"),
        (b"\x1f\x8bx", "archive is damaged"),
    ],
    ids=["zip cut short", "zip without", "gzip cut short", "no gzip"],
)
def test_a_broken_archive_is_told_so_in_a_line(steno: Steno, archive: bytes, said: str) -> None:
    code, output = steno("-", stdin=archive)
    assert (code != 0, said in output, "Traceback" in output) == (True, True, False), output


# ---------------------------------------------------------------------------------------------------------------- channels


def archive_of(path: Path, files: dict[str, Any]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content))
    return str(path)


def test_slacks_zip_file_is_known_by_its_content_and_becomes_channels(steno: Steno, database: str, tmp_path: Path) -> None:
    files = {**EXPORT, "general/1970-01-03.json": ["no object"]}
    code, said = steno(archive_of(tmp_path / "slack.zip", files))
    assert (code, "1 channels and 4 messages imported" in said, "general/1970-01-03.json, number 1" in said) == (1, True, True), said
    code, said = steno(archive_of(tmp_path / "slack.zip", EXPORT))
    assert (code, "4 messages were there already" in said) == (0, True), said
    channel_id = ImportIds(OWNER, "slack").channel("C1")

    async def times(log: PostgresLog) -> Any:
        return await log.original_times(channel_stream(channel_id), after=0, until=1)

    assert ask(database, times)[1].timestamp() == 1_000


def test_mattermosts_lines_are_known_by_their_content(steno: Steno, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in LINES))
    code, said = steno(str(file))
    assert (code, "3 channels and 3 messages imported" in said) == (1, True), said


def test_the_data_set_becomes_one_channel_where_that_is_asked_for(steno: Steno, tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"c": {"messages": [[{"text": "hi", "sender": "a", "timestamp": "2018-03-20T21:28:01Z"}]]}}))
    code, said = steno(str(file), "--channel", "Small talk")
    assert (code, "1 channels and 1 messages imported" in said) == (0, True), said
    assert steno(archive_of(tmp_path / "slack.zip", EXPORT), "--channel", "x")[0] != 0
