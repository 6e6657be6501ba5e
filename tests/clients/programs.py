"""Programs that drive a client from its package, in the environment that has the package, and what they print."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 240  # nothing is measured by it: on a busy machine some libraries take half a minute to be imported
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
NODE_PACKAGES = ROOT / ".venv" / "node" / "node_modules"
PYTHON_SCRIPTS = HERE / "python"
NODE_SCRIPTS = HERE / "node"


def clients_python() -> Path:
    """The interpreter of the environment of clients. Skips the test where it is not installed, but fails it in CI."""
    if not PYTHON.exists() and "CI" not in os.environ:
        pytest.skip("the clients are not installed: make .venv/clients/installed")
    assert PYTHON.exists(), "make test installs the clients"
    return PYTHON


def node() -> str:
    """The Node of npm's package where there is one for this machine: Debian's may be too old for the clients."""
    if not NODE_PACKAGES.exists():
        pytest.skip("the clients for Node are not installed: make node")
    packaged = sorted(NODE_PACKAGES.glob("node-linux-*/bin/node"))
    found = str(packaged[0]) if packaged else shutil.which("node")
    assert found is not None
    return found


async def run_python(script: str, folder: Path, **given: Any) -> Any:
    """What ``python/SCRIPT`` printed in its last line, decoded. ``folder`` is its home: nothing is read from this machine's."""
    lines = await run([str(clients_python()), str(PYTHON_SCRIPTS / script), json.dumps(given)], folder)
    return json.loads(lines[-1])


async def run_node(script: str, folder: Path, *arguments: str) -> list[Any]:
    """The lines that ``node/SCRIPT`` prints, decoded. Node looks for packages beside the script, so both are put into ``folder``."""
    shutil.copy(NODE_SCRIPTS / script, folder)
    shutil.copy(NODE_SCRIPTS / "package.json", folder)
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(NODE_PACKAGES)
    return [json.loads(line) for line in await run([node(), script, *arguments], folder)]


async def run(command: Sequence[str], folder: Path) -> list[str]:
    """The lines that the command printed."""
    # Without network a client may look for newer versions or send what it measures, and wait for that: it is told not to.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "NO_COLOR": "1"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **quiet}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,  # some read it where it is no terminal
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{err.decode()}\n{out.decode()}"
    return out.decode().splitlines()
