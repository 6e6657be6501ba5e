"""Clients that others wrote for Open WebUI's API: each turn is stored once, without a branch, and lists hold what was just written."""

from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from tests.api.conftest import Running, User
from tests.clients import provider
from tests.clients.programs import run_python
from tests.clients.provider import MODELS, RETRY_AFTER_S, WORDS, server_with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WHOLE = "".join(WORDS)


async def somebody(server: Running) -> User:
    """Not the admin, who may read a deleted chat."""
    await server.sign_up("Root")
    return await server.sign_up()


async def branch_of(user: User, chat_id: str) -> list[tuple[str, str]]:
    """Role and content of all messages, which must be one branch that ends in the current message."""
    history = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]
    messages: dict[str, dict[str, Any]] = history["messages"]
    (root,) = [message for message in messages.values() if message["parentId"] is None]
    branch = [root]
    while branch[-1]["childrenIds"]:
        (child,) = branch[-1]["childrenIds"]
        assert messages[child]["parentId"] == branch[-1]["id"]
        branch.append(messages[child])
    assert len(branch) == len(messages)
    assert history["currentId"] in messages
    return [(message["role"], message["content"]) for message in branch]


def turns(*questions: str) -> list[tuple[str, str]]:
    return [turn for question in questions for turn in (("user", question), ("assistant", WHOLE))]


async def test_openwebui_chat_client(settings: Settings, tmp_path: Path) -> None:
    async with server_with_models(settings) as server:
        user = await somebody(server)
        seen = await run_python("with_openwebui_chat_client.py", tmp_path, url=server.url, token=user.token, flow="everything")
        print(seen["client"], seen["version"])
        assert set(seen["models"]) >= set(MODELS)

        # It finds its chat again by the title, right after it was made.
        assert {turn["chat_id"] for turn in seen["turns"]} == {(chat_id := seen["turns"][0]["chat_id"])}
        assert {turn["response"] for turn in seen["turns"]} == {WHOLE}
        assert await branch_of(user, chat_id) == turns("What is it?", "And then?", "A third?")
        assert {tag["name"] for tag in (await user.get(f"/api/v1/chats/{chat_id}/tags")).json()} == {"Good", "new tag"}
        assert (seen["in_folder"], seen["renamed"], seen["found"]) == ([chat_id], True, chat_id)
        assert seen["switched"] == [True, ["demo:5"]]

        # Two models side by side are two answers to one question.
        both = (await user.get(f"/api/v1/chats/{seen['parallel_id']}")).json()["chat"]["history"]["messages"]
        (question,) = [message for message in both.values() if message["role"] == "user"]
        assert (len(both), question["childrenIds"]) == (3, seen["parallel"]["message_ids"])

        # A stream fills messages that the client made before. What is left of them stays behind the answer.
        assert [one["pieces"] for one in seen["streamed"]] == [WORDS, WORDS]
        branch = await branch_of(user, seen["streamed"][0]["chat_id"])
        assert branch[:4] == turns("Streamed?", "Again?")
        assert {content for _, content in branch[4:]} <= {"PLACEHOLDER_USER_MESSAGE", ""}

        *answers, chats = seen["asynchronous"]
        assert await branch_of(user, answers[0]["chat_id"]) == turns("One?", "Two?")
        assert chats == 3  # besides the one in a folder
        assert (seen["archived"], sorted(seen["listed"])) == (True, ["Not waiting", "Side by side", "Streamed"])
        assert seen["refused"] == [None, None, None]  # its way to say so

        cleaned = await run_python("with_openwebui_chat_client.py", tmp_path, url=server.url, token=user.token, flow="clean")
        assert (cleaned["deleted"], cleaned["left"]) == (True, [])


async def test_openwebui_sdk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.sse.PING_S", provider.PING_S)
    monkeypatch.setattr("api.completions.turns.PING_S", provider.PING_S)
    monkeypatch.setattr("adapters.providers.http.retries.RETRIES_MAX", 0)  # a stream whose ping comes before the refusal has begun
    async with server_with_models(settings) as server:
        user = await somebody(server)
        given = {"url": server.url, "token": user.token, "email": user.email, "password": "correct horse"}
        seen = await run_python("with_openwebui_sdk.py", tmp_path, **given)
        print(seen["client"], seen["version"])
        assert seen["user"] == [user.id, "user", user.id]
        assert set(seen["models"]) >= set(MODELS)
        assert (seen["model"], seen["tools"]) == ("words", [[], [], []])
        # The first piece says only whose turn it is.
        assert (seen["pieces"], seen["whole"], seen["silent"], seen["left"]) == (["", *WORDS], WHOLE, "Hello again", "")
        assert await branch_of(user, seen["chat_id"]) == turns("What is it?")
        chat = (await user.get(f"/api/v1/chats/{seen['chat_id']}")).json()
        assert (chat["title"], chat["chat"]["history"]["currentId"]) == (seen["title"], seen["message_id"])
        assert {what: (error["type"], error["status"]) for what, error in seen["errors"].items()} == {
            "wrong key": ("AuthError", 401),
            "wrong password": ("APIError", 400),
            "unknown model": ("APIError", 400),
            "limited": ("APIError", 429),
            "limited stream": ("APIError", 429),
        }
        # It shows people the text of `detail`.
        assert seen["errors"]["unknown model"]["text"].startswith("Model not found: nobody/at:all")
        assert "rate_limit_exceeded" in seen["errors"]["limited"]["text"]


async def test_pyopenwebui(settings: Settings, tmp_path: Path) -> None:
    async with server_with_models(settings) as server:
        user = await somebody(server)
        given = {"url": server.url, "token": user.token, "email": user.email, "password": "correct horse"}
        seen = await run_python("with_pyopenwebui.py", tmp_path, **given)
        print(seen["client"], seen["version"])
        chat_id = seen["chat_id"]
        assert (seen["user"], set(seen["models"]) >= set(MODELS)) == (user.id, True)
        assert (seen["listed"], seen["searched"]) == (["Conversation"], [chat_id])
        assert (seen["pinned"], seen["in_folder"], seen["renamed"]) == (["Another name"], [chat_id], "Another name")
        assert (seen["tags"], seen["all_tags"]) == (["Good idea"], ["Good idea"])
        assert (seen["message"], seen["stopped"], seen["deleted"], seen["left"]) == (WHOLE, True, True, ["Another name"])
        # Each question stands behind the answer that it named; the last answer is what was said when it was stopped.
        branch = await branch_of(user, chat_id)
        assert branch[:4] == turns("Hello", "Hello")
        assert branch[4:5] == [("user", "Hello")] and WHOLE.startswith(branch[5][1])
        assert {what: (error["type"], error["status"]) for what, error in seen["errors"].items()} == {
            "wrong key": ("AuthenticationError", 401),
            "unknown model": ("BadRequestError", 400),
            "limited": ("RateLimitError", 429),
            "failed": ("InternalServerError", 503),
            "unknown chat": ("AuthenticationError", 401),
            "no such folder": ("NotFoundError", 404),
        }
        assert seen["errors"]["limited"]["retry_after"] == str(RETRY_AFTER_S)
