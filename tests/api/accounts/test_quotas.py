"""Quotas over HTTP, on the log in memory and on Postgres, and across two servers."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def quotas(user: User, of: User | None = None) -> Any:
    answer = await user.get(f"/api/v1/users/{(of or user).id}/quotas")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_account_sees_what_it_has_and_may_have(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    await user.new_chat()
    added = await user.add(chat_id, "y" * 5_000)
    await user.http.delete(f"/api/v1/chats/{await user.new_chat()}")
    await server.settled()
    shown = await quotas(user)
    assert (shown["chats"]["used"], shown["chats"]["limit"]) == (2, 100_000)
    events = [event for event in await server.systems[0].log.read_log(after=0, limit=1000) if event.stream.kind == "chat"]
    gone = {event.stream for event in events if event.type == "chat_deleted"}
    assert shown["storage_bytes"]["used"] == sum(len(event.data) for event in events if event.stream not in gone) > 5_000
    async with asyncio.timeout(WAIT_S):
        while (await quotas(user))["bytes_a_day"]["used"] <= 5_000:  # noqa: ASYNC110  # each server adds what it counted once a second
            await asyncio.sleep(0.05)
    assert shown["runs"] == {"used": 0, "limit": 64}
    await user.http.delete(f"/api/v1/chats/{chat_id}/messages/{added['message_id']}")
    await server.settled()
    assert (await quotas(user))["storage_bytes"]["used"] >= shown["storage_bytes"]["used"]  # the log keeps what it said


async def test_only_an_admin_sees_and_changes_anothers(server: Running) -> None:
    admin, user = await server.sign_up("Ann"), await server.sign_up("Bob")
    path = f"/api/v1/users/{user.id}/quotas"
    assert (await admin.get(path)).json() == await quotas(user)
    assert (await user.get(f"/api/v1/users/{admin.id}/quotas")).status_code == 403
    assert (await user.post(path, {"runs": 1000})).status_code == 403
    changed = await admin.post(path, {"runs": 2})
    assert (changed.status_code, changed.json()["runs"]["limit"]) == (200, 2)
    assert (await admin.post(path, {"runs": None})).json()["runs"]["limit"] == 64
    refused = await admin.post(path, {"walks": 2})
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (400, "bad_request", "walks")
    assert (await admin.post(path, {"runs": -1})).status_code == 400
    assert (await admin.post(f"/api/v1/users/{'0' * 8}-0000-4000-8000-{'0' * 12}/quotas", {})).json()["code"] == "user_not_found"


async def test_an_account_runs_so_many_answers_at_once_whichever_server_it_asks(server: Running) -> None:
    admin, user = await server.sign_up("Ann"), await server.sign_up("Bob")
    await admin.post(f"/api/v1/users/{user.id}/quotas", {"runs": 5})
    await server.settled()

    async def ask(_: int) -> Any:
        body = {"model": "demo:slow", "session_id": "tab", "messages": [{"role": "user", "content": "Hello"}]}
        return await user.post("/api/chat/completions", body)

    answers = await asyncio.gather(*map(ask, range(40)))
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 35}
    refused = next(answer for answer in answers if answer.status_code == 429)
    problem = refused.json()
    assert (problem["code"], problem["quota"], problem["limit"]) == ("rate_reached", "runs", 5)
    assert int(refused.headers["retry-after"]) > 0
    assert (await quotas(user))["runs"] == {"used": 5, "limit": 5}
    stored = await server.systems[0].log.read_log(after=0, limit=10_000)
    assert sum(event.type == "message_start" for event in stored) == 5
    openai = await user.post("/v1/chat/completions", {"model": "demo:1", "messages": [{"role": "user", "content": "Hello"}]})
    assert (openai.status_code, openai.json()["error"]["type"], openai.json()["error"]["code"]) == (429, "rate_limit_error", "rate_reached")
    started = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (await user.post(f"/api/tasks/stop/{started['task_ids'][0]}")).status_code == 200
    assert (await ask(0)).status_code == 200


async def test_what_is_above_a_quota_is_refused_with_its_name(settings: Settings, serving: Any) -> None:
    settings = msgspec.structs.replace(settings, quota_chats=1, chat_messages_max=2)
    async with serving(settings) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        await server.settled()
        refused = await user.post("/api/v1/chats/new", {"chat": {"title": "one more"}})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert {key: refused.json()[key] for key in ("code", "quota", "used", "limit")} == {
            "code": "quota_reached",
            "quota": "chats",
            "used": 1,
            "limit": 1,
        }
        for number in range(2):
            await user.add(chat_id, f"{number}")
            await server.settled()
        full = await user.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "x", "parent_id": None})
        assert (full.status_code, full.json()["code"], full.json()["limit"]) == (413, "chat_full", 2)


async def test_an_answer_ends_with_an_error_when_its_account_has_written_enough_today(settings: Settings, serving: Any) -> None:
    async with serving(msgspec.structs.replace(settings, quota_bytes_a_day=1_200)) as server:
        user = await server.sign_up()
        chat_id = await user.new_chat()
        wire = await server.connect(user)
        await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
        await user.ask(chat_id, "demo:1000")
        error = await wire.event(f"chat/{chat_id}", "error")
        assert error["data"]["data"]["code"] == "rate_reached"
        said = "".join(
            event["data"]["data"]["text"] for event in wire.events(f"chat/{chat_id}") if event["data"]["type"] == "message_delta"
        )
        assert error["data"]["data"]["content"] == said
        assert 0 < len(said) < 2_000
        for _ in range(600):  # another process may learn only a little later what was written here
            refused = await user.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "x"})
            if refused.status_code != 200:
                break
            await asyncio.sleep(0.05)
        assert (refused.status_code, refused.json()["quota"]) == (429, "bytes_a_day")
