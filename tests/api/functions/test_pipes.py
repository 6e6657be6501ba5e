"""A pipe is asked like any model, over every dialect, and its answer is in the log like any other."""

import asyncio
from typing import Any

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

PIPE = """
import asyncio

class Pipe:
    async def pipe(self, body, __user__, __event_emitter__, __chat_id__, __metadata__):
        await __event_emitter__({"type": "status", "data": {"description": "Thinking", "done": False}})
        yield "Hello "
        yield __user__["name"] + ("" if __chat_id__ == __metadata__["chat_id"] else "?")
        if body["messages"][-1]["content"] == "wait":
            await asyncio.sleep(600)
        if body["messages"][-1]["content"] == "fail":
            raise ValueError("out of paper")
"""


async def put(server: Running, admin: User, content: str = PIPE, function_id: str = "greeter") -> None:
    body = {"id": function_id, "name": "Greeter", "content": content, "meta": {}}
    assert (await admin.post("/api/v1/functions/create", body)).status_code == 200
    assert (await admin.post(f"/api/v1/functions/id/{function_id}/toggle")).status_code == 200
    async with asyncio.timeout(60):
        for system in server.systems:
            await system.tail.wait_for(await system.log.head())
            while system.functions.runtime.get(function_id) is None:  # noqa: ASYNC110 - nothing there offers an event
                await asyncio.sleep(0.02)


async def until(admin: User, chat_id: str, *types: str) -> list[dict[str, Any]]:
    """The events of the chat, once there is one of these types."""
    async with asyncio.timeout(60):
        while True:
            events = (await admin.get(f"/api/v1/streams/chat/{chat_id}/events")).json()["events"]
            if any(one["data"]["type"] in types for one in events):
                return list(events)
            await asyncio.sleep(0.02)


async def ended(admin: User, chat_id: str) -> list[dict[str, Any]]:
    return await until(admin, chat_id, "message_end", "error", "cancelled")


async def test_a_pipe_is_listed_and_answers_token_by_token(server: Running) -> None:
    admin = await server.sign_up()
    await put(server, admin)
    listed = {one["id"]: one for one in (await admin.get("/api/models")).json()["data"]}
    assert listed["greeter"]["name"] == "Greeter"
    assert listed["greeter"]["pipe"] == {"type": "pipe"}
    chat_id = await admin.new_chat()
    await admin.ask(chat_id, "greeter", "Hello")
    events = await ended(admin, chat_id)
    texts = [one["data"]["data"]["text"] for one in events if one["data"]["type"] == "message_delta"]
    assert texts == ["Hello ", "Ada"]
    types = [one["data"]["type"] for one in events]
    assert types.index("status") < types.index("message_delta")
    assert types[-1] == "message_end"


async def test_the_dialects_ask_it_too(server: Running) -> None:
    admin = await server.sign_up()
    await put(server, admin)
    answer = await admin.post("/v1/chat/completions", {"model": "greeter", "messages": [{"role": "user", "content": "Hello"}]})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello Ada"


async def test_an_exception_is_an_error_with_its_name_and_the_text_so_far(server: Running) -> None:
    admin = await server.sign_up()
    await put(server, admin)
    chat_id = await admin.new_chat()
    await admin.ask(chat_id, "greeter", "fail")
    error = (await ended(admin, chat_id))[-1]["data"]
    assert error["type"] == "error"
    assert error["data"]["code"] == "function_failed"
    assert error["data"]["detail"] == "function greeter: ValueError: out of paper"
    assert error["data"]["content"] == "Hello Ada"


async def test_it_is_stopped_like_any_answer(server: Running) -> None:
    admin = await server.sign_up()
    await put(server, admin)
    chat_id = await admin.new_chat()
    asked = await admin.ask(chat_id, "greeter", "wait")
    await until(admin, chat_id, "message_delta")
    task_id = asked["task_ids"][0] if "task_ids" in asked else asked["task_id"]
    assert (await admin.post(f"/api/tasks/stop/{task_id}")).status_code == 200
    end = (await ended(admin, chat_id))[-1]["data"]
    assert (end["type"], end["data"]["content"]) == ("cancelled", "Hello Ada")


async def test_one_that_is_off_or_gone_is_no_model(server: Running) -> None:
    admin = await server.sign_up()
    await put(server, admin)
    await admin.post("/api/v1/functions/id/greeter/toggle")
    for system in server.systems:
        await system.tail.wait_for(await system.log.head())
        async with asyncio.timeout(60):
            while system.functions.runtime.pipes():  # noqa: ASYNC110 - nothing there offers an event
                await asyncio.sleep(0.02)
    answer = await admin.post("/v1/chat/completions", {"model": "greeter", "messages": [{"role": "user", "content": "Hello"}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
