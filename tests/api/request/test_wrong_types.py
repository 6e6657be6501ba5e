"""Every known field of every route, and every parameter and header, with values that do not fit: a refusal, and nothing written.

A 500 is a bug. What is refused with 4xx has left the log as it was and has started nothing.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from api.completions.parameters import CHECKS
from tests.api.conftest import Running, User
from tests.api.plain_client import plain_client

pytestmark = pytest.mark.anyio

BASES: dict[str, dict[str, Any]] = {
    "/api/chat/completions": {"model": "demo:1", "messages": [{"role": "user", "content": "x"}], "session_id": "tab"},
    "/v1/chat/completions": {"model": "demo:1", "messages": [{"role": "user", "content": "x"}]},
    "/api/v1/users/user/settings/update": {"ui": {}},
    "/api/v1/tasks/{task}/completions": {"model": "demo:1", "messages": [{"role": "user", "content": "x"}]},
}
BASES |= {
    "/openai/chat/completions": BASES["/v1/chat/completions"],
    "/api/v1/chat/completions": BASES["/api/chat/completions"],
}
FREE_FIELDS = {  # of bodies that are no struct of their own
    "/v1/chat/completions": [*CHECKS, "model", "messages"],
    "/api/v1/users/user/settings/update": ["ui"],
}
FREE_FIELDS["/openai/chat/completions"] = FREE_FIELDS["/v1/chat/completions"]
FREE_FIELDS["/api/v1/tasks/{task}/completions"] = [*FREE_FIELDS["/v1/chat/completions"], "prompt", "chat_id"]
FREE_FIELDS["/api/v1/chat/completions"] = FREE_FIELDS["/api/chat/completions"] = [
    *FREE_FIELDS["/v1/chat/completions"],
    *("chat_id", "session_id", "id", "parent_id", "parent_message", "user_message", "message_ids", "params", "files", "features"),
    *("variables", "model_item", "background_tasks", "tool_servers"),
]
LONG = 10**40
DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]
WRONG: list[Any] = [
    *(5, -1, 1.5, LONG, True, None, "", "x", "\x00", "\ud800", "x" * 70_000, [], {}, [5], [None], [{}], {"x": 5}, {"\x00": "\x00"}),
    *([{"message_id": 5}], [{"model_id": "m", "message_id": 5}], [{"model_id": 5, "message_id": "m"}], [{"role": 5, "content": 5}]),
    *([{"role": "user", "content": {"x": 5}}], [{"role": "user", "content": [5]}], {"content": {"x": 5}}, {"id": 5, "content": "x"}),
    *({"include_usage": []}, {"history": 5}, {"history": {"messages": 5}}, {"history": {"messages": {"x": 5}, "currentId": 5}}),
    *({"history": {"messages": {"x": {"id": 5, "role": 5, "parentId": 5, "childrenIds": 5}}}}, {"title": 5}, {"tags": [{"name": 5}]}),
    *({"parentId": 5, "content": "x"}, {"timestamp": "x"}, DEEP, [DEEP], {"x": DEEP}),
]
TEXTS = ["", "x", "-1", "0", "1.5", "9" * 4400, "\x00", "null", "[]", "a:b", "start:1", "1e400", "ü", "😀" * 400, "2026-13-45T99:99:99Z"]


async def test_no_field_of_a_body_makes_a_bug(server: Running) -> None:
    user, ids = await furnished(server)
    schema = (await user.get("/docs/openapi.json")).json()
    bugs, written = [], []
    with plain_client(server, user) as client:
        for method, path, fields in routes_with_bodies(schema):
            for field in fields:
                for wrong in WRONG:
                    body = {**BASES.get(path, example(schema, method, path)), field: wrong}
                    head = await server.system.log.head()
                    answer = await client.request(method, filled(path, ids), json.dumps(body).encode())
                    told = f"{method} {path} {field}={str(wrong)[:60]!r}: {answer.status_code}"
                    if answer.status_code >= 500:
                        bugs.append(told)
                    elif answer.status_code >= 400 and await server.system.log.head() != head:
                        written.append(told)
                    await settle(server)
    assert bugs == []
    assert written == []


async def test_no_body_of_another_shape_makes_a_bug(server: Running) -> None:
    user, ids = await furnished(server)
    schema = (await user.get("/docs/openapi.json")).json()
    bodies = [json.dumps(wrong).encode() for wrong in WRONG] + [b"", b"{", b"\xff", b"NaN", b'{"a":1,"a":2}']
    bugs = []
    with plain_client(server, user) as client:
        for method, path, _ in routes_with_bodies(schema):
            for body in bodies:
                answer = await client.request(method, filled(path, ids), body)
                if answer.status_code >= 500:
                    bugs.append(f"{method} {path} {body[:60]!r}: {answer.status_code}")
                await settle(server)
    assert bugs == []


async def test_no_parameter_and_no_header_makes_a_bug(server: Running) -> None:
    user, ids = await furnished(server)
    schema = (await user.get("/docs/openapi.json")).json()
    bugs = []
    with plain_client(server, user) as client:
        for path, item in schema["paths"].items():
            if "get" not in item or "text/event-stream" in json.dumps(item["get"]["responses"]):
                continue
            names = [one["name"] for one in item["get"].get("parameters", []) if one["in"] == "query"]
            for name in names:
                for text in TEXTS:
                    query = urlencode({name: text, **({"timeout": 0} if "wait" in names else {})})
                    answer = await client.request("GET", f"{filled(path, ids)}?{query}", headers={})
                    if answer.status_code >= 500 and answer.json().get("code") != "projection_behind":
                        bugs.append(f"GET {path}?{name}={text[:40]!r}: {answer.status_code}")
    for text in TEXTS:
        for header in ("if-match", "idempotency-key", "x-request-id", "range", "if-none-match", "last-event-id", "content-type"):
            value = text.encode()[:8000].replace(b"\x00", b"\x01")
            answer = await user.http.post("/api/v1/chats/new", content=b'{"chat":{}}', headers=[(header.encode(), value)])
            if answer.status_code >= 500:
                bugs.append(f"{header}: {text[:40]!r}: {answer.status_code}")
    assert bugs == []


async def furnished(server: Running) -> tuple[User, dict[str, str]]:
    """An admin, and one thing of each kind that a path names."""
    admin, other = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await admin.new_chat()
    message = await admin.add(chat_id, "Hello")
    folder = (await admin.post("/api/v1/folders/", {"name": "F"})).json()
    ids = {"chat_id": chat_id, "message_id": message["message_id"], "folder_id": folder["id"], "user_id": other.id, "task": "title"}
    return admin, ids


def filled(path: str, ids: dict[str, str]) -> str:
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, ids.get(part.strip("{}"), str(uuid4())))
    return path


def routes_with_bodies(schema: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for path, item in schema["paths"].items():
        for method, one in item.items():
            if "requestBody" in one:
                yield method.upper(), path, FREE_FIELDS.get(path) or list(properties(schema, one))


def properties(schema: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    said = next(iter(one["requestBody"]["content"].values()))["schema"]
    choices = [said, *said.get("oneOf", []), *said.get("anyOf", [])]
    for choice in choices:
        if "$ref" in choice:
            named: dict[str, Any] = schema["components"]["schemas"][choice["$ref"].rpartition("/")[2]]
            return dict(named.get("properties", {}))
    return {}


def example(schema: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """A body that fits, so that the one field which does not is what is judged."""
    known: dict[str, Any] = {
        "chat": {"title": "x"},
        "content": "x",
        "role": "user",
        "type": "status",
        "rating": 1,
        "params": {},
        "name": "x",
        "message_id": None,
        "user_id": str(uuid4()),
        "permission": "read",
        "email": "x@example.org",
        "password": "correct horse",
    }
    names = properties(schema, schema["paths"][path][method.lower()])
    return {name: value for name, value in known.items() if name in names}


async def settle(server: Running) -> None:
    """Let answers end that were asked for: each one would change the log under the next request."""
    await server.system.runs.drain(10.0)
    server.system.runs.closing = False
