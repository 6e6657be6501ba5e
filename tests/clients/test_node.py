"""OpenAI's and Anthropic's clients for Node, from npm, on a real server. Skipped where there is no Node, or no way to the packages."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import WAIT_S, Running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SCRIPTS = Path(__file__).parent / "node"
INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--package-lock=false", "--prefer-offline")
INSTALL_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts with their packages beside them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node")
    folder = tmp_path_factory.mktemp("node")
    for file in SCRIPTS.iterdir():
        shutil.copy(file, folder)
    try:
        subprocess.run(INSTALL, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("needs npm's registry")
    return folder


async def run(folder: Path, script: str, *arguments: str) -> list[Any]:
    """The lines that the script prints, decoded."""
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("cut_after", [1, 7])
async def test_openai_takes_up_a_response_that_was_cut(node: Path, server: Running, cut_after: int) -> None:
    user = await server.sign_up()
    *events, whole = await run(node, "openai_responses.js", server.url, user.token, "demo:30", str(cut_after))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert len(text.split()) == 30
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert whole["output_text"] == text


async def test_anthropic_reads_a_message_with_a_tool(node: Path, server: Running) -> None:
    user = await server.sign_up()
    message, error = await run(node, "anthropic_messages.js", server.url, user.token, "demo:tools")
    assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
    assert message["content"][1]["input"] == {"query": "Where is it?"}
    assert message["stop_reason"] == "tool_use"
    assert error == {"name": "NotFoundError", "status": 404, "type": "not_found_error"}
