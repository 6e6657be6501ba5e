"""The OpenAPI description says the truth: about sign-in, refusals, media types and what a route can be sent."""

import asyncio
import json
import re
from typing import Any

import pytest

from api.app import routes_of
from api.request import openai_errors
from api.settings import Settings
from api.systems import in_memory
from tests.api.conftest import Running

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Made once: it takes half a second of a core."""
    return asyncio.run(description())


async def description() -> dict[str, Any]:
    return routes_of(Settings()).on(await in_memory(Settings())).openapi_schema.to_schema()


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, operation) for path, item in schema["paths"].items() for method, operation in item.items()]


def test_every_route_is_described_and_says_how_it_refuses(schema: dict[str, Any]) -> None:
    for method, path, operation in operations(schema):
        assert operation["description"], f"{method} {path}"
        name = "RefusedByOpenAI" if openai_errors.is_spoken(path) else "Refused"
        name = "RefusedByAnthropic" if path.startswith("/v1/messages") else name
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert set(map(json.dumps, refusals.values())) == {json.dumps({"$ref": f"#/components/responses/{name}"})}, f"{method} {path}"
        assert "default" in refusals


async def test_a_route_needs_a_sign_in_where_the_server_asks_for_one(server: Running, schema: dict[str, Any]) -> None:
    assert schema["security"] == [{"token": []}, {"key": []}, {"cookie": []}]
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    public = {(method, path) for method, path, operation in operations(schema) if operation.get("security") == []}
    assert {("get", "/health"), ("post", "/api/v1/auths/signin"), ("get", "/api/config")} <= public
    async with server.client() as stranger:
        for method, path, operation in operations(schema):
            if method == "get" and "{" not in path:
                is_refused = (await stranger.get(path)).status_code == 401
                assert is_refused == (operation.get("security") != []), path


def test_no_value_of_a_union_is_refused_for_matching_twice(schema: dict[str, Any]) -> None:
    assert '"oneOf"' not in json.dumps(schema["paths"])


def test_completions_have_a_typed_body_and_may_be_streamed(schema: dict[str, Any]) -> None:
    for path in ("/api/chat/completions", "/v1/chat/completions", "/openai/chat/completions"):
        operation = schema["paths"][path]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert (body["properties"]["messages"]["type"], body["additionalProperties"]) == ("array", True)
        assert "text/event-stream" in operation["responses"]["200"]["content"]


def test_what_the_other_dialects_stream_is_named(schema: dict[str, Any]) -> None:
    for method, path in (
        ("post", "/v1/responses"),
        ("get", "/v1/responses/{response_id}"),
        ("post", "/v1/messages"),
        ("post", "/v1/completions"),
    ):
        assert "text/event-stream" in schema["paths"][path][method]["responses"]["200"]["content"]


async def test_the_media_type_that_is_sent_is_the_one_that_is_named(server: Running, schema: dict[str, Any]) -> None:
    ada = await server.sign_up()
    streamed = await ada.get("/api/v1/chats/stats/export", stream=True)
    assert streamed.headers["content-type"].split(";")[0] == "application/x-ndjson"
    content = schema["paths"]["/api/v1/chats/stats/export"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "application/x-ndjson"}


async def test_a_wrong_method_is_told_the_right_ones(server: Running) -> None:
    ada = await server.sign_up()
    for method, path, allowed in (("DELETE", "/api/v1/log", "GET"), ("PUT", "/api/v1/chats/new", "POST"), ("POST", "/health", "GET")):
        refused = await ada.http.request(method, path)
        assert (refused.status_code, allowed in refused.headers["allow"].split(", ")) == (405, True)


async def test_what_a_path_allows_is_named_in_full(server: Running, schema: dict[str, Any]) -> None:
    ada = await server.sign_up()
    for path, item in schema["paths"].items():
        answer = await ada.http.request("OPTIONS", re.sub(r"\{[^}]*\}", "0190b6a4-0000-7000-8000-000000000000", path))
        assert set(answer.headers["allow"].split(", ")) == {*map(str.upper, item), "OPTIONS"}, path


async def test_the_page_needs_nothing_from_elsewhere(server: Running) -> None:
    async with server.client() as anyone:
        page = (await anyone.get("/docs")).text
    assert "https://" not in page.replace("https://www.w3.org", "")
    assert "http://" not in page
