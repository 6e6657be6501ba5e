"""Whole lists of model servers, as Open WebUI's page of connections reads and sends them."""

from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.api.conftest import Running, User, running
from tests.api.providers.support import MODEL, added, ask, everywhere, model_server, models_of, provider_events, questions

pytestmark = pytest.mark.anyio
KEY = "sk-a-key-of-the-operator"


def openai_list(*urls: str, keys: list[str] | None = None, configs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"OPENAI_API_BASE_URLS": list(urls), "OPENAI_API_KEYS": keys or [], "OPENAI_API_CONFIGS": configs or {}, **more}


async def updated(admin: User, body: dict[str, Any], kind: str = "openai") -> dict[str, Any]:
    answer = await admin.post(f"/{kind}/config/update", body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == (await admin.get(f"/{kind}/config")).json()
    return dict(answer.json())


async def test_a_list_is_made_changed_and_emptied(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server("one", key=KEY) as first, model_server("two") as second:
        config = {"enable": True, "prefix_id": "p", "tags": [{"name": "t"}], "model_ids": [], "connection_type": "external"}
        made = await updated(admin, openai_list(f"{first.url}/v1/", f"{second.url}/v1", keys=[KEY], configs={"0": config}))
        assert made["OPENAI_API_BASE_URLS"] == [f"{first.url}/v1", f"{second.url}/v1"]
        assert made["OPENAI_API_KEYS"] == ["***", ""]
        assert (made["OPENAI_API_CONFIGS"]["0"]["prefix_id"], made["OPENAI_API_CONFIGS"]["0"]["tags"]) == ("p", [{"name": "t"}])
        assert made["ENABLE_OPENAI_API"] is True
        assert await models_of(server, admin) == ["p.one", "two"]
        assert await ask(admin, "p.one") == "Hello"

        turned = await updated(admin, openai_list(f"{second.url}/v1", f"{first.url}/v1", keys=["", "***"], configs={"1": config}))
        assert turned["OPENAI_API_BASE_URLS"] == [f"{second.url}/v1", f"{first.url}/v1"]
        assert await models_of(server, admin) == ["two", "p.one"]
        assert await ask(admin, "p.one") == "Hello"

        await updated(admin, openai_list(f"{first.url}/v1", keys=["***"]))
        assert await models_of(server, admin) == ["one"]
        assert (await updated(admin, openai_list()))["OPENAI_API_BASE_URLS"] == []
        assert await models_of(server, admin) == []


async def test_what_is_sent_back_as_it_came_changes_nothing(settings: Settings) -> None:
    named = {
        "home": {"kind": "ollama", "base_url": "http://127.0.0.1:3", "prefix_id": "h", "headers": {"X-A": "secret-value"}, "tags": ["a"]}
    }
    given = msgspec.structs.replace(settings, openai_base_urls=("http://127.0.0.1:1/v1",), openai_api_keys=(KEY,), providers=named)
    async with running(given) as server:
        admin = await server.sign_up()
        await added(admin, "http://127.0.0.1:2/v1", key="sk-mine", headers={"X-B": "another-value"}, idle_timeout_s=5, model_ids=["m"])
        before = await provider_events(server)
        for kind in ("openai", "ollama"):
            config = (await admin.get(f"/{kind}/config")).json()
            assert await updated(admin, config, kind) == config
        assert await provider_events(server) == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (openai_list("http://127.0.0.1:1/v1", "nonsense"), "base_url"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"azure": True}}), "azure"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"auth_type": "azure_ad"}}), "auth_type"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"prefix_id": "a b"}}), "prefix_id"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"model_ids": "x"}}), "model_ids"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"tags": [1]}}), "tags"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"tags": 5}}), "tags"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"tags": "fast"}}), "tags"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"enable": "no"}}), None),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"headers": {"Host": "x"}}}), "headers"),
        (openai_list("http://127.0.0.1:1/v1", "http://127.0.0.1:2", configs={"1": {"headers": ["x"]}}), None),
        (openai_list("http://127.0.0.1:1/v1", "http://169.254.169.254/v1"), None),
    ],
)
async def test_one_wrong_entry_and_nothing_of_the_list_is_written(server: Running, body: dict[str, Any], param: str | None) -> None:
    admin = await server.sign_up()
    answer = await admin.post("/openai/config/update", body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("param")) == (400, "bad_request", param), answer.text
    assert await provider_events(server) == []


async def test_a_provider_of_the_settings_stays_in_the_list(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, ollama_base_urls=("http://127.0.0.1:1",))) as server:
        admin = await server.sign_up()
        answer = await admin.post("/ollama/config/update", {"OLLAMA_BASE_URLS": [], "OLLAMA_API_CONFIGS": {}})
        assert answer.status_code == 400
        assert "settings" in answer.json()["detail"]
        config = (await admin.get("/ollama/config")).json()
        config["OLLAMA_API_CONFIGS"]["0"]["enable"] = False
        assert (await updated(admin, config, "ollama"))["OLLAMA_API_CONFIGS"]["0"]["enable"] is False


async def test_a_whole_kind_is_switched_off_and_on(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server("x") as upstream:
        config = await updated(admin, {"OLLAMA_BASE_URLS": [upstream.url], "OLLAMA_API_CONFIGS": {"0": {"key": KEY}}}, "ollama")
        assert await models_of(server, admin) == ["x"]
        assert upstream.asked[-1].headers["authorization"] == f"Bearer {KEY}"
        off = await updated(admin, {**config, "ENABLE_OLLAMA_API": False}, "ollama")
        assert off["ENABLE_OLLAMA_API"] is False
        assert await models_of(server, admin) == []
        assert await ask(admin, "x") == (404, "model_not_found")
        assert questions(upstream) == []
        await updated(admin, {**config, "ENABLE_OLLAMA_API": True}, "ollama")
        assert await models_of(server, admin) == ["x"]


async def test_a_server_is_tried_out(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server(key=KEY) as upstream:
        found = await admin.post("/openai/verify", {"url": f"{upstream.url}/v1", "key": KEY, "config": {}})
        assert [model["id"] for model in found.json()["data"]] == [MODEL]
        assert (await admin.post("/ollama/verify", {"url": upstream.url, "key": KEY})).json() == {"version": "0.9.1"}
        for kind in ("openai", "ollama"):
            refused = await admin.post(f"/{kind}/verify", {"url": upstream.url, "key": "sk-wrong-key"})
            assert (refused.status_code, refused.json()["code"]) == (502, "provider_status")
            assert refused.json()["detail"] == "HTTP 401: no such key"
        await added(admin, f"{upstream.url}/v1", key=KEY)
        await everywhere(server)
        stored = await admin.post("/openai/verify", {"url": f"{upstream.url}/v1", "key": "***"})
        assert stored.status_code == 200
    gone = await admin.post("/openai/verify", {"url": "http://127.0.0.1:1/v1"})
    assert (gone.status_code, gone.json()["code"]) == (502, "provider_unreachable")
    closed = await admin.post("/openai/verify", {"url": "http://169.254.169.254/v1"})
    assert closed.status_code == 400


@pytest.mark.postgres
async def test_a_provider_is_there_after_a_restart(settings: Settings, database: str) -> None:
    async with model_server(key=KEY) as upstream:
        async with running(settings, database) as server:
            admin = await server.sign_up()
            await added(admin, f"{upstream.url}/v1", key=KEY, prefix_id="p")
        async with running(settings, database) as server:
            admin = await server.sign_up("Bob")
            assert await models_of(server, admin) == [f"p.{MODEL}"]
            assert await ask(admin, f"p.{MODEL}") == "Hello"
