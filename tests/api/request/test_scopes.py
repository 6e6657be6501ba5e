"""What an API key may do: each scope on each route. A route without a decision is for no key that has scopes."""

import re
from typing import Any

import httpx
import pytest

from api.request.scopes import ADMIN, CHAT, READ, ROUTE_SCOPES
from domain.accounts.api_key import SCOPES
from tests.api.conftest import Running, User
from tests.api.request.test_authentication import PUBLIC
from tests.docs.pages import ROOT, rows

pytestmark = pytest.mark.anyio
READS_BY_POST = {"POST /api/v1/chats/tags", "POST /api/v1/auths/ticket"}  # their bodies only say what is asked for


async def routes_of(server: Running) -> set[str]:
    """Every route that needs an account."""
    async with server.client() as stranger:
        paths = (await stranger.get("/docs/openapi.json")).json()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods if (method.upper(), path) not in PUBLIC}


async def with_key(server: Running, user: User, scopes: list[str] | None) -> httpx.AsyncClient:
    made = await user.post("/api/v1/auths/keys", {"name": str(scopes), "scopes": scopes})
    assert made.status_code == 200, made.text
    client = await server.clients.enter_async_context(server.client())
    client.headers["authorization"] = f"Bearer {made.json()['api_key']}"
    return client


def is_missing_scope(answer: httpx.Response) -> bool:
    said: Any = answer.json() if "json" in answer.headers.get("content-type", "") and answer.status_code == 403 else {}
    error = said.get("error") if isinstance(said.get("error"), dict) else {}
    # In Anthropic's shape there is no code.
    return "scope_missing" in (said.get("code"), error.get("code")) or "expected a key with the scope" in error.get("message", "")


async def test_every_route_has_its_scopes_and_no_other_has(server: Running) -> None:
    assert set(ROUTE_SCOPES) == await routes_of(server)
    assert all(ROUTE_SCOPES.values())


def test_only_keys_that_may_change_something_reach_what_changes_something() -> None:
    for route, scopes in ROUTE_SCOPES.items():
        if not route.startswith("GET ") and route not in READS_BY_POST:
            assert not scopes & READ, route


def test_what_is_for_admins_auditors_and_analysts_is_for_keys_with_their_scope() -> None:
    who = {f"{row[0]} {re.findall(r'`([^`]+)`', row[1])[0]}": row[3] for row in rows(ROOT / "docs" / "reference" / "http.md", "method")}
    for route, scopes in ROUTE_SCOPES.items():
        assert (scopes == ADMIN) == (who[route] in ("admin", "auditor", "analyst")), route
        assert who[route] not in ("writer", "owner") or scopes <= CHAT | READ, route


@pytest.mark.parametrize("scope", [*SCOPES, None])
async def test_a_key_reaches_the_routes_of_its_scope_and_no_other(server: Running, scope: str | None) -> None:
    admin = await server.sign_up()
    client = await with_key(server, admin, [scope] if scope is not None else None)
    held = {*SCOPES} if scope is None else {"chat", "read"} if scope == "chat" else {scope}
    for route, scopes in sorted(ROUTE_SCOPES.items()):
        method, path = route.split(" ")
        one = admin.id if path == "/api/v1/users/{user_id}" else "32da4dab-d7e3-4ec3-a327-183d393cdc97"
        url = re.sub(r"\{\w+\}", one, path)
        answer = await client.request(method, url, json={} if method in ("POST", "PATCH") else None)
        assert is_missing_scope(answer) == held.isdisjoint(scopes), f"{route}: {answer.status_code} {answer.text[:200]}"


async def test_a_route_that_is_not_in_the_table_is_for_no_key_with_scopes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = await server.sign_up()
    limited, unlimited = await with_key(server, admin, [*SCOPES]), await with_key(server, admin, None)
    monkeypatch.delitem(ROUTE_SCOPES, "GET /api/models")  # type: ignore[arg-type]  # as if it had been forgotten
    assert is_missing_scope(await limited.get("/api/models"))
    assert (await unlimited.get("/api/models")).status_code == 200
    assert (await admin.get("/api/models")).status_code == 200


async def test_a_socket_needs_a_key_that_may_read_and_writes_with_one_that_may_write(server: Running) -> None:
    ada = await server.sign_up()
    chat_id = await ada.new_chat()
    keys = {}
    for scope in SCOPES:
        made = (await ada.post("/api/v1/auths/keys", {"name": scope, "scopes": [scope]})).json()
        keys[scope] = made["api_key"]
    for scope in ("account", "admin"):
        wire = await server.connect(authorization=f"Bearer {keys[scope]}")
        assert await wire.closed() == 4403
    for scope, may_write in (("read", False), ("chat", True)):
        wire = await server.connect(authorization=f"Bearer {keys[scope]}")
        await wire.op("welcome")
        await wire.say(op="subscribe", id="1", stream=f"chat/{chat_id}", after="start")
        assert (await wire.op("subscribed", id="1"))["write_access"] is may_write
