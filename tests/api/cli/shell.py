"""``steno`` as people run it: a process of its own, at a terminal or behind pipes."""

import asyncio
import json
import os
import pty
import re
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.forked import Done, Talking, steno_in_thread

T = TypeVar("T")
WAIT_S = 120  # ends a test that hangs, measures nothing
EMAIL, PASSWORD = "ann@example.org", "correct horse battery"


class Shell:
    """A person's terminal: one config folder, one server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STENO_", "DATABASE_URL"))}
        self.environ = {**kept, "XDG_CONFIG_HOME": str(folder), "TERM": "xterm", "COLUMNS": "80"}

    def start(self, *words: str) -> Talking:
        return Talking(*words, environ=self.environ)

    async def run(self, *words: str, stdin: str = "", at: str | None = None) -> Done:
        return await steno_in_thread(*words, *(() if at == "" else ("--url", at or self.url)), environ=self.environ, stdin=stdin.encode())

    @asynccontextmanager
    async def at_terminal(self, *words: str) -> AsyncIterator[tuple[Talking, "Terminal"]]:
        """Run the command at a terminal of its own. The end of the block kills it and closes the terminal, also after a failure."""
        master, slave = pty.openpty()
        process = Talking(*words, "--url", self.url, environ=self.environ, terminal=slave)
        os.close(slave)
        terminal = Terminal(master)
        try:
            yield process, terminal
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            terminal.close()

    async def sign_in(self) -> "Shell":
        done = await self.run("login", "--email", EMAIL, "--password", PASSWORD)
        assert done.code == 0, done.err
        return self

    async def answer(self, question: str, *words: str) -> str:
        done = await self.run("chat", "--model", "demo:30", question, *words)
        assert done.code == 0, done.err
        return done.out

    async def exported(self, *words: str) -> list[dict[str, Any]]:
        done = await self.run("export", "last", *words)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]


class Terminal:
    """A person at a terminal: what was typed and what is shown."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def close(self) -> None:
        os.close(self._descriptor)

    async def until(self, pattern: str) -> str:
        """Wait until ``pattern`` is shown after what was waited for before."""
        async with asyncio.timeout(WAIT_S):
            while (found := re.search(pattern, self.shown)) is None:
                await readable(self._descriptor)
                self.shown += os.read(self._descriptor, 65536).decode(errors="replace")
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before


async def readable(descriptor: int) -> None:
    """Wait until there is something to read, or the end. A thread that reads would keep the loop from ending where nothing more comes."""
    loop = asyncio.get_running_loop()
    found = loop.create_future()
    loop.add_reader(descriptor, lambda: found.done() or found.set_result(None))
    try:
        await found
    finally:
        loop.remove_reader(descriptor)


async def interrupt(process: Talking, until: Coroutine[Any, Any, T]) -> T:
    """Press Ctrl-C until ``until`` ends, and return its result. Raises ``TimeoutError`` after ``WAIT_S``.

    Python does not see a Ctrl-C that comes in the moment before it waits for a line, until the next key: a person presses again.
    """
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        waited_for = tasks.create_task(until)
        while not waited_for.done():
            process.send_signal(signal.SIGINT)
            await asyncio.wait([waited_for], timeout=2)
    return waited_for.result()
