"""Routes that Open WebUI's page asks for and no list of ours had: its search window, its ratings, its new chats, its settings."""

import pytest

from api.version import VERSION
from tests.api.conftest import Running

pytestmark = pytest.mark.anyio


async def test_a_page_begins_a_chat_with_a_question_alone(server: Running) -> None:
    ada = await server.sign_up()
    question = {"id": "0190a000-0000-7000-8000-000000000001", "role": "user", "content": "What is new?", "parentId": None}
    body = {
        "model": "demo:3",
        "stream": True,
        "session_id": "tab",
        "id": "0190a000-0000-7000-8000-000000000002",
        "message_ids": [{"model_id": "demo:3", "message_id": "0190a000-0000-7000-8000-000000000002", "modelIdx": 0}],
        "parent_id": None,
        "user_message": question,
        "messages": [{"role": "system", "content": "Be brief."}],
    }
    begun = await ada.post("/api/chat/completions", body)
    assert begun.status_code == 200, begun.text
    chat_id = begun.json()["chat_id"]
    listed = (await ada.get("/api/v1/chats/")).json()
    assert [(one["id"], one["title"]) for one in listed] == [(chat_id, "What is new?")]
    chat = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]
    assert chat["models"] == ["demo:3"]
    assert [one["id"] for one in chat["messages"]] == [question["id"], body["id"]]
    missing = {**body, "folder_id": "0190a000-0000-7000-8000-000000000003"}
    refused = await ada.post("/api/chat/completions", missing)
    assert (refused.status_code, refused.json()["code"]) == (404, "folder_not_found")
    assert len((await ada.get("/api/v1/chats/")).json()) == 1


async def test_the_search_window_finds_ones_own_chats(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Weather")
    said = await ada.add(chat_id, "A heavy thunderstorm")
    await bob.add(await bob.new_chat(), "thunderstorm")
    found = (await ada.get("/api/v1/search", q="thunder", kind="all", sharing="all", scope="", page=1)).json()
    (item,) = found["items"]
    assert (item["id"], item["url"]) == (f"chat:{chat_id}", f"/c/{chat_id}?message={said['message_id']}")
    assert (item["title"], "thunderstorm" in item["snippet"], found["has_more"]) == ("Weather", True, False)
    assert len((await ada.get("/api/v1/search", q="")).json()["items"]) == 1
    assert (await ada.get("/api/v1/search", q="thunder", kind="note")).json()["items"] == []


async def test_a_rating_of_the_page_is_the_message_s(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:3")
    message_id = begun["message_ids"][0]
    body = {
        "type": "rating",
        "data": {"rating": 1, "reason": None, "comment": "good"},
        "meta": {"chat_id": chat_id, "message_id": message_id, "model_id": "demo:3"},
        "snapshot": {"chat": {"id": chat_id}},
    }
    made = (await ada.post("/api/v1/evaluations/feedback", body)).json()
    body["data"] = {"rating": -1}
    assert (await ada.post(f"/api/v1/evaluations/feedback/{made['id']}", body)).json()["id"] == made["id"]
    message = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"][message_id]
    assert message["annotation"]["rating"] == -1
    assert (await ada.post("/api/v1/evaluations/feedback/other", body)).status_code == 400
    assert (await bob.post("/api/v1/evaluations/feedback", body)).json()["code"] == "chat_not_found"
    assert (await ada.post("/api/v1/evaluations/feedback", {**body, "type": "note"})).status_code == 400


async def test_an_admin_lists_the_ratings_that_count_without_what_people_wrote(server: Running) -> None:
    admin, ada = await server.sign_up("Root"), await server.sign_up()
    rated: list[str] = []
    for rating in (1, -1, 1):
        chat_id = await ada.new_chat()
        answer = (await ada.ask(chat_id, "demo:2"))["message_ids"][0]
        body = {"type": "rating", "data": {"rating": rating, "comment": "a secret"}, "meta": {"chat_id": chat_id, "message_id": answer}}
        made = (await ada.post("/api/v1/evaluations/feedback", body)).json()
        rated.append(made["id"])
    await ada.post("/api/v1/evaluations/feedback", {**body, "data": {"rating": -1}})  # thought better of
    listed = (await admin.get("/api/v1/evaluations/feedbacks/list")).json()
    assert listed["total"] == 3
    assert [(one["id"], one["data"]["rating"]) for one in listed["items"]] == [(rated[2], -1), (rated[1], -1), (rated[0], 1)]
    assert {one["user"]["id"] for one in listed["items"]} == {ada.id}
    assert "secret" not in str(listed)
    best = (await admin.get("/api/v1/evaluations/feedbacks/list", order_by="rating", direction="desc")).json()
    assert [one["data"]["rating"] for one in best["items"]] == [1, -1, -1]
    assert (await admin.get("/api/v1/evaluations/feedbacks/list", page=2)).json() == {"items": [], "total": 3}
    assert (await admin.get("/api/v1/evaluations/feedbacks/list", order_by="name")).status_code == 400
    assert (await ada.get("/api/v1/evaluations/feedbacks/list")).status_code == 403


async def test_settings_are_merged_inside_ui(server: Running) -> None:
    ada = await server.sign_up()
    await ada.post("/api/v1/users/user/settings/update", {"ui": {"theme": "dark", "notifications": True}})
    changed = (await ada.post("/api/v1/users/user/settings/update", {"ui": {"theme": "light"}, "other": 1})).json()
    assert changed == (await ada.get("/api/v1/users/user/settings")).json()
    assert changed == {"ui": {"theme": "light", "notifications": True}, "other": 1}


async def test_a_time_zone_is_kept_among_the_settings(server: Running) -> None:
    ada = await server.sign_up()
    assert (await ada.post("/api/v1/auths/update/timezone", {"timezone": "Europe/Berlin"})).status_code == 200
    assert (await ada.get("/api/v1/users/user/settings")).json()["timezone"] == "Europe/Berlin"


async def test_a_server_without_accounts_says_so(server: Running) -> None:
    async with server.client() as http:
        config = (await http.get("/api/config")).json()
        assert (config["onboarding"], config["name"], config["version"]) == (True, "Stenograph", VERSION)
        await server.sign_up()
        assert "onboarding" not in (await http.get("/api/config")).json()
        front = await http.get("/")
        assert (front.status_code, "/ready" in front.text) == (200, True)
