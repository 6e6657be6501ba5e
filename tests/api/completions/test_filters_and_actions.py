"""Real functions around real turns, and actions, as an admin puts them in and people use them."""

import asyncio
from typing import Any

import pytest

from api.process.server import System
from tests.api.conftest import Running, User, on_one_and_two
from tests.api.functions.test_functions import put

pytestmark = [pytest.mark.anyio, on_one_and_two]

FILTERS = """
from pydantic import BaseModel


class Filter:
    class Valves(BaseModel):
        priority: int = 0
        word: str = "masked"

    def __init__(self):
        self.valves = self.Valves()

    async def inlet(self, body: dict, __user__: dict, __event_emitter__=None, __metadata__: dict = {}) -> dict:
        said = f"for {__user__['name']} in {__metadata__['chat_id']}"
        await __event_emitter__({"type": "status", "data": {"description": said, "done": True}})
        body["messages"][-1]["content"] = body["messages"][-1]["content"].replace("secret", self.valves.word)
        return body

    def stream(self, event: dict) -> dict:
        for choice in event.get("choices", []):
            delta = choice.get("delta", {})
            if delta.get("content"):
                delta["content"] = delta["content"].upper()
        return event

    def outlet(self, body: dict, __model__: dict) -> dict:
        body["messages"][-1]["content"] += f" [{__model__['id']}]"
        return body
"""

# As the reference's documentation has it.
DOCUMENTED = """
class Action:
    async def action(self, body: dict, __model__=None, __event_emitter__=None, __user__=None):
        await __event_emitter__("log", {"message": "running", "by": __user__["name"]})
        return {"echo": body.get("messages"), "model": __model__["id"]}
"""

BUTTONS = """
from pydantic import BaseModel


class Action:
    class Valves(BaseModel):
        priority: int = -1

    actions = [
        {"id": "shorter", "name": "Shorter", "icon_url": "data:image/svg+xml,x"},
        {"id": "longer"},
    ]

    def __init__(self):
        self.valves = self.Valves()

    async def action(self, body: dict, __id__: str, __event_emitter__) -> dict:
        await __event_emitter__({"type": "replace", "data": {"content": f"made {__id__}"}})
"""

RAISING = """
class Filter:
    def inlet(self, body: dict) -> dict:
        raise ValueError("not on Sundays")
"""

TOGGLE = """
class Filter:
    def __init__(self):
        self.toggle = True
        self.icon = "data:image/svg+xml,y"

    def inlet(self, body: dict) -> dict:
        body["messages"][-1]["content"] = "switched on"
        return body
"""


async def put_in(server: Running, admin: User, function_id: str, content: str, *, everywhere: bool = True) -> None:
    """Put in, switched on, and loaded by every process."""
    await put(admin, function_id, content)
    await admin.post(f"/api/v1/functions/id/{function_id}/toggle")
    if everywhere:
        await admin.post(f"/api/v1/functions/id/{function_id}/toggle/global")

    def runs(system: System) -> bool:
        known = [*system.functions.runtime.filters(), *system.functions.runtime.actions()]
        return any(one.id == function_id and one.is_global == everywhere for one in known)

    async with asyncio.timeout(60):
        while not all(map(runs, server.systems)):  # noqa: ASYNC110 - nothing there offers an event
            await asyncio.sleep(0.02)


async def finished(server: Running) -> None:
    for system in server.systems:
        for run in system.runs.all():
            await run.wait()
    await server.settled()


async def messages(user: User, chat_id: str) -> dict[str, Any]:
    return dict((await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"])


async def test_one_function_filters_the_question_the_chunks_and_the_answer(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "mask", FILTERS)
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:3", "a secret")
    await finished(server)
    stream = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", after="start")).json()["events"]
    deltas = "".join(one["data"]["data"]["text"] for one in stream if one["data"]["type"] == "message_delta")
    end = next(one for one in stream if one["data"]["type"] == "message_end")
    assert deltas == end["data"]["data"]["content"] == deltas.upper()
    answer = (await messages(user, chat_id))[begun["message_id"]]
    assert answer["content"] == f"{deltas} [demo:3]"
    assert answer["originalContent"] == deltas
    assert answer["statusHistory"][0]["description"].endswith(f"in {chat_id}")
    applied = [one["data"]["data"] for one in stream if one["data"]["type"] == "filter_applied"]
    assert [(one["stage"], one["filter_id"], one["by"]) for one in applied] == [
        ("inlet", "mask", "function"),
        ("stream", "mask", "function"),
        ("outlet", "mask", "function"),
    ]
    known = (await admin.get("/api/v1/functions/id/mask")).json()
    assert {one["source_sha256"] for one in applied} == {server.systems[0].functions.runtime.get("mask").sha256}  # type: ignore[union-attr]
    assert known["id"] == "mask"
    kept = await user.get(f"/api/v1/streams/chat/{chat_id}/blobs/{applied[1]['original']['blob']}")
    assert kept.json()[0]["text"].upper() == deltas
    question = await user.get(f"/api/v1/streams/chat/{chat_id}/blobs/{applied[0]['original']['blob']}")
    assert question.json()["messages"] == [{"role": "user", "content": "a secret"}]


async def test_a_filter_that_raises_is_an_error_with_its_name(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "strict", RAISING)
    asked = {"model": "demo:3", "messages": [{"role": "user", "content": "Hi"}]}
    refused = await admin.post("/api/chat/completions", asked)
    assert refused.status_code >= 400
    assert refused.json()["code"] == "function_failed"
    assert refused.json()["detail"] == "function strict: ValueError: not on Sundays"


async def test_a_toggle_is_listed_with_its_models_and_runs_where_a_request_names_it(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "toggle", TOGGLE)
    listed = (await admin.get("/api/models")).json()["data"]
    assert [[one["id"] for one in model["filters"]] for model in listed] == [["toggle"]] * len(listed)
    assert listed[0]["filters"][0]["icon"] == "data:image/svg+xml,y"
    chat_id = await admin.new_chat()
    for filter_ids, noted in ([], 0), (["toggle"], 1):
        await admin.ask(chat_id, "demo:3", "Hi", filter_ids=filter_ids)
        await finished(server)
        stream = (await admin.get(f"/api/v1/streams/chat/{chat_id}/events", after="start")).json()["events"]
        assert [one["data"]["type"] for one in stream].count("filter_applied") == noted


async def test_the_action_of_the_documentation_works_as_written(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "foo", DOCUMENTED)
    user = await server.sign_up()
    chat_id = await user.new_chat()
    message_id = (await user.add(chat_id, "Hi"))["message_id"]
    body = {"model": "demo", "chat_id": chat_id, "id": message_id, "session_id": "tab", "messages": [{"role": "user", "content": "Hi"}]}
    echo = {"echo": body["messages"], "model": "demo"}
    by_path = await user.post("/api/chat/actions/foo", body)
    assert (by_path.status_code, by_path.json()) == (200, echo)
    for path, named in ("/api/chat/completions", "actionId"), ("/api/chat/completions", "action_id"), ("/api/chat/actions", "actionId"):
        assert (await user.post(path, {**body, named: "foo"})).json() == echo
    await server.settled()
    stream = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", after="start")).json()["events"]
    types = [one["data"]["type"] for one in stream]
    assert types[2:] == ["log", "action_ran"] * 4
    assert {one["user"]["id"] for one in stream[2:]} == {user.id}
    ran = stream[3]["data"]["data"]
    assert (ran["action_id"], ran["emitted"]) == ("foo", 1)
    kept = await user.get(f"/api/v1/streams/chat/{chat_id}/blobs/{ran['result']['blob']}")
    assert kept.json() == echo


async def test_the_buttons_of_an_action_are_listed_and_what_one_emits_is_stored_on_its_message(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "foo", DOCUMENTED)
    await put_in(server, admin, "buttons", BUTTONS)
    listed = next(one for one in (await admin.get("/api/models")).json()["data"] if one["id"] == "demo")["actions"]
    assert [one["id"] for one in listed] == ["buttons.shorter", "buttons.longer", "foo"]
    assert [one["name"] for one in listed[:2]] == ["Shorter", "A filter (longer)"]
    chat_id = await admin.new_chat()
    message_id = (await admin.add(chat_id, "Hi"))["message_id"]
    body = {"model": "demo", "chat_id": chat_id, "id": message_id}
    assert (await admin.post("/api/chat/actions/buttons.longer", body)).json() is None
    await server.settled()
    assert (await messages(admin, chat_id))[message_id]["content"] == "made longer"
    for action_id, status in ("a.b.c", 400), ("none", 400), ("foo.", 400):
        assert (await admin.post(f"/api/chat/actions/{action_id}", body)).status_code == status
    await admin.post("/api/v1/functions/id/buttons/toggle")
    async with asyncio.timeout(60):
        while any(system.functions.runtime.get("buttons") in system.functions.runtime.actions() for system in server.systems):  # noqa: ASYNC110 - nothing there offers an event
            await asyncio.sleep(0.02)
    listed = (await admin.get("/api/models")).json()["data"][0]["actions"]
    assert [one["id"] for one in listed] == ["foo"]
    switched_off = await admin.post("/api/chat/actions/buttons", body)
    assert (switched_off.status_code, switched_off.json()["detail"]) == (400, "Action not found: buttons")


async def test_chats_of_others_are_out_of_reach_of_actions_and_outlets(server: Running) -> None:
    admin = await server.sign_up()
    await put_in(server, admin, "foo", DOCUMENTED)
    owner, other = await server.sign_up(), await server.sign_up()
    chat_id = await owner.new_chat()
    message_id = (await owner.add(chat_id, "Hi"))["message_id"]
    body = {"model": "demo", "chat_id": chat_id, "id": message_id, "messages": []}
    for path in ("/api/chat/actions/foo", "/api/chat/completed"):
        refused = await other.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (404, "chat_not_found")
        assert (await other.post(path, {**body, "chat_id": "channel:x"})).status_code == 400
        for free in ("local:x", "temporary:x", "", None):
            assert (await other.post(path, {**body, "chat_id": free})).status_code == 200
        assert (await admin.post(path, body)).status_code == 200
