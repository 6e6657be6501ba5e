"""Makes ``docs/walkthrough.md``: a conversation with a real model that is cut three times, and its exact replay.

    .venv/bin/python docs/walkthrough.py --model-url http://127.0.0.1:9411/v1 --model NAME

``--model-url`` is any OpenAI-compatible server; without it the built-in ``demo`` answers. Everything else is started here, on
free ports and in a temporary folder: a server with its own Postgres, and a relay between it and the client whose connections
can be cut. What the page shows is what was seen; the checks at its end are made on the log.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from stenograph_client.client import ENDS, Begun, Client
from stenograph_client.connection import State
from stenograph_client.events import Event

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ACCOUNT = ("Ada", "ada@example.org", "correct horse battery")
QUESTIONS = (
    "Write a short story about a lighthouse keeper who writes down everything that the sea says.",
    "Who finds the notebook, years later? Tell it in a few sentences.",
    "Write the letter that she writes to him.",
)
CUT_AFTER_DELTAS = 4  # a small model may say little
ASKED_MAX = 5  # how often a question whose answer is over before the cut is followed by another
ANSWER_TOKENS_MAX = 48  # a small model on two cores is slow
READY_S = 60
SECOND_PART = "# Walkthrough, second part"  # docs/walkthrough_log.py makes it
LEASE_S = "3"


class Relay:
    """Bytes between the client and the server, until ``cut``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(one, other))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def cut(self) -> None:
        """Every connection at once, without a word."""
        for writer in list(self._writers):
            writer.transport.abort()


class Server:
    """``steno serve`` as a process of its own, on one data folder."""

    def __init__(self, folder: Path, model_url: str | None) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        models = {"STENO_OPENAI_BASE_URLS": model_url} if model_url else {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STENO_") and name != "DATABASE_URL"}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self.environment = {
            **kept,
            **models,
            "PYTHONPATH": path,
            "STENO_PORT": str(self.port),
            "STENO_DATA": str(folder),
            "STENO_LEASE_S": LEASE_S,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with (self._folder.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve"], env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        async with asyncio.timeout(READY_S), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"http://127.0.0.1:{self.port}/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=60)

    def kill_postgres(self) -> None:
        """The database's own process, not ours: it is started again by whoever needs it."""
        pid = int((self._folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)


class Story:
    """What the page tells, as it happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._open = False

    def say(self, text: str = "") -> None:
        self.end()
        self.lines.append(text)
        sys.stdout.write(text + "\n")

    def token(self, text: str) -> None:
        if not self._open:
            self.lines += ["", "> "]
            self._open = True
        self.lines[-1] += text.replace("\n", "\n> ")
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Something that happened in the middle of an answer."""
        was_open = self._open
        self.end()
        self.lines += ["", f"**{text}**"]
        sys.stdout.write(f"\n[{text}]\n")
        self._open = False
        if was_open:
            self.lines.append("")

    def end(self) -> None:
        if self._open:
            self.lines.append("")
            self._open = False


class Talk:
    """The conversation, and every event that its client saw."""

    def __init__(self, client: Client, story: Story, chat_id: str, model: str) -> None:
        self.client = client
        self.story = story
        self.chat_id = chat_id
        self.model = model
        self.seen: list[Event] = []

    @property
    def stream(self) -> str:
        return f"chat/{self.chat_id}"

    async def cut_short(self, question: str, cut: Any) -> Event:
        """Turns until an answer was long enough to be cut. Returns the event that ended that one."""
        done = False

        async def once(event: Event) -> None:
            nonlocal done
            done = True
            await cut(event)

        for asked in range(ASKED_MAX):
            end = await self.ask(question if asked == 0 else "Please go on, and tell me much more.", once)
            told_end(self.story, end)
            if done:
                return end
        raise AssertionError(f"none of {ASKED_MAX} answers had {CUT_AFTER_DELTAS} deltas")

    async def ask(self, question: str, cut: Any = None) -> Event:
        """One turn. ``cut`` is called once, after some tokens. Returns the event that ended the answer."""
        self.story.say(f"### {question}")
        user_message = {"content": question}
        begun = await self.client.complete(
            self.model, chat_id=self.chat_id, user_message=user_message, params={"seed": 7, "max_tokens": ANSWER_TOKENS_MAX}
        )
        return await self._listen(begun, cut)

    async def _listen(self, begun: Begun, cut: Any) -> Event:
        deltas = 0
        async for event in self.client.follow(self.stream, self.seen[-1].cursor if self.seen else "start"):
            self.seen.append(event)
            if event.message_id != begun.message_id:
                continue
            if event.type == "message_delta":
                deltas += 1
                self.story.token(event.data["text"])
                if cut is not None and deltas == CUT_AFTER_DELTAS:
                    await cut(event)
                    cut = None
            elif event.type in ENDS:
                self.story.end()
                return event
        raise AssertionError("a stream that is followed has no end")


async def walk(model_url: str | None, model: str) -> str:
    story = Story()
    folder = Path(tempfile.mkdtemp(prefix="steno-walk-"))
    folder.chmod(0o711)  # the embedded Postgres runs as another user when we are root
    server = Server(folder / "data", model_url)
    relay = Relay(server.port)
    try:
        await server.start()
        await relay.start()
        url = f"http://127.0.0.1:{relay.port}"
        async with Client(url, retry_s=60) as client:
            await client.sign_up(*ACCOUNT)
            client.on_state = lambda state: told(story, state)
            chat = await client.new_chat("The keeper's notebook")
            talk = Talk(client, story, chat["id"], model)
            await conversation(talk, server, relay)
            await check(client, talk, story)
            replay(server, client, talk, story)
    finally:
        await relay.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return page(story, model, model_url)


def told(story: Story, state: State) -> None:
    story.note("The client is connected again." if state.connected else f"The client has lost its connection ({state.reason}).")


async def conversation(talk: Talk, server: Server, relay: Relay) -> None:
    story = talk.story
    story.say("## The socket is cut")

    async def cut_socket(event: Event) -> None:
        story.note(f"The connection is cut after version {event.version}; the client will ask for what comes after `{event.cursor}`.")
        relay.cut()

    await talk.cut_short(QUESTIONS[0], cut_socket)

    story.say("## The server is killed")

    async def kill_server(event: Event) -> None:
        story.note(f"`kill -9` of the server after version {event.version}, and a new one on the same data.")
        server.kill()
        relay.cut()
        await server.start()

    end = await talk.cut_short(QUESTIONS[1], kill_server)
    if end.type == "interrupted":
        story.say("Nobody runs that answer any more, and the log says so, with the text so far. The same question again:")
        told_end(story, await talk.ask(QUESTIONS[1]))

    story.say("## Postgres is killed")

    async def kill_postgres(event: Event) -> None:
        story.note(f"`kill -9` of Postgres after version {event.version}. It is started again, and the answer goes on.")
        server.kill_postgres()

    await talk.cut_short(QUESTIONS[2], kill_postgres)


def told_end(story: Story, event: Event) -> None:
    match event.type:
        case "message_end":
            first_ms, total_ms = (event.data["timings"][name] for name in ("first_token_ms", "total_ms"))
            words = f"{event.data['deltas']} deltas, first token after {first_ms:.0f} ms, {total_ms:.0f} ms in all"
            story.say(f"*`message_end` at version {event.version}: {words}.*\n")
        case other:
            story.say(f"*`{other}` at version {event.version}.*\n")


async def check(client: Client, talk: Talk, story: Story) -> None:
    """What was seen against the log."""
    log = [event async for event in client.events(talk.stream)]
    assert [event.version for event in log] == list(range(1, len(log) + 1)), "the log has a hole"
    seen = [event.version for event in talk.seen]
    assert seen == list(range(1, seen[-1] + 1)), "the client missed or repeated an event"
    assert [(e.version, e.type, e.data) for e in talk.seen] == [(e.version, e.type, e.data) for e in log[: len(seen)]]
    answers = whole = 0
    for end in (event for event in log if event.type in ENDS):
        answers += 1
        text = "".join(e.data["text"] for e in log if e.type == "message_delta" and e.message_id == end.message_id)
        assert text == end.data["content"], "the deltas do not join to the answer"
        if end.type == "message_end":
            whole += 1
            assert hashlib.sha256(text.encode()).hexdigest() == end.data["sha256"]
    story.say("## What was checked\n")
    story.say(f"- The chat's stream has {len(log)} events, with versions 1 to {len(log)} and no hole.")
    story.say(
        f"- The client saw version 1 to {seen[-1]}, each once and in order, through all three cuts; what it saw is what the log holds."
    )
    story.say(f"- The deltas of each of {answers} answers join to the text in its end; the sha256 of the {whole} whole ones is right.\n")


def replay(server: Server, client: Client, talk: Talk, story: Story) -> None:
    command = ["replay", talk.chat_id, "--speed", "20", "--max-gap", "0.5"]
    address = ["--url", f"http://127.0.0.1:{server.port}", "--token", str(client.credentials.token)]
    shown = subprocess.run(
        [sys.executable, "-m", "api.cli", *command, *address], env=server.environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    story.say("## The replay\n")
    story.say(f"`steno {' '.join(command)}` plays the tokens at their original pace, twenty times as fast:\n")
    story.say(f"```text\n{shown.stdout.strip()}\n```")


def page(story: Story, model: str, model_url: str | None) -> str:
    where = "an OpenAI-compatible server on this machine" if model_url else "the built-in model"
    when = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    made = f"Made by `docs/walkthrough.py` on {when}, with the model `{model}` behind {where}."
    intro = (
        "A conversation that is cut three times: the client's socket, the server, and Postgres. Bold lines are what was done to it "
        "and what the client noticed; everything else is what the model said, token by token, as the client saw it."
    )
    return "\n".join(["# Walkthrough: a conversation that survives", "", intro, "", made, "", *story.lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make docs/walkthrough.md.")
    parser.add_argument("--model-url", help="an OpenAI-compatible server, such as http://127.0.0.1:9411/v1; default: the built-in model")
    parser.add_argument("--model", default="demo:80")
    parser.add_argument("--output", type=Path, default=HERE / "walkthrough.md")
    given = parser.parse_args()
    text = asyncio.run(walk(given.model_url, given.model))
    _, mark, second = given.output.read_text().partition(SECOND_PART) if given.output.exists() else ("", "", "")
    given.output.write_text(text + ("\n" + mark + second if mark else ""))
    json.dump({"written": str(given.output)}, sys.stdout)


if __name__ == "__main__":
    main()
