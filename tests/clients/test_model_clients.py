"""Libraries that ask models through OpenAI's API, each from its package: whole, streamed, silent, with a tool, left, and refused.

Every library meets the same models (``provider.py``) and has to report the same; only the exceptions are its own.
"""

from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from tests.clients import provider
from tests.clients.programs import run_node, run_python
from tests.clients.provider import MODELS, RETRY_AFTER_S, USAGE, WORDS, server_with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WHOLE = "".join(WORDS)
# The class that each library raises for what happened, and the status that it carries.
RAISED: dict[str, dict[str, tuple[str, int | None]]] = {
    "with_langchain.py": {
        "wrong key": ("OpenAIAuthenticationError", 401),
        "unknown model": ("OpenAIModelNotFoundError", 404),
        "limited": ("OpenAIRateLimitError", 429),
        "limited stream": ("OpenAIRateLimitError", 429),
        "refused": ("OpenAIContextOverflowError", 400),
        "failed": ("OpenAIAPIError", 503),
        "broken stream": ("APIError", None),
    },
    "with_litellm.py": {
        "wrong key": ("AuthenticationError", 401),
        "unknown model": ("NotFoundError", 404),
        "limited": ("RateLimitError", 429),
        "limited stream": ("RateLimitError", 429),
        "refused": ("BadRequestError", 400),
        "failed": ("ServiceUnavailableError", 503),
        "broken stream": ("MidStreamFallbackError", 500),
    },
    "with_llm.py": {
        "wrong key": ("AuthenticationError", 401),
        "unknown model": ("NotFoundError", 404),
        "limited": ("RateLimitError", 429),
        "refused": ("BadRequestError", 400),
        "failed": ("InternalServerError", 503),
        "broken stream": ("APIError", None),
    },
    "with_pydantic_ai.py": {
        "wrong key": ("ModelAuthenticationError", 401),
        "unknown model": ("ModelNotFoundError", 404),
        "limited": ("ModelRateLimitError", 429),
        "limited stream": ("ModelRateLimitError", 429),
        "refused": ("ModelContextWindowExceededError", 400),
        "failed": ("ModelOverloadedError", 503),
        "broken stream": ("ModelServerError", 500),
    },
    "ai.js": {
        "wrong key": ("AI_APICallError", 401),
        "unknown model": ("AI_APICallError", 404),
        "limited": ("AI_APICallError", 429),
        "limited stream": ("AI_APICallError", 429),
        "refused": ("AI_APICallError", 400),
        "failed": ("AI_APICallError", 503),
        "broken stream": ("AI_StreamProviderError", None),
    },
}
HIDES_HEADERS = "with_pydantic_ai.py"


@pytest.mark.parametrize("script", RAISED)
async def test_a_library_asks_models(script: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.sse.PING_S", provider.PING_S)
    monkeypatch.setattr("api.completions.turns.PING_S", provider.PING_S)
    monkeypatch.setattr("adapters.providers.http.retries.RETRIES_MAX", 0)  # a stream whose ping comes before the refusal has begun
    async with server_with_models(settings) as server:
        user = await server.sign_up()
        if script.endswith(".js"):
            (seen,) = await run_node(script, tmp_path, server.url, user.token)
        else:
            seen = await run_python(script, tmp_path, url=server.url, token=user.token)
        print(seen["client"], seen["version"])
        assert set(seen.get("models", MODELS)) >= set(MODELS)
        assert (seen["whole"], seen["streamed"], seen["tokens"]) == (WHOLE, WORDS, USAGE["total_tokens"])
        assert seen["silent"] == "Hello again"
        assert seen["called"] == "It is where the key always is."
        assert seen.get("responses", {"whole": WHOLE, "streamed": WHOLE}) == {"whole": WHOLE, "streamed": WHOLE}
        assert_raised(script, seen["errors"])
        assert seen["left"] == WORDS[0]
        (task,) = (await user.get("/api/tasks")).json()["tasks"]  # who leaves a stream does not end the answer
        assert (await user.post(f"/api/tasks/stop/{task}")).status_code == 200
        if "command" in seen:
            assert_commands(seen["command"])


def assert_raised(script: str, errors: dict[str, dict[str, Any]]) -> None:
    assert {what: (error["type"], error.get("status")) for what, error in errors.items()} == RAISED[script]
    assert "Model not found: nobody/at:all" in errors["unknown model"]["text"]
    assert "context_length_exceeded" in errors["refused"]["text"]
    assert "broke off" in errors["broken stream"]["text"]
    if script != HIDES_HEADERS:
        limited = [error for what, error in errors.items() if what.startswith("limited")]
        assert {error["retry_after"] for error in limited} == {str(RETRY_AFTER_S)}


def assert_commands(commands: list[dict[str, Any]]) -> None:
    """Those of ``llm``: a question, one that continues its conversation, an unknown model, and what it kept."""
    asked, continued, unknown, kept = commands
    assert (asked["code"], asked["out"], continued["code"], continued["out"]) == (0, f"{WHOLE}\n", 0, f"{WHOLE}\n")
    assert (unknown["code"], unknown["err"]) == (1, "Error: Error code: 404 - Model not found: nobody/at:all\n")
    assert kept["out"].count("- model: words") == 2
