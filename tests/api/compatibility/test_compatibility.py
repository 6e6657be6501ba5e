"""What clients of Open WebUI ask for besides chats."""

import base64
from typing import Any

import httpx
import pytest

from tests.api.conftest import Running

pytestmark = pytest.mark.anyio
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


async def test_anyone_is_told_what_this_is(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        config, version = (await anyone.get("/api/config")).json(), (await anyone.get("/api/version")).json()
    assert config["name"] == "Stenograph"
    assert config["version"] == version["version"]
    assert config["features"] | {"auth": True, "enable_websocket": True, "enable_login_form": True} == config["features"]
    assert server.epoch in version["deployment_id"]


@pytest.mark.parametrize("path", ["tools", "prompts/", "knowledge", "notes", "notes/pinned", "memories", "functions", "configs/banners"])
async def test_what_is_not_here_is_an_empty_list(server: Running, path: str) -> None:
    ada = await server.sign_up()
    assert (await ada.get(f"/api/v1/{path}")).json() == []
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        assert (await anyone.get(f"/api/v1/{path}")).status_code == 401


async def test_models_are_the_same_list_under_each_address(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    models = (await ada.get("/api/models")).json()
    assert (await bob.get("/api/v1/models")).json() == models == (await ada.get("/api/models/base")).json()
    assert (await bob.get("/api/models/base")).status_code == 403
    openai = (await bob.get("/openai/models")).json()["data"]
    assert [one["id"] for one in openai] == [one["id"] for one in models["data"]]
    assert (await bob.get(f"/openai/models/{openai[0]['id']}")).json() == openai[0]


@pytest.mark.parametrize("path", ["/openai/chat/completions", "/api/v1/chat/completions"])
async def test_completions_answer_under_each_address(server: Running, path: str) -> None:
    ada = await server.sign_up()
    answered = (await ada.post(path, {"model": "demo:3", "messages": [{"role": "user", "content": "Hello"}]})).json()
    assert answered["choices"][0]["message"]["content"]
    refused = await ada.post(path, {"model": "nobody", "messages": [{"role": "user", "content": "Hello"}]})
    assert (refused.status_code // 100, "error" in refused.json()) == (4, path.startswith("/openai")), refused.text


async def test_all_accounts_at_once_are_for_admins(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    every = (await ada.get("/api/v1/users/all")).json()
    assert ([one["id"] for one in every["users"]], every["total"]) == ([ada.id, bob.id], 2)
    assert (await bob.get("/api/v1/users/all")).status_code == 403


async def test_the_address_of_a_picture_leads_to_one(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    address = (await ada.get(f"/api/v1/users/{bob.id}")).json()["profile_image_url"]
    initials = await ada.get(address)
    assert (initials.headers["content-type"].split(";")[0], ">B<" in initials.text) == ("image/svg+xml", True), initials.text
    picture = "data:image/png;base64," + base64.b64encode(PNG).decode()
    await bob.post("/api/v1/auths/update/profile", {"name": "Bob", "profile_image_url": picture})
    own = await ada.get(f"/api/v1/users/{bob.id}/profile/image")
    assert (own.headers["content-type"], own.content, own.headers["x-content-type-options"]) == ("image/png", PNG, "nosniff")
    await bob.post("/api/v1/auths/update/profile", {"name": "Bob", "profile_image_url": "https://example.org/a.png"})
    elsewhere = await ada.get(f"/api/v1/users/{bob.id}/profile/image")
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (302, "https://example.org/a.png")
    of_model = await ada.get("/api/v1/models/model/profile/image", id="<script>")
    assert (of_model.headers["content-type"].split(";")[0], "<script" in of_model.text) == ("image/svg+xml", False)


@pytest.mark.parametrize("task", ["title", "tags", "follow_up"])
async def test_a_model_is_given_a_task_about_a_conversation(server: Running, task: str) -> None:
    ada = await server.sign_up()
    body = {"model": "demo:5", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    answered = (await ada.post(f"/api/v1/tasks/{task}/completions", body)).json()
    assert answered["choices"][0]["message"]["content"]
    assert (await ada.get("/api/v1/chats/")).json() == []
    assert (await ada.get("/api/v1/tasks/config")).json()["ENABLE_TITLE_GENERATION"] is True


@pytest.mark.parametrize(
    ("task", "body"), [("wizard", {"messages": [{}]}), ("title", {}), ("title", {"messages": "x"}), ("title", {"messages": [{}]})]
)
async def test_a_task_that_is_none_is_refused(server: Running, task: str, body: dict[str, Any]) -> None:
    ada = await server.sign_up()
    assert (await ada.post(f"/api/v1/tasks/{task}/completions", body)).status_code == 400
