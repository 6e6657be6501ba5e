"""Pipelines around real turns: what the model is asked, what is stored, what the caller is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.pipelines.server import Pipe, pipelines_server
from tests.adapters.providers.scripted import DONE, Server, said, serving
from tests.api.completions.test_openai import provider, with_provider
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio

MODEL = "big/model:7b"
QUESTION = {"role": "user", "content": "Hi"}


class There:
    def __init__(self, server: Running, user: User, upstream: Server) -> None:
        self.server, self.user, self.upstream = server, user, upstream

    async def finished(self) -> None:
        for run in self.server.system.runs.all():
            await run.wait()

    async def events(self, chat_id: str) -> list[dict[str, Any]]:
        return list((await self.user.get(f"/api/v1/streams/chat/{chat_id}/events", after="start")).json()["events"])


@asynccontextmanager
async def there(settings: Settings, **pipes: Pipe) -> AsyncIterator[There]:
    async with serving(provider(said("42", "stop") + DONE)) as upstream, pipelines_server(pipes) as server_of_pipelines:
        own = msgspec.structs.replace(with_provider(settings, upstream.url), pipelines_urls=(server_of_pipelines.url,))
        async with running(own) as server:
            yield There(server, await server.sign_up(), upstream)


async def test_an_inlet_and_an_outlet_of_a_server_change_the_question_and_the_answer(settings: Settings) -> None:
    def inlet(body: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        assert body["metadata"]["session_id"] == "tab"
        return {**body, "messages": [{"role": "system", "content": f"For {user['email']}."}, *body["messages"]]}

    def outlet(body: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += "!"
        return body

    async with there(settings, f=Pipe(inlet=inlet, outlet=outlet), other=Pipe(models=["another"], inlet=lambda body, _: {})) as it:
        chat_id = await it.user.new_chat()
        begun = await it.user.ask(chat_id, MODEL, "Hi")
        await it.finished()
        assert it.upstream.asked[-1].json["messages"] == [{"role": "system", "content": f"For {it.user.email}."}, QUESTION]
        assert not {"metadata", "session_id"} & it.upstream.asked[-1].json.keys()
        message = (await it.user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"][begun["message_id"]]
        assert (message["content"], message["originalContent"], message["done"]) == ("42!", "42", True)
        events = await it.events(chat_id)
        applied = [one["data"]["data"] for one in events if one["data"]["type"] == "filter_applied"]
        assert [(one["filter_id"], one["by"], one["stage"], one["changed"]) for one in applied] == [
            ("f", "pipeline", "inlet", 1),
            ("f", "pipeline", "outlet", 1),
        ]
        kept = await it.user.get(f"/api/v1/streams/chat/{chat_id}/blobs/{applied[0]['original']['blob']}")
        assert kept.json() == {"messages": [], "messages_from": 0}
        edited = next(one for one in events if one["data"]["type"] == "message_edited")
        assert edited["user"] is None
        epoch = it.server.system.epoch.epoch
        before = await it.user.get(f"/api/v1/chats/{chat_id}", at=f"{epoch}:{edited['version'] - 1}")
        assert before.json()["chat"]["history"]["messages"][begun["message_id"]]["content"] == "42"


async def test_a_whole_answer_has_the_text_that_the_outlets_have_made_of_it(settings: Settings) -> None:
    def outlet(body: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += "!"
        return body

    async with there(settings, f=Pipe(outlet=outlet)) as it:
        asked = {"model": MODEL, "messages": [QUESTION], "max_tokens": 9}
        for path in ("/api/chat/completions", "/v1/chat/completions"):
            answer = (await it.user.post(path, asked)).json()
            assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == ("42!", "stop")
        assert (await it.user.post("/v1/messages", asked)).json()["content"] == [{"type": "text", "text": "42!"}]
        streamed = await it.user.post("/v1/chat/completions", {**asked, "stream": True})
        assert "42" in streamed.text
        assert "42!" not in streamed.text


async def test_what_a_pipeline_refuses_is_told_with_its_own_status(settings: Settings) -> None:
    def inlet(_: dict[str, Any], __: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("You have had enough")

    async with there(settings, limit=Pipe(inlet=inlet)) as it:
        answer = await it.user.post("/api/chat/completions", {"model": MODEL, "messages": [QUESTION]})
        assert (answer.status_code, answer.json()["code"]) == (500, "pipeline_failed")
        assert answer.json()["detail"] == "pipeline limit: You have had enough"
        assert not [asked for asked in it.upstream.asked if asked.path.endswith("/chat/completions")]
        assert [model["id"] for model in (await it.user.get("/api/models")).json()["data"]][:1] == [MODEL]


async def test_a_client_that_runs_outlets_itself_gets_the_body_and_nothing_is_stored(settings: Settings) -> None:
    def outlet(body: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        if body["messages"][-1]["content"] == "raise":
            raise ValueError("no")
        return {**body, "messages": [{**one, "content": user["name"]} for one in body["messages"]]}

    async with there(settings, f=Pipe(outlet=outlet)) as it:
        chat_id = await it.user.new_chat()
        body = {
            "model": MODEL,
            "chat_id": chat_id,
            "id": "m",
            "session_id": "tab",
            "messages": [{"id": "m", "role": "assistant", "content": "x"}],
        }
        answer = await it.user.post("/api/chat/completed", body)
        assert answer.status_code == 200
        assert [one["content"] for one in answer.json()["messages"]] != ["x"]
        assert {**answer.json(), "messages": []} == {**body, "messages": []}
        assert len(await it.events(chat_id)) == 1
        raised = await it.user.post("/api/chat/completed", {**body, "messages": [{"role": "user", "content": "raise"}]})
        assert (raised.status_code, raised.json()["detail"]) == (500, "pipeline f: no")


@pytest.mark.parametrize(
    ("changed", "status", "said_of_it"),
    [
        ({"model": "none"}, 400, "Model not found: none"),
        ({"model": 5}, 400, "expected model as text"),
        ({"messages": "x"}, 400, "expected messages as a list of objects"),
        ({"chat_id": "channel:x"}, 400, "that of a channel"),
        ({"chat_id": "not-mine"}, 404, ""),
    ],
)
async def test_what_completed_cannot_take_is_refused(settings: Settings, changed: dict[str, Any], status: int, said_of_it: str) -> None:
    async with there(settings) as it:
        body = {"model": "demo", "chat_id": None, "messages": [{"role": "assistant", "content": "x"}]}
        assert (await it.user.post("/api/chat/completed", body)).json() == body
        answer = await it.user.post("/api/chat/completed", body | changed)
        assert answer.status_code == status
        assert said_of_it in answer.json()["detail"]
