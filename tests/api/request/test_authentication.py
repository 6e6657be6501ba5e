"""Who is not signed in is told so before the server reads a body."""

import asyncio
import re

import pytest

from tests.api.conftest import Running

pytestmark = pytest.mark.anyio

PUBLIC = {
    ("POST", "/api/v1/auths/signup"),
    ("POST", "/api/v1/auths/signin"),
    ("GET", "/api/v1/auths/signout"),
    ("POST", "/api/v1/auths/signout"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/api/config"),
    ("GET", "/api/version"),
    ("POST", "/api/v1/channels/webhooks/{webhook_id}"),  # by tokens of their own, and with small bodies
    ("POST", "/api/v1/channels/webhooks/{webhook_id}/{token}"),
}


async def status_without_a_body(server: Running, method: str, path: str) -> int:
    """The status that comes when a request announces a body and sends none of it."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 15000000\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(60):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_every_route_but_the_public_ones_refuses_a_stranger_before_the_body_is_sent(server: Running) -> None:
    async with server.client() as stranger:
        paths = (await stranger.get("/docs/openapi.json")).json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routes >= PUBLIC
    for method, path in sorted(routes - PUBLIC):
        path = re.sub(r"\{\w+\}", "32da4dab-d7e3-4ec3-a327-183d393cdc97", path)
        assert await status_without_a_body(server, method, path) == 401, f"{method} {path}"


async def test_json_that_is_nested_beyond_the_stack_is_a_bad_request(server: Running) -> None:
    user = await server.sign_up()
    for path in ("/api/chat/completions", "/v1/chat/completions", "/api/v1/chats/new"):
        answer = await user.http.post(path, content=b"[" * 200_000, headers={"content-type": "application/json"})
        assert answer.status_code == 400, path


async def test_an_if_match_of_thousands_of_digits_is_a_bad_request(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    answer = await user.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "x"}}, **{"if-match": '"' + "9" * 4301 + '"'})
    assert answer.status_code == 400


async def test_a_file_name_with_a_zero_byte_is_not_found(server: Running) -> None:
    async with server.client() as stranger:
        assert (await stranger.get("/docs/assets/%00")).status_code == 404
        assert (await stranger.get("/docs/assets/swagger-ui.css")).status_code == 200


async def test_a_key_in_anthropics_header_authenticates_like_a_bearer_token(server: Running) -> None:
    ada = await server.sign_up()
    made = (await ada.post("/api/v1/auths/api_key")).json()["api_key"]
    async with server.client() as http:
        for path in ("/v1/models", "/api/models"):
            for credential in (ada.token, made):
                assert (await http.get(path, headers={"x-api-key": credential})).status_code == 200
            assert (await http.get(path, headers={"x-api-key": "sk-wrong"})).status_code == 401
            assert (await http.get(path, headers={"x-api-key": ""})).status_code == 401
            # Where both are given the bearer token counts.
            wrong = {"x-api-key": ada.token, "authorization": "Bearer sk-wrong"}
            assert (await http.get(path, headers=wrong)).status_code == 401
