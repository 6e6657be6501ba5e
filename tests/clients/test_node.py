"""OpenAI's and Anthropic's clients for Node, from npm, on a real server. Skipped where their packages are not installed."""

from pathlib import Path

import pytest

from tests.api.conftest import Running
from tests.clients.programs import run_node

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.mark.parametrize("cut_after", [1, 7])
async def test_openai_takes_up_a_response_that_was_cut(tmp_path: Path, server: Running, cut_after: int) -> None:
    user = await server.sign_up()
    *events, whole = await run_node("openai_responses.js", tmp_path, server.url, user.token, "demo:30", str(cut_after))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert len(text.split()) == 30
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert whole["output_text"] == text


async def test_anthropic_reads_a_message_with_a_tool(tmp_path: Path, server: Running) -> None:
    user = await server.sign_up()
    message, error = await run_node("anthropic_messages.js", tmp_path, server.url, user.token, "demo:tools")
    assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
    assert message["content"][1]["input"] == {"query": "Where is it?"}
    assert message["stop_reason"] == "tool_use"
    assert error == {"name": "NotFoundError", "status": 404, "type": "not_found_error"}
