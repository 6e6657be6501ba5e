"""Chats over HTTP: kept whole, merged by message, and nobody else's."""

import asyncio
from typing import Any

import pytest

from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio


async def messages_of(user: User, chat_id: str) -> dict[str, Any]:
    return dict((await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"])


async def finished(user: User, chat_id: str, message_id: str) -> dict[str, Any]:
    while True:
        message = (await messages_of(user, chat_id)).get(message_id)
        if message is not None and message["done"]:
            return dict(message)
        await asyncio.sleep(0.01)


async def test_a_chat_keeps_what_it_was_made_with(server: Running) -> None:
    user = await server.sign_up()
    made = (
        await user.post("/api/v1/chats/new", {"chat": {"title": "Plans", "models": ["demo"], "params": {"seed": 1}, "odd": [1, None]}})
    ).json()
    read = (await user.get(f"/api/v1/chats/{made['id']}")).json()
    assert read["title"] == read["chat"]["title"] == "Plans"
    assert (read["chat"]["models"], read["chat"]["params"], read["chat"]["odd"]) == (["demo"], {"seed": 1}, [1, None])
    assert read["version"] == made["version"] == 1


async def test_what_is_only_odd_in_a_chat_is_put_right_and_said(server: Running) -> None:
    user = await server.sign_up()
    odd = {"title": "x" * 1001, "history": {"messages": {"q": {"role": "user", "content": "a\0b"}}}, "note": "\\u0000"}
    notes = ["U+0000 or half of a surrogate pair left out", "title cut to 1,000 characters"]
    made = (await user.post("/api/v1/chats/new", {"chat": odd})).json()
    assert (made["title"], made["notes"]) == ("x" * 999 + "…", notes)
    assert [message["content"] for message in made["chat"]["messages"]] == ["ab"]
    assert made["chat"]["note"] == "\\u0000"  # six characters, and not the one that they name
    path = f"/api/v1/chats/{made['id']}"
    renamed = await user.post(path, {"chat": {"title": "y" * 2000}})
    assert (renamed.status_code, renamed.json()["notes"]) == (200, notes[1:])
    saved = await user.post(path, {"chat": {"title": "z\0", "history": {"messages": {"r": {"role": "user", "content": "c\0d"}}}}})
    assert (saved.json()["title"], saved.json()["notes"]) == ("z", notes[:1])
    assert {message["content"] for message in (await messages_of(user, made["id"])).values()} == {"ab", "cd"}
    plain = await user.post(path, {"chat": {"title": "z", "note": "\\u0000"}})
    assert "notes" not in plain.json()
    wrong = await user.post("/api/v1/chats/new", {"chat": {"title": 5}})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_request")


async def test_the_list_is_newest_first_and_holds_ones_own(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    first, second = await ada.new_chat("First"), await ada.new_chat("Second")
    await bob.new_chat("Bob's")
    assert [chat["title"] for chat in (await ada.get("/api/v1/chats/")).json()] == ["Second", "First"]
    await ada.add(first, "Hello")
    assert [chat["id"] for chat in (await ada.get("/api/v1/chats/list", page=1)).json()] == [first, second]
    assert (await ada.get("/api/v1/chats/", page=2)).json() == []


async def test_a_chat_of_somebody_else_is_as_if_it_were_not_there(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    said = await ada.add(chat_id, "Mine")
    missing = "0190a000-0000-7000-8000-000000000000"
    for path, body in (
        (f"/api/v1/chats/{chat_id}", {"chat": {"title": "Stolen"}}),
        (f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "x"}),
        (f"/api/v1/chats/{chat_id}/messages/{said['message_id']}", {"content": "x"}),
        (f"/api/v1/chats/{chat_id}/messages/{said['message_id']}/event", {"type": "status", "data": {}}),
        (f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"}),
    ):
        theirs, nobodys = await bob.post(path, body), await bob.post(path.replace(chat_id, missing), body)
        assert (theirs.status_code, theirs.json()["code"]) == (401, "chat_not_found"), path
        assert theirs.json() | {"detail": ""} == nobodys.json() | {"detail": ""}
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 401
    assert (await bob.get(f"/api/v1/streams/chat/{chat_id}/events")).status_code == 404
    body = {"model": "demo:1", "chat_id": chat_id, "session_id": "s", "messages": [{"role": "user", "content": "hi"}]}
    assert (await bob.post("/api/chat/completions", body)).status_code == 401


async def test_sharing_gives_exactly_the_permission_and_takes_it_back(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    share = f"/api/v1/chats/{chat_id}/access"
    await ada.post(share, {"user_id": bob.id, "permission": "read"})
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 200
    assert (await bob.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "x"})).status_code == 401
    assert [chat["id"] for chat in (await bob.get("/api/v1/chats/")).json()] == [chat_id]
    await ada.post(share, {"user_id": bob.id, "permission": "write"})
    assert (await bob.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": "x"})).status_code == 200
    await ada.post(share, {"user_id": bob.id, "permission": None})
    assert (await bob.get(f"/api/v1/chats/{chat_id}")).status_code == 401
    assert (await bob.get("/api/v1/chats/")).json() == []


async def test_two_tabs_that_add_at_once_both_keep_what_they_said(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    root = (await user.add(chat_id, "root"))["message_id"]
    await asyncio.gather(*(user.add(chat_id, f"tab {n}", root) for n in range(10)))
    messages = await messages_of(user, chat_id)
    assert {messages[child]["content"] for child in messages[root]["childrenIds"]} == {f"tab {n}" for n in range(10)}


async def test_an_edit_changes_the_message_and_the_log_keeps_what_it_said(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    message_id = (await user.add(chat_id, "Helo"))["message_id"]
    edited = (await user.post(f"/api/v1/chats/{chat_id}/messages/{message_id}", {"content": "Hello"})).json()
    assert edited["version"] == 3
    assert (await messages_of(user, chat_id))[message_id]["content"] == "Hello"
    events = (await user.get(f"/api/v1/streams/chat/{chat_id}/events")).json()["events"]
    assert [event["data"]["data"].get("content") for event in events] == [None, "Helo", "Hello"]


async def test_a_conditional_command_names_both_versions_when_it_comes_too_late(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    path = f"/api/v1/chats/{chat_id}"
    assert (await user.post(path, {"chat": {"title": "A"}}, **{"if-match": '"1"'})).status_code == 200
    late = await user.post(path, {"chat": {"title": "B"}}, **{"if-match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (409, "version_conflict")
    assert (late.json()["expected"], late.json()["current"]) == (1, 2)
    assert (await user.post(path, {"chat": {"title": "B"}}, **{"if-match": "soon"})).status_code == 400


async def test_a_repeated_request_gets_its_first_answer_and_changes_nothing(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    body = {"role": "user", "content": "once"}
    path = f"/api/v1/chats/{chat_id}/messages"
    first = await user.post(path, body, **{"idempotency-key": "k"})
    await user.add(chat_id, "in between")
    again = await user.post(path, body, **{"idempotency-key": "k"})
    assert again.json() == first.json()
    assert [one["content"] for one in (await messages_of(user, chat_id)).values()] == ["once", "in between"]
    other = await user.post(path, {"role": "user", "content": "twice"}, **{"idempotency-key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_is_its_users_own(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    body = {"chat": {"title": "Mine"}}
    first = (await ada.post("/api/v1/chats/new", body, **{"idempotency-key": "k"})).json()
    second = (await bob.post("/api/v1/chats/new", body, **{"idempotency-key": "k"})).json()
    assert first["id"] != second["id"]
    assert second["user_id"] == bob.id


async def test_an_id_that_is_no_uuid_is_bound_to_its_user(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    mine = (await ada.post("/api/v1/chats/new", {"chat": {"id": "plans", "title": "A"}})).json()
    theirs = (await bob.post("/api/v1/chats/new", {"chat": {"id": "plans", "title": "B"}})).json()
    assert mine["id"] != theirs["id"]
    assert (await ada.get("/api/v1/chats/plans")).json()["title"] == "A"
    assert (await bob.get("/api/v1/chats/plans")).json()["title"] == "B"
    assert mine["chat"]["client_id"] == "plans"


async def test_what_a_tool_emits_is_folded_into_the_message(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    message_id = (await user.add(chat_id, "Hello"))["message_id"]
    path = f"/api/v1/chats/{chat_id}/messages/{message_id}/event"
    for type_, data in (
        ("status", {"description": "Searching", "done": False}),
        ("message", {"content": " world"}),
        ("files", {"files": [{"id": 1}]}),
        ("files", {"files": [{"id": 2}]}),
        ("source", {"name": "a book"}),
        ("log", {"anything": [1, 2]}),
    ):
        assert (await user.post(path, {"type": type_, "data": data})).json() is True
    message = (await messages_of(user, chat_id))[message_id]
    assert message["content"] == "Hello world"
    assert message["statusHistory"] == [{"description": "Searching", "done": False}]
    assert message["files"] == [{"id": 2}, {"id": 1}]
    assert message["sources"] == [{"name": "a book"}]
    refused = await user.post(path, {"type": "message_end", "data": {}})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


async def test_text_that_cannot_be_kept_is_refused(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    raw = b'{"role": "user", "content": "a\\u0000b"}'
    answer = await user.http.post(f"/api/v1/chats/{chat_id}/messages", content=raw, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "content_refused")
    raw = b'{"role": "user", "content": "a\\ud800b"}'
    answer = await user.http.post(f"/api/v1/chats/{chat_id}/messages", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400


async def test_an_answer_is_streamed_kept_and_rated(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:7")
    assert begun["version"] == 1
    message = await finished(user, chat_id, begun["message_id"])
    assert len(message["content"].split()) == 7
    assert (message["state"], message["model"], message["usage"]["completion_tokens"]) == ("done", "demo:7", 7)
    rated = await user.post(f"/api/v1/chats/{chat_id}/messages/{begun['message_id']}/rating", {"rating": 1, "comment": "good"})
    assert rated.status_code == 200
    assert (await messages_of(user, chat_id))[begun["message_id"]]["annotation"] == {"rating": 1, "comment": "good"}


async def test_several_models_answer_side_by_side_and_again(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    both = [{"model_id": "demo:3", "message_id": "left"}, {"model_id": "demo:4", "message_id": "right", "modelIdx": 1}]
    begun = await user.ask(chat_id, message_ids=both)
    left, right = [await finished(user, chat_id, message_id) for message_id in begun["message_ids"]]
    assert (len(left["content"].split()), len(right["content"].split())) == (3, 4)
    assert left["parentId"] == right["parentId"]
    assert right["modelIdx"] == 1
    again = await user.ask(chat_id, "demo:2", parent_id=left["parentId"])
    third = await finished(user, chat_id, again["message_id"])
    assert third["parentId"] == left["parentId"]
    assert len((await messages_of(user, chat_id))[left["parentId"]]["childrenIds"]) == 3
    await user.post(f"/api/v1/chats/{chat_id}/branch", {"message_id": left["id"]})
    assert (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["currentId"] == left["id"]


async def test_the_context_comes_from_the_chat_where_the_caller_sends_none(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    await user.ask(chat_id, "demo:3", "My name is Ada")
    body = {"model": "demo:2", "chat_id": chat_id, "session_id": "s", "user_message": {"content": "And now?"}}
    assert (await user.post("/api/chat/completions", body)).status_code == 200


async def test_deleting_a_chat_stops_its_answers_and_unlists_it(server: Running) -> None:
    admin, user = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await user.new_chat()
    await user.ask(chat_id, "demo:10000")
    assert (await user.http.delete(f"/api/v1/chats/{chat_id}")).json() is True
    assert (await user.get(f"/api/v1/chats/{chat_id}")).status_code == 401
    assert (await admin.get(f"/api/v1/chats/{chat_id}")).status_code == 200  # an admin still sees what was said
    assert (await user.get("/api/v1/chats/")).json() == []
    assert len(server.system.runs) == 0


async def test_a_message_that_is_being_written_is_stopped_before_it_is_deleted(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:10000")
    path = f"/api/v1/chats/{chat_id}/messages/{begun['message_id']}"
    refused = await user.http.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "generation_open")
    assert (await user.post(f"/api/tasks/stop/{begun['task_id']}")).json()["status"] is True
    stopped = await finished(user, chat_id, begun["message_id"])
    assert stopped["state"] == "cancelled"
    assert (await user.http.delete(path)).status_code == 200
    assert begun["message_id"] not in await messages_of(user, chat_id)


async def test_tasks_are_listed_and_only_their_own_people_stop_them(server: Running) -> None:
    await server.sign_up("Root")
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:10000")
    assert (await ada.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": [begun["task_id"]]}
    assert (await ada.get("/api/tasks/")).json() == {"tasks": [begun["task_id"]]}
    assert (await bob.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    assert (await bob.get("/api/tasks/")).json() == {"tasks": []}
    assert (await bob.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 404
    assert (await ada.post(f"/api/tasks/chat/{chat_id}/stop")).json()["status"] is True
    assert (await ada.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}


async def test_a_model_that_fails_leaves_an_error_and_what_it_had_said(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:fail")
    message = await finished(user, chat_id, begun["message_id"])
    assert message["state"] == "error"
    assert message["error"]["content"]
    assert message["content"]


async def test_a_model_that_is_not_there_changes_nothing(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    body = {"model": "no-such", "chat_id": chat_id, "session_id": "s", "messages": [{"role": "user", "content": "hi"}]}
    answer = await user.post("/api/chat/completions", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "model_not_found")
    assert (await user.get(f"/api/v1/chats/{chat_id}")).json()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "demo"},
        {"model": 7, "messages": [{"role": "user", "content": "x"}]},
        {"model": "demo", "messages": "x"},
        {"model": "demo", "messages": [{"content": "x"}]},
        {"model": "demo", "messages": [{"role": "user", "content": "x"}], "chat_id": 5},
        {"model": "demo", "messages": [{"role": "user", "content": "x"}], "message_ids": [5]},
        {"model": "demo", "messages": [{"role": "user", "content": "x"}], "user_message": "x"},
    ],
)
async def test_a_completion_that_cannot_be_is_refused_with_a_reason(server: Running, body: Any) -> None:
    user = await server.sign_up()
    answer = await user.post("/api/chat/completions", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_any_openai_client_gets_its_answer_whole_or_streamed(server: Running) -> None:
    user = await server.sign_up()
    body = {"model": "demo:4", "messages": [{"role": "user", "content": "hi"}]}
    whole = (await user.post("/v1/chat/completions", body)).json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["finish_reason"] == "stop"
    streamed = (await user.post("/v1/chat/completions", {**body, "stream": True})).text
    assert streamed.endswith("data: [DONE]\n\n")
    assert f"id: {server.epoch}:" in streamed
    assert (await user.get("/api/v1/chats/")).json() == []
    assert any(one["id"] == "demo" for one in (await user.get("/v1/models")).json()["data"])


async def test_a_streamed_completion_repeated_by_its_key_is_the_same_stream_from_its_start(server: Running) -> None:
    user = await server.sign_up()
    body = {"model": "demo:4", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    first = await user.post("/api/chat/completions", body, **{"idempotency-key": "k"})
    again = await user.post("/api/chat/completions", body, **{"idempotency-key": "k"})
    assert again.text == first.text


async def test_operators_see_health_readiness_and_figures(server: Running) -> None:
    user = await server.sign_up()
    assert (await user.get("/health")).json() == {"status": True}
    ready = (await user.get("/ready")).json()
    assert (ready["ready"], ready["epoch"]) == (True, server.epoch)
    assert "stenograph_log_head" in (await user.get("/metrics")).text
    assert (await user.get("/docs")).status_code == 200
    assert (await user.get("/nowhere")).json()["code"] == "no_such_route"


@pytest.mark.parametrize("content", [{"blob": "nothex"}, {"blob": 5}, {"blob": "ab" * 32}, {"blob": None, "text": "x"}])
async def test_content_that_only_looks_like_a_reference_leaves_the_chat_readable(server: Running, content: Any) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    added = await user.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": content})
    assert added.status_code == 200
    assert [message["content"] for message in (await messages_of(user, chat_id)).values()] == [content]
