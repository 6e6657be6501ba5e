"""The built wheel, installed into an empty environment, serves without the checkout."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEELS = Path(sys.prefix) / "wheels"  # `make` downloads them; without it they come from where pip gets them
SERVE_TXT = ROOT / "requirements" / "serve.txt"
WAIT_S = 300  # nothing is measured by it: it only ends a test that hangs
ASK = """
import asyncio, sys
import stenograph_client
from stenograph_client import Client

async def main():
    async with Client(sys.argv[1]) as client:
        await client.sign_up("Ada", "ada@example.org", "correct horse battery")
        begun = await client.complete("demo:20", [{"role": "user", "content": "Hello"}])
        seen = [event async for event in client.answer(begun)]
        assert "".join(event.data["text"] for event in seen if event.type == "message_delta") == seen[-1].data["content"]
        print(stenograph_client.__file__, seen[-1].type, sep="\\n")

asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(one) for one in command], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    """Of a person who has only installed it: nothing of this checkout, no settings, no database."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("STENO_", "PYTHON")) and name != "DATABASE_URL"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("stenograph-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    into = [*pip, "--python", folder / "env" / "bin" / "python", "install"]
    source = ["--no-index", "--find-links", WHEELS] if WHEELS.is_dir() else []
    run(*into, *source, "--no-compile", "--require-hashes", "--requirement", SERVE_TXT, cwd=folder)
    run(*into, "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "env" / "bin"


@contextmanager
def served(programs: Path, data: Path) -> Iterator[str]:
    """The address of ``steno serve`` in another folder. It has ended in good order at the end."""
    command = [str(programs / "steno"), "serve", "--port", "0", "--data", str(data)]
    server = subprocess.Popen(command, cwd=data, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    hangs = threading.Timer(WAIT_S, server.kill)
    hangs.start()
    assert server.stdout is not None
    drain = threading.Thread(target=server.stdout.read)  # so that the server never waits for a reader of its log
    try:
        printed = []
        for line in server.stdout:
            printed.append(line)
            address = re.match(r"Stenograph is at (http://localhost:\d+) ", line)
            if address:
                break
        else:
            pytest.fail("it does not serve: " + "".join(printed))
        drain.start()
        yield address[1]
    finally:
        os.kill(server.pid, signal.SIGTERM)
        code = server.wait(WAIT_S)
        hangs.cancel()
        if drain.ident is not None:
            drain.join(WAIT_S)
        server.stdout.close()
    assert code == 0


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_serves(installed: Path, open_folder: Path) -> None:
    data = open_folder / "wheel"
    data.mkdir()
    python = installed / "python"
    with served(installed, data) as url:
        assert httpx.get(f"{url}/ready", timeout=WAIT_S, trust_env=False).json()["ready"] is True
        assert httpx.get(f"{url}/docs/assets/swagger-ui.css", timeout=WAIT_S, trust_env=False).status_code == 200
        module, end = run(python, "-c", ASK, url, cwd=data).splitlines()
    assert Path(module).is_relative_to(installed.parent)
    assert end == "message_end"
