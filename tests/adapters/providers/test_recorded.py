"""Streams in the shapes in which servers send them, shortened, in ``recorded/``."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.providers.ollama.ollama_answer import OllamaReader
from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Skipped
from tests.adapters.providers.test_conversion import read, summary

FOLDER = Path(__file__).parent / "recorded"


class Recorded(NamedTuple):
    """What a recording says."""

    text: str
    reasoning: str
    calls: dict[int, Any]
    reason: str
    tokens: tuple[int, int]  # read, written


OPENAI = {
    "openai": Recorded("Hi", "", {}, "stop", (9, 2)),
    "openai-two-tools": Recorded("", "", {0: ("look", {"at": 1}), 1: ("wait", {})}, "tool_calls", (0, 0)),
    "azure": Recorded("Hi", "", {}, "stop", (9, 2)),
    "openrouter": Recorded("Hi", "Let me see", {}, "stop", (9, 20)),
    "vllm": Recorded("Hi", "Hm", {}, "length", (9, 3)),
    "llama.cpp": Recorded("Hi", "", {}, "stop", (9, 2)),
    "mistral": Recorded("Hi", "Hm", {}, "stop", (9, 4)),
    "gemini-tool": Recorded("", "", {0: ("look", {"at": 1})}, "stop", (9, 4)),
    "whole": Recorded("Hi", "Hm", {}, "stop", (9, 2)),
}
OLLAMA = {
    "ollama-text": Recorded("Hi!", "", {}, "stop", (26, 282)),
    "ollama-thinking-and-tool": Recorded("", "We need the time", {0: ("look", {"at": 1})}, "tool_calls", (130, 40)),
    "ollama-whole-cut-off": Recorded("Half", "", {}, "length", (5, 1)),
}


def check(reader: OpenAIReader | OllamaReader, name: str, recorded: Recorded, size: int) -> None:
    body = (FOLDER / name).read_bytes()
    parts = read(reader, body, range(0, len(body), size))
    heard = summary(parts)
    assert "".join(text for kind, text in heard["flow"] if kind == "Text") == recorded.text
    assert "".join(text for kind, text in heard["flow"] if kind == "Reasoning") == recorded.reasoning
    assert heard["calls"] == recorded.calls
    assert heard["end"].reason == recorded.reason
    assert (heard["usage"].get("input_tokens", 0), heard["usage"].get("output_tokens", 0)) == recorded.tokens
    assert not [part for part in parts if isinstance(part, Skipped)]


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("name", OPENAI)
def test_a_stream_of_an_openai_compatible_server_is_understood(name: str, size: int) -> None:
    check(OpenAIReader(), f"{name}.sse", OPENAI[name], size)


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("name", OLLAMA)
def test_a_stream_of_ollama_is_understood(name: str, size: int) -> None:
    check(OllamaReader(), f"{name}.ndjson", OLLAMA[name], size)
