"""An arena over HTTP: what is asked, what answers, and that both stay known."""

import json
from typing import Any

import httpx
import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

PUBLIC = {"principal_type": "user", "principal_id": "*", "permission": "read"}
POOL = [f"demo:{number}" for number in range(1, 31)]
ASK = {"model": "arena", "messages": [{"role": "user", "content": "Hello"}]}


async def new_model(user: User, **body: Any) -> None:
    answer = await user.post("/api/v1/models/create", {"name": "A model", "access_grants": [PUBLIC], **body})
    assert answer.status_code == 200, answer.text


def frames_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


async def start_of(user: User, chat_id: str) -> dict[str, Any]:
    events = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_start")).json()["events"]
    return dict(events[0]["data"]["data"])


@pytest.fixture
async def admin(server: Running) -> User:
    admin = await server.sign_up("Admin")
    await new_model(admin, id="arena", name="Arena", meta={"model_ids": POOL})
    return admin


async def test_an_arena_is_listed_as_the_reference_lists_it(server: Running, admin: User) -> None:
    ada = await server.sign_up("Ada")
    models = {model["id"]: model for model in (await ada.get("/api/models")).json()["data"]}
    arena = models["arena"]
    assert (arena["arena"], arena["owned_by"], arena["name"], arena["info"]["meta"]) == (True, "arena", "Arena", {"model_ids": POOL})
    assert "preset" not in arena


async def test_the_first_frame_says_what_was_picked(server: Running, admin: User) -> None:
    answer = await admin.post("/api/chat/completions", {**ASK, "stream": True})
    first, *others = frames_of(answer)
    picked = first["selected_model_id"]
    assert first == {"selected_model_id": picked}
    assert picked in POOL
    assert {frame["model"] for frame in others} == {picked}
    start = await start_of(admin, answer.headers["x-chat-id"])
    assert (start["requested_model"], start["model"], start["selected_model_id"]) == ("arena", picked, picked)


async def test_the_whole_answer_says_what_was_picked(server: Running, admin: User) -> None:
    answer = (await admin.post("/api/chat/completions", ASK)).json()
    assert answer["selected_model_id"] == answer["model"] in POOL
    message = (await admin.get(f"/api/v1/chats/{answer['chat_id']}")).json()["chat"]["history"]["messages"]
    [said] = [one for one in message.values() if one["role"] == "assistant"]
    assert (said["selectedModelId"], said["arena"], said["model"]) == (answer["model"], True, answer["model"])


async def test_openais_clients_get_chunks_alone(server: Running, admin: User) -> None:
    first, *others = frames_of(await admin.post("/v1/chat/completions", {**ASK, "stream": True}))
    assert first["selected_model_id"] == first["model"] in POOL
    assert all(frame["object"] == "chat.completion.chunk" for frame in (first, *others))
    assert not any("selected_model_id" in frame for frame in others)


async def test_each_of_several_answers_has_a_pick_of_its_own(server: Running, admin: User) -> None:
    frames = frames_of(await admin.post("/api/chat/completions", {**ASK, "stream": True, "n": 8}))
    picks = {frame["index"]: frame["selected_model_id"] for frame in frames if "selected_model_id" in frame}
    assert set(picks) == set(range(8))
    assert len(set(picks.values())) > 1
    chunks = {(chunk["choices"][0]["index"], chunk["model"]) for chunk in frames if chunk.get("choices")}
    assert chunks == set(picks.items())
    whole = (await admin.post("/api/chat/completions", {**ASK, "n": 3})).json()
    assert {choice["selected_model_id"] for choice in whole["choices"]} <= set(POOL)


async def test_a_repeated_request_gets_the_first_pick(server: Running, admin: User) -> None:
    picks = set()
    for stream in (True, True, True):
        answer = await admin.post("/api/chat/completions", {**ASK, "stream": stream}, **{"idempotency-key": "once"})
        picks.add((frames_of(answer)[0]["selected_model_id"], answer.headers["x-chat-id"]))
    assert len(picks) == 1


async def test_a_repeated_request_gets_its_answer_when_the_model_is_gone(server: Running, admin: User) -> None:
    first = await admin.post("/api/chat/completions", ASK, **{"idempotency-key": "once"})
    await admin.post("/api/v1/models/model/delete", {"id": "arena"})
    for system in server.systems:
        await system.tail.wait_for(await system.log.head())
    again = await admin.post("/api/chat/completions", ASK, **{"idempotency-key": "once"})
    assert (again.status_code, again.json()) == (200, first.json())
    other = await admin.post("/api/chat/completions", {**ASK, "n": 2}, **{"idempotency-key": "once"})
    assert (other.status_code, other.json()["code"]) == (400, "model_not_found")


async def test_a_rating_keeps_both_models(server: Running, admin: User) -> None:
    chat_id = await admin.new_chat()
    begun = await admin.ask(chat_id, "arena")
    message_id = begun["message_id"]
    plain = await admin.ask(chat_id, "demo:2")
    for rated in (message_id, plain["message_id"]):
        answer = await admin.post(f"/api/v1/chats/{chat_id}/messages/{rated}/rating", {"rating": 1, "comment": "good"})
        assert answer.status_code == 200, answer.text
    events = (await admin.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_start,message_rated")).json()["events"]
    facts = {(event["message_id"], event["data"]["type"]): event["data"]["data"] for event in events}
    picked = facts[message_id, "message_start"]["selected_model_id"]
    assert facts[message_id, "message_rated"] == {"rating": 1, "comment": "good", "model": picked, "requested_model": "arena"}
    assert facts[plain["message_id"], "message_rated"] == {"rating": 1, "comment": "good"}


async def test_the_askers_own_access_decides_and_nothing_to_pick_is_said_before_anything_is_written(server: Running, admin: User) -> None:
    ada = await server.sign_up("Ada")
    await new_model(admin, id="private", base_model_id="demo:2", access_grants=[])
    await new_model(admin, id="private-arena", meta={"model_ids": ["private"]})
    assert (await admin.post("/api/chat/completions", {**ASK, "model": "private-arena"})).json()["selected_model_id"] == "private"
    before = await server.systems[0].log.head()
    for path, status in (("/api/chat/completions", 400), ("/v1/chat/completions", 400)):
        answer = await ada.post(path, {**ASK, "model": "private-arena"})
        assert answer.status_code == status
        assert "private-arena" in answer.text and "no model that you may use" in answer.text
    assert (await ada.post("/api/chat/completions", {**ASK, "model": "private-arena"})).json()["code"] == "arena_empty"
    assert (await ada.post("/v1/embeddings", {"model": "arena", "input": "x"})).status_code == 400
    assert await server.systems[0].log.head() == before
