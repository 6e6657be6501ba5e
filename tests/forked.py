"""``steno`` and servers as processes of their own, without the second of a core that Python takes to load them.

A process that has loaded everything forks for each. The child gets its own arguments, environment, folder and files, and begins where
``python -m api.cli`` would: what it shares with the others is loaded modules and, where it is a server, its routes. All of ``tests/docs``
starts ``steno`` as people do, and so do the tests of how a process ends with its terminal and of the built wheel.
"""

import array
import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from api.app import Routes

ROOT = Path(__file__).parents[1]
WAIT_S = 120  # ends a command that hangs, measures nothing
FRAME_BYTES = 4
POLL_S = 0.01


class Done(NamedTuple):
    code: int
    out: str
    err: str  # empty where it went with ``out``


class Forked:
    """One child, with as much of ``subprocess.Popen`` as the tests need."""

    def __init__(self, request: dict[str, Any], files: Sequence[int]) -> None:
        """``files``: the child's input, output and errors. ``request``: ``words`` for ``steno``, or the ``code`` to run instead."""
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(WAIT_S)
        self._connection.connect(_address())
        data = json.dumps(request).encode()
        socket.send_fds(self._connection, [len(data).to_bytes(FRAME_BYTES)], list(files))
        self._connection.sendall(data)
        self.pid = self._said()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """The exit code, below zero for a signal. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout_s)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s)
            self.returncode = self._said()
            self._connection.close()
        return self.returncode

    async def ended(self) -> int:
        """As ``wait``, without a bound."""
        while self.poll() is None:  # noqa: ASYNC110  # others may ask as well, and only one of them reads what is said of the end
            await asyncio.sleep(POLL_S)
        return self.wait()

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _said(self) -> int:
        said = self._connection.recv(FRAME_BYTES)
        assert said, "the process that forks has ended"
        return int.from_bytes(said, signed=True)


def steno(
    *words: str, environ: Mapping[str, str], folder: Path = ROOT, stdin: bytes = b"", together: bool = False, timeout_s: float = WAIT_S
) -> Done:
    """Runs ``steno`` to its end. With ``together`` both outputs are one. Raises ``subprocess.TimeoutExpired``: it was killed."""
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        reading, writing = os.pipe()
        fill = threading.Thread(target=_fill, args=(writing, stdin), daemon=True)
        fill.start()
        files = reading, out.fileno(), (out if together else err).fileno()
        process = Forked({"words": words, "environ": dict(environ), "folder": str(folder)}, files)
        os.close(reading)
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        fill.join(timeout_s)
        for file in (out, err):
            file.seek(0)
        return Done(code, out.read().decode(), err.read().decode())


async def steno_in_thread(*words: str, **given: Any) -> Done:
    return await asyncio.to_thread(steno, *words, **given)


class Talking:
    """``steno`` while it runs, with as much of ``asyncio.subprocess.Process`` as the tests need. Nothing is typed but at a terminal."""

    def __init__(self, *words: str, environ: Mapping[str, str], folder: Path = ROOT, terminal: int | None = None) -> None:
        """``terminal``: the descriptor that is its input, output and errors."""
        self._input, self.stdout, self.stderr, self._outputs = -1, None, None, []
        request = {"words": words, "environ": dict(environ), "folder": str(folder)}
        if terminal is not None:
            self._process = Forked(request, (terminal, terminal, terminal))
            return
        (stdin, self._input), (out, stdout), (err, stderr) = (os.pipe() for _ in range(3))
        self.stdout, self.stderr, loop = asyncio.StreamReader(), asyncio.StreamReader(), asyncio.get_running_loop()
        for reader, output in ((self.stdout, out), (self.stderr, err)):
            pipe = open(output, "rb", 0)  # noqa: SIM115  # its transport closes it
            self._outputs.append(loop.create_task(loop.connect_read_pipe(functools.partial(asyncio.StreamReaderProtocol, reader), pipe)))
        try:
            self._process = Forked(request, (stdin, stdout, stderr))
        finally:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)

    def __del__(self) -> None:
        self._end_input()

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        """The exit code. What has not been read until then is lost."""
        code = await self._process.ended()
        for transport, _ in await asyncio.gather(*self._outputs):
            transport.close()
        return code

    async def communicate(self) -> tuple[bytes, bytes]:
        """All that it says from now on. Its input ends at once."""
        assert self.stdout is not None and self.stderr is not None
        self._end_input()
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def _end_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1


def _fill(pipe: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as file:
        file.write(data)


@functools.cache
def _address() -> str:
    """Of the process that forks, which is started once for each process of the tests and ends with it."""
    folder = tempfile.mkdtemp(prefix="steno-forks-", dir="/tmp")  # short enough for a socket's name
    address = f"{folder}/socket"
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", address], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n", "the process that forks did not start"
    atexit.register(_end, holder, folder)
    return address


def _end(holder: "subprocess.Popen[bytes]", folder: str) -> None:
    try:
        holder.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        holder.kill()
    shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------ the process that forks


def load_everything() -> None:
    import api.cli

    for found in pkgutil.walk_packages(api.cli.__path__, "api.cli."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in (
        *("uvloop", "rich.console", "rich.table", "rich.progress", "stenograph_client", "api.process.serve", "adapters.projector.compare"),
        *("adapters.projector.rebuild", "adapters.postgres.log.verify", "adapters.postgres.transfer.bulk_log", "adapters.files.json_items"),
        *("httpcore", "anyio._backends._asyncio", "certifi"),  # what httpx imports at the first client and the first request
    ):
        importlib.import_module(name)


def make_routes() -> None:
    """For all servers with the usual settings: making their routes would be nine tenths of the start of each. Others make their own."""
    from api.process import serve
    from api.settings import Settings

    make, usual = serve.routes_of, Settings()
    made = make(usual)

    def routes_of(settings: Settings) -> "Routes":
        alike = (settings.allowed_origins, settings.docs_public) == (usual.allowed_origins, usual.docs_public)
        return made if alike else make(settings)

    serve.routes_of = routes_of


def wait_for_command(address: str) -> dict[str, Any]:
    """Forks for each command, until its own input ends. In the child it returns what is asked, with the files in their places."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    children: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells of their ends: their ids, and who waits
    askers: dict[socket.socket, int] = {}  # by who waits: the descriptor
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:  # the tests have ended, or were killed
                for pid, _ in children.values():
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            elif key.fileobj is listening:
                connection, _ = listening.accept()
                request, files = received(connection)
                pid = os.fork()
                if pid == 0:
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                    for one in (selector, listening, connection, *askers):
                        one.close()
                    for file in (*files, *children):
                        os.close(file)
                    return request
                for file in files:
                    os.close(file)
                ended = os.pidfd_open(pid)
                with contextlib.suppress(OSError):
                    connection.sendall(pid.to_bytes(FRAME_BYTES, signed=True))
                children[ended], askers[connection] = (pid, connection), ended
                selector.register(ended, selectors.EVENT_READ)
                selector.register(connection, selectors.EVENT_READ)
            elif key.fileobj in children:
                ended = key.fd
                pid, connection = children.pop(ended)
                _, status = os.waitpid(pid, 0)
                selector.unregister(ended)
                os.close(ended)
                if connection in askers:
                    del askers[connection]
                    selector.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(FRAME_BYTES, signed=True))
                connection.close()
            elif key.fileobj in askers:  # gone: nobody waits for this child any more
                ended = askers.pop(key.fileobj)  # type: ignore[call-overload]
                selector.unregister(key.fileobj)
                os.kill(children[ended][0], signal.SIGKILL)


def received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, ancillary, _, _ = connection.recvmsg(FRAME_BYTES, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    size, body = int.from_bytes(head), b""
    while len(body) < size:
        body += connection.recv(size - len(body))
    return json.loads(body), list(files)


def begin(request: dict[str, Any]) -> None:
    """Make the child what a process of its own would be at its start."""
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.argv = ["steno", *request.get("words", ())]


def end_at_once(code: object) -> NoReturn:
    """As Python ends a process, but for taking everything in it apart, which would copy every page that is shared with the parent."""
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are not daemons
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            file.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    gc.disable()  # of what is loaded nothing is garbage
    load_everything()
    make_routes()
    gc.enable()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that it visits
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    asked = wait_for_command(sys.argv[1])
    begin(asked)
    try:
        if "code" in asked:
            exec(asked["code"], {"__name__": "__main__"})
        else:
            runpy.run_module("api.cli", run_name="__main__", alter_sys=False)
    except SystemExit as ended:
        end_at_once(ended.code)
    end_at_once(0)
