"""What a browser lets a page of another origin do, and where a person who opens the address is led."""

from pathlib import Path

import httpx
import pytest

from api.settings import Settings
from tests.api.conftest import Running

pytestmark = pytest.mark.anyio

NAMED, OTHER = "https://app.example.org", "https://evil.example"
ORIGINS: dict[str, tuple[str, ...]] = {"named": (NAMED, "http://localhost:5173"), "any": ("*",), "none": ()}


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """With the origins that a test asks for by ``allowing``, else none."""
    origins = ORIGINS[getattr(request, "param", "none")]
    return Settings(data=tmp_path, drain_s=0.2, allowed_origins=origins)


def allowing(origins: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [origins], indirect=True)


async def preflight(server: Running, origin: str, method: str = "POST") -> httpx.Response:
    asked = {"access-control-request-method": method, "access-control-request-headers": "authorization,content-type,idempotency-key"}
    async with server.client() as http:
        return await http.options("/api/v1/chats/new", headers={"origin": origin, **asked})


async def ready(server: Running, origin: str) -> httpx.Response:
    async with server.client() as http:
        return await http.get("/ready", headers={"origin": origin})


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


@allowing("named")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_named_origin_is_told_what_it_may_send(server: Running, method: str) -> None:
    answer = await preflight(server, NAMED, method)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == NAMED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in words(answer.headers["vary"])
    assert method.lower() in words(answer.headers["access-control-allow-methods"])
    assert {"authorization", "content-type", "idempotency-key"} <= words(answer.headers["access-control-allow-headers"])


@allowing("named")
async def test_a_named_origin_reads_answers_refusals_and_our_headers(server: Running) -> None:
    async with server.client() as http:
        for path in ("/ready", "/api/v1/chats/", "/nowhere"):
            answer = await http.get(path, headers={"origin": NAMED})
            assert answer.headers["access-control-allow-origin"] == NAMED, path
            assert answer.headers["access-control-allow-credentials"] == "true", path
            assert {"x-chat-id", "x-cursor", "x-request-id", "retry-after"} <= words(answer.headers["access-control-expose-headers"])


@allowing("named")
async def test_a_named_origin_may_act_by_the_session_cookie(server: Running) -> None:
    user = await server.sign_up()
    user.http.headers.pop("authorization")
    user.http.cookies.set("token", user.token)
    body = {"chat": {"title": "From the page"}}
    from_page = {"origin": NAMED, "sec-fetch-site": "same-site"}
    assert (await user.post("/api/v1/chats/new", body, **from_page)).status_code == 200
    assert (await user.post("/api/v1/chats/new", body, **from_page | {"origin": OTHER})).status_code == 403


@allowing("named")
async def test_another_origin_is_refused(server: Running) -> None:
    assert (await preflight(server, OTHER)).status_code == 400
    assert "access-control-allow-origin" not in (await ready(server, OTHER)).headers


@allowing("any")
async def test_any_origin_may_call_but_not_by_the_cookie(server: Running) -> None:
    answer = await preflight(server, OTHER)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "access-control-allow-credentials" not in answer.headers
    user = await server.sign_up()
    body = {"chat": {"title": "From a page"}}
    by_token = await user.post("/api/v1/chats/new", body, origin=OTHER)
    assert (by_token.status_code, by_token.headers["access-control-allow-origin"]) == (200, "*")
    user.http.headers.pop("authorization")
    user.http.cookies.set("token", user.token)
    by_cookie = await user.post("/api/v1/chats/new", body, origin=OTHER)
    assert by_cookie.status_code == 403
    assert "access-control-allow-credentials" not in by_cookie.headers


async def test_without_origins_no_answer_names_one(server: Running) -> None:
    for answer in (await preflight(server, NAMED), await ready(server, NAMED)):
        assert [name for name in answer.headers if name.startswith("access-control-")] == []


async def test_the_address_alone_leads_to_the_description_of_the_api(server: Running) -> None:
    async with server.client() as http:
        answer = await http.get("/", headers={"accept": "text/html"})
        assert (answer.status_code, 'href="/docs"' in answer.text) == (200, True)
        page = await http.get("/docs")
        assert (page.status_code, "swagger-ui" in page.text) == (200, True)
