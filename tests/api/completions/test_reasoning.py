"""Reasoning in tags of a provider's text, through every dialect and in the log."""

from typing import Any

import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import END, said
from tests.api.completions.support import MODEL, server_asking, streaming
from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio

WRITTEN = '<think effort="high">\nHm, 1 < 2.</think>\n\nIt is <b>so</b>.'
PIECES = [WRITTEN[at : at + 5] for at in range(0, len(WRITTEN), 5)]
THOUGHT, ANSWER = "Hm, 1 < 2.", "It is <b>so</b>."


async def events_of(server: Running, user: User, chat_id: str) -> list[dict[str, Any]]:
    await server.settled()
    page = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", limit=1000)).json()
    return [event["data"] for event in page["events"]]


def written_in(events: list[dict[str, Any]]) -> str:
    """What the model wrote, put together from its blocks."""
    parts = [event["data"] for event in events if event["type"] in ("content_block", "message_delta")]
    return "".join(part.get("preceded_by", "") + part.get("text", "") for part in parts)


def question(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **more}


async def test_a_thought_is_reasoning_in_chat_completions_and_the_log_has_what_was_written(settings: Settings) -> None:
    async with server_asking(settings, streaming(*(said(piece) for piece in PIECES), END)) as (server, _):
        ada = await server.sign_up()
        answer = (await ada.post("/v1/chat/completions", question())).json()
        message = answer["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == (THOUGHT, ANSWER)
        events = await events_of(server, ada, answer["chat_id"])
        blocks = [event["data"] for event in events if event["type"] == "content_block"]
        assert [(block["type"], block["preceded_by"]) for block in blocks] == [
            ("reasoning", '<think effort="high">\n'),
            ("text", "</think>\n\n"),
        ]
        written = "".join(
            event["data"].get("preceded_by", "") + event["data"].get("text", "") for event in events if "index" in event["data"]
        )
        assert written == WRITTEN
        (end,) = [event["data"] for event in events if event["type"] == "message_end"]
        assert end["content"] == ANSWER


@pytest.mark.parametrize(("tags", "content"), [(False, WRITTEN), (["<b>", "</b>"], '<think effort="high">\nHm, 1 < 2.</think>\n\nIt is .')])
async def test_a_request_may_name_tags_of_its_own_or_none(settings: Settings, tags: Any, content: str) -> None:
    async with server_asking(settings, streaming(*(said(piece) for piece in PIECES), END)) as (server, upstream):
        ada = await server.sign_up()
        asked = (
            ("/api/chat/completions", question(params={"reasoning_tags": tags}, stream=False)),
            ("/v1/chat/completions", question(reasoning_tags=tags)),
        )
        for path, body in asked:
            answer = (await ada.post(path, body)).json()
            assert answer["choices"][0]["message"]["content"] == content
            assert not {"reasoning_tags", "params"} & upstream.asked[-1].json.keys()


async def test_a_chat_names_tags_for_its_answers(settings: Settings) -> None:
    async with server_asking(settings, streaming(*(said(piece) for piece in PIECES), END)) as (server, _):
        ada = await server.sign_up()
        chat_id = await ada.new_chat()
        assert (await ada.http.patch(f"/api/v1/chats/{chat_id}/params", json={"params": {"reasoning_tags": False}})).status_code == 200
        answer = await ada.post("/api/chat/completions", question(chat_id=chat_id, stream=False))
        assert answer.json()["choices"][0]["message"]["content"] == WRITTEN


async def test_the_other_dialects_show_it_as_theirs(settings: Settings) -> None:
    async with server_asking(settings, streaming(*(said(piece) for piece in PIECES), END)) as (server, _):
        ada = await server.sign_up()
        response = (await ada.post("/v1/responses", {"model": MODEL, "input": "Hi"})).json()
        assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
        assert response["output"][1]["content"][0]["text"] == ANSWER
        thinking = {"type": "enabled", "budget_tokens": 1024}
        body = question(max_tokens=2000, thinking=thinking)
        message = (await ada.post("/v1/messages", body, **{"anthropic-version": "2023-06-01"})).json()
        assert [(part["type"], part.get("text", part.get("thinking"))) for part in message["content"]] == [
            ("thinking", THOUGHT),
            ("text", ANSWER),
        ]


@pytest.mark.parametrize("written", ["<think>only thought</think>", "<think>never closed", "<think>", "a <thi"])
async def test_an_answer_without_text_or_without_an_end_is_whole_in_every_dialect(settings: Settings, written: str) -> None:
    async with server_asking(settings, streaming(*(said(letter) for letter in written), END)) as (server, _):
        ada = await server.sign_up()
        answer = (await ada.post("/v1/chat/completions", question())).json()
        events = await events_of(server, ada, answer["chat_id"])
        said_ = "".join(
            event["data"].get("preceded_by", "") + event["data"].get("text", "") for event in events if "index" in event["data"]
        )
        assert said_ == written
        assert answer["choices"][0]["message"]["content"] == ("a <thi" if written == "a <thi" else "")
        for path, body in (("/v1/responses", {"model": MODEL, "input": "Hi"}), ("/v1/messages", question(max_tokens=10))):
            assert (await ada.post(path, body, **{"anthropic-version": "2023-06-01"})).status_code == 200
