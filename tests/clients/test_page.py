"""Open WebUI's own page in a browser, on a server that is cut off and killed: what is on the screen is what the log says."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.formats.page_json import INTERRUPTED
from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Peer, chunk, said, serving, whole
from tests.clients.programs import PYTHON_SCRIPTS, ROOT, clients_python
from tests.crash.conftest import StartServer, new_server, workers
from tests.crash.processes import ServerProcess

__all__ = ["new_server", "workers"]

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FRONT_END = ROOT / ".venv" / "front-end" / "frontend"
AWAY_S = 3.0  # the page waits from one to five seconds before it connects again
ENDS_S = 300.0
# Of the browser: a line that is cut, a server that is killed, a password that is wrong.
KNOWN_ERRORS = ("net::ERR_", "WebSocket connection to", "status of 40")
ASKS = r"""
class Action:
    actions = [{"id": "ask", "name": "Ask the page", "icon_url": "/static/favicon.png"}]

    async def action(self, body, __event_emitter__, __event_call__):
        data = {"title": "Your name?", "message": "It is written below the answer.", "placeholder": "a name"}
        name = await __event_call__({"type": "input", "data": data})
        code = "return 41 + document.querySelectorAll('#chat-input').length"
        number = await __event_call__({"type": "execute", "data": {"code": code}})
        await __event_emitter__({"type": "message", "data": {"content": f"\n\n{name} says {number}"}})
"""


OWN_ANSWER = "From a provider of her own."
OPEN = b"access-control-allow-origin: *\r\naccess-control-allow-headers: *\r\n\r\n"  # to pages of other origins


async def own_provider(peer: Peer) -> None:
    """What the page asks by itself: its models, and an answer whose lines the network cuts anywhere."""
    asked = await peer.asked()
    if asked.method == "OPTIONS":
        answer = [whole(b"")]
    elif asked.path.endswith("/models"):
        answer = [whole(b'{"data": [{"id": "tiny", "object": "model"}]}')]
    else:
        lines = b"".join(said(f"{word} ") for word in OWN_ANSWER.split()) + END
        answer = [SSE_HEAD, *(chunk(lines[at : at + 70]) for at in range(0, len(lines), 70)), LAST]
    for piece in answer:
        await peer.send(piece.replace(b"\r\n\r\n", b"\r\n" + OPEN, 1) if piece is answer[0] else piece)


def front_end() -> Path:
    """Skips the test where the page or the browser is not installed."""
    if not FRONT_END.exists():
        pytest.skip("the page is not installed: make front-end")
    return FRONT_END


def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


class Line:
    """The way from the browser to the server."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.url = ""

    async def cut(self) -> None:
        """All connections are lost, and for a while nobody gets a new one."""
        self.part()
        await asyncio.sleep(AWAY_S)
        self.join()

    def part(self) -> None:
        """All connections are lost, and nobody gets a new one."""
        self._is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def join(self) -> None:
        self._is_cut = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, up_writer}
        self._writers |= both
        ways = [asyncio.create_task(passed(reader, up_writer)), asyncio.create_task(passed(up_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for one in both:
                one.transport.abort()
            self._writers -= both


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def line_to(server: ServerProcess) -> AsyncIterator[Line]:
    line = Line(server)
    listening = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield line


async def used(script: str, line: Line, server: ServerProcess, folder: Path, **given: Any) -> Any:
    """What the person in front of the page has seen. When it says so, the line is cut or the server killed."""
    command = [str(clients_python()), str(PYTHON_SCRIPTS / script), json.dumps({"url": line.url, "token": "", **given})]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    pipe = asyncio.subprocess.PIPE
    with (folder / "said").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=errors, limit=2**24
        )
    assert process.stdin is not None and process.stdout is not None
    last = b""
    try:
        async with asyncio.timeout(ENDS_S):
            async for said in process.stdout:
                last = said
                match said.strip():
                    case b"cut":
                        await line.cut()
                    case b"part":
                        line.part()
                    case b"join":
                        line.join()
                    case b"kill":
                        server.kill()
                        await server.start()
                    case _:
                        continue
                process.stdin.write(said)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (folder / "said").read_text()[-6000:]
    return json.loads(last)


async def test_a_person_uses_the_page(new_server: StartServer, database: str, open_folder: Path, tmp_path: Path) -> None:
    server = await new_server(database, front_end=front_end(), listed="demo:10000").start()
    async with line_to(server) as line:
        seen = await used("with_page.py", line, server, tmp_path, chromium=chromium())
    print(seen["client"], seen["version"])
    followed, cut, others = seen["followed"], seen["cut"], seen["others"]

    assert [text for text in followed["shown"] if not followed["whole"].startswith(text)] == []
    assert followed["first"] >= followed["before"] > 0  # a reload shows at once what was there

    assert [text for text in cut["shown"] if not cut["whole"].startswith(text)] == []
    assert cut["interrupted"] == f"{cut['whole']} {INTERRUPTED['content']}"  # a killed server loses no word on the screen

    assert [text.replace("`", "") for text in others["stored"]] == others["on_screen"]
    assert [error for error in seen["errors"] if not any(known in error for known in KNOWN_ERRORS)] == []


async def test_two_people_use_the_page(new_server: StartServer, database: str, open_folder: Path, tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    shutil.copy(ROOT / "examples" / "functions" / "count_words.py", functions)
    (functions / "asks.py").write_text(ASKS)
    server = await new_server(database, front_end=front_end(), functions=functions).start()
    async with line_to(server) as line, serving(own_provider) as own:
        seen = await used("with_page_together.py", line, server, tmp_path, chromium=chromium(), direct=server.url, provider=own.url)
    channel, question = seen["channel"], seen["question"]
    assert question["after"] == f"{question['before']} ({len(question['before'].split())} words)"
    assert question["said"] == f"{question['after']} Ada says 42"
    assert question["on_screen"] == question["said"].replace("`", "")
    chores = seen["chores"]
    assert len(chores["edited"]) == len(chores["branches"]) == 1, "an edited first question is another beginning"
    assert "First question" in chores["first"]
    assert chores["shared"] == chores["edited"]
    assert chores["tags"] == ["weather"]
    assert seen["own"] == {"stored": OWN_ANSWER, "on_screen": OWN_ANSWER}
    assert seen["left"].split("?")[0].endswith("/auth")
    assert channel["screens"] == [channel["log"]] * 2
    assert channel["after_removal"] == channel["log"]
    assert [error for error in seen["errors"] if not any(known in error for known in KNOWN_ERRORS)] == []
