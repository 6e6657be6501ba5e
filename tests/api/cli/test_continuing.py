"""``steno chat`` goes on with an answer that was cut off: by Enter, by ``--continue``, and across a server that is stopped."""

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.settings import Settings
from tests.api.cli.shell import WAIT_S, Shell, Terminal, interrupt
from tests.api.conftest import Running, running
from tests.crash.processes import ROOT
from tests.forked import Talking, steno_in_thread

pytestmark = pytest.mark.anyio
ANSWER_TYPES = ("message_start", "message_end", "cancelled", "interrupted")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Settings(data=tmp_path / "data", drain_s=0.2)) as made:
        yield made


@pytest.fixture
async def shell(server: Running, tmp_path: Path) -> Shell:
    return await Shell(tmp_path / "config", server.url).sign_in()


async def stopped_answer(shell: Shell) -> str:
    """What an answer had said when its asker pressed Ctrl-C."""
    process = shell.start("chat", "--model", "demo:150", "Hello", "--url", shell.url)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        await process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        await process.communicate()
    (said,) = [event["data"]["content"] for event in await shell.exported() if event["type"] == "cancelled"]
    return str(said)


async def ends(shell: Shell) -> list[str]:
    return [event["type"] for event in await shell.exported() if event["type"] in ANSWER_TYPES]


async def test_an_answer_that_was_cut_off_is_shown_with_its_beginning_and_goes_on(shell: Shell) -> None:
    said = await stopped_answer(shell)
    done = await shell.run("chat", "--continue")
    assert done.code == 0, done.err
    assert done.out.startswith(said)
    events = await shell.exported()
    assert done.out == events[-1]["data"]["content"] + "\n"
    assert await ends(shell) == ["message_start", "cancelled", "message_start", "message_end"]
    again = await shell.run("chat", "--continue")
    assert (again.code, again.out, "nothing to continue" in again.err) == (1, "", True)
    assert await shell.exported() == events


async def test_enter_goes_on_without_saying_again_what_stands_there(shell: Shell) -> None:
    async with shell.at_terminal("chat", "--model", "demo:150") as (process, terminal):
        await terminal.until("/help")
        await terminal.until("> ")
        terminal.type("\n/continue\n")
        await terminal.until("no answer that was cut off")
        terminal.type("Hello\n")
        await terminal.until(r"Hello\r\n(\S+\s+){8}")  # the first few may be what sets the terminal
        process.send_signal(signal.SIGINT)
        await terminal.until("Enter continues it")
        await terminal.until("> ")
        terminal.type("\n")
        went_on = await terminal.until(r"(?s)(\S+\s+){20}.*> \S*$")  # the prompt behind the answer, and not the one before it
        terminal.type("/quit\n")
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
    events = await shell.exported()
    (cancelled,) = [event["data"]["content"] for event in events if event["type"] == "cancelled"]
    whole = [event["data"]["content"] for event in events if event["type"] == "message_end"][-1]
    assert whole.startswith(cancelled)
    assert words(whole[len(cancelled) :]) in words(went_on)
    assert words(whole) not in words(went_on)


def words(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", text).split())


@pytest.mark.parametrize("asked", ["E-mail: ", "Password: "])
async def test_ctrl_c_ends_a_prompt_at_once(server: Running, tmp_path: Path, asked: str) -> None:
    await server.sign_up()
    async with Shell(tmp_path / "another", server.url).at_terminal("login") as (process, terminal):
        await terminal.until("E-mail: ")
        if asked == "Password: ":
            terminal.type("ann@example.org\n")
            await terminal.until(asked)
        assert await interrupt(process, process.wait()) == 130, "Ctrl-C alone must end the prompt, without Enter"


class Folder:
    """A newcomer in a folder of their own, without any setting."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STENO_", "DATABASE_URL"))}
        self.environ = {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def start(self, *words: str) -> Talking:
        return Talking(*words, environ=self.environ, folder=self.folder)

    async def run(self, *words: str) -> tuple[int, str, str]:
        return await steno_in_thread(*words, environ=self.environ, folder=self.folder)

    async def serve(self) -> tuple[Talking, str]:
        """The server on any port, with data that no other command is told of, and the line that it prints."""
        self.environ["STENO_DRAIN_S"] = "0.5"
        process = self.start("serve", "--port", "0", "--data", "kept")
        return process, await line_of(process, "Stenograph is at")


async def line_of(process: Talking, begins: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while not (line := (await process.stdout.readline()).decode()).startswith(begins):
            assert line, "the server ended"
    return line


@pytest.mark.slow
async def test_a_folder_finds_its_server_and_an_answer_outlives_it(open_folder: Path) -> None:
    folder = open_folder / "newcomer"
    folder.mkdir(mode=0o711)
    here = Folder(folder)
    server, announced = await here.serve()
    try:
        assert announced.rstrip().endswith("Try: steno chat")
        code, _, err = await here.run("login", "--email", "ann@example.org", "--password", "correct horse battery")
        assert code == 0, err
        for words in (("whoami",), ("chats",), ("verify",), ("projections", "list")):
            code, _, err = await here.run(*words)
            assert code == 0, err
        chat = here.start("chat", "--continue", "--model", "demo:100", "Hello")
        assert chat.stdout is not None
        async with asyncio.timeout(WAIT_S):
            first = await chat.stdout.read(1)
        server.send_signal(signal.SIGINT)
        stopping = await line_of(server, "Stopping.")
        assert "1 answer has up to 0.5 s to finish" in stopping
        assert "Ctrl-C again ends at once" in stopping
        async with asyncio.timeout(WAIT_S):
            assert await server.wait() == 0
        assert (await here.run("whoami"))[0] == 1
        port = announced.split("http://localhost:")[1].split()[0]
        server = here.start("serve", "--port", port, "--data", "kept")
        async with asyncio.timeout(WAIT_S):
            out, noted = await chat.communicate()
        assert chat.returncode == 0, noted.decode()
        assert "continuing" in noted.decode()
        code, exported, err = await here.run("export", "last", "--format", "jsonl")
        assert code == 0, err
        assert [kind for kind in re.findall(r'"type":"(\w+)"', exported) if kind in ANSWER_TYPES] == [
            "message_start",
            "interrupted",
            "message_start",
            "message_end",
        ]
        assert (first + out).decode().count("\n") >= 1
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
            await server.wait()


@pytest.mark.slow
async def test_a_server_whose_terminal_is_closed_ends_in_good_order(open_folder: Path) -> None:
    folder = open_folder / "closed-terminal"
    folder.mkdir(mode=0o711)
    master, slave = pty.openpty()
    command = (sys.executable, "-m", "api.cli", "serve", "--port", "0", "--data", "kept")  # not forked: it is about the end of a Python
    pipes = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
    server = await asyncio.create_subprocess_exec(*command, cwd=folder, env=Folder(folder).environ, **pipes)
    os.close(slave)
    terminal = Terminal(master)
    await terminal.until("Stenograph is at")
    terminal.close()  # what it writes from here on fails
    server.send_signal(signal.SIGHUP)
    async with asyncio.timeout(WAIT_S):
        assert await server.wait() == 0


@pytest.mark.slow
async def test_a_login_outlives_the_port_of_its_server(open_folder: Path) -> None:
    folder = open_folder / "another-port"
    folder.mkdir(mode=0o711)
    here = Folder(folder)
    urls: set[str] = set()
    for attempt in range(2):
        server, announced = await here.serve()
        try:
            urls.add(announced)
            if attempt == 0:
                assert (await here.run("login", "--email", "ann@example.org", "--password", "correct horse battery"))[0] == 0
            code, _, err = await here.run("whoami")
            assert code == 0, err
        finally:
            server.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                await server.wait()
