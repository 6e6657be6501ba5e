"""Requests that are repeated safely, against a small real HTTP server that drops them on request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from stenograph_client import ApiError, Client, Conflict, CursorGone, Forbidden, NotFound, NotSignedIn, ServerUnreachable

pytestmark = pytest.mark.anyio
DROP = (0, {})  # read the request and break off: whether it was done, nobody can say


class Scripted:
    """Answers requests from a list; ``seen`` has each as (method, path, headers, body)."""

    def __init__(self, answers: list[tuple[int, Any]]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *rest = head.split("\r\n")
            method, path, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.seen.append((method, path, headers, msgspec.json.decode(body) if body else None))
            status, answer = self.answers.pop(0)
            if status:
                content = msgspec.json.encode(answer)
                writer.write(b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content))
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*answers: tuple[int, Any]) -> AsyncIterator[Scripted]:
    script = Scripted(list(answers))
    server = await asyncio.start_server(script.handle, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()


async def test_a_post_without_an_answer_is_repeated_with_its_key() -> None:
    async with scripted(DROP, (503, {"code": "log_unavailable"}), (200, {"id": "c", "version": 1})) as server, Client(server.url) as client:
        assert await client.new_chat("A") == {"id": "c", "version": 1}
        keys = {headers["idempotency-key"] for _, _, headers, _ in server.seen}
        assert (len(server.seen), len(keys)) == (3, 1)


async def test_two_posts_have_two_keys() -> None:
    async with scripted((200, {"id": "c"}), (200, {"id": "d"})) as server, Client(server.url) as client:
        await client.new_chat()
        await client.new_chat()
        assert len({headers["idempotency-key"] for _, _, headers, _ in server.seen}) == 2


async def test_a_refusal_is_not_repeated() -> None:
    problem = {"title": "Bad Request", "status": 400, "code": "model_not_found", "detail": "Model not found: x"}
    async with scripted((400, problem)) as server, Client(server.url) as client:
        with pytest.raises(ApiError) as refused:
            await client.complete("x", [{"role": "user", "content": "Hello"}])
        assert (refused.value.status, refused.value.code, refused.value.detail) == (400, "model_not_found", "Model not found: x")


@pytest.mark.parametrize(("status", "kind"), [(401, NotSignedIn), (403, Forbidden), (404, NotFound), (409, Conflict), (410, CursorGone)])
async def test_each_refusal_has_its_type(status: int, kind: type[ApiError]) -> None:
    async with scripted((status, {"detail": "no", "epoch": "e", "head": 3})) as server, Client(server.url, token="t") as client:
        with pytest.raises(kind):
            await client.me()


async def test_what_is_no_problem_document_is_an_error_all_the_same() -> None:
    async with scripted((500, ["a list"])) as server, Client(server.url) as client:
        with pytest.raises(ApiError, match="a list"):
            await client.models()


async def test_a_server_that_is_not_there_is_named() -> None:
    async with Client("http://127.0.0.1:9", retry_s=0.0) as client:
        with pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:9"):
            await client.models()


async def test_a_delete_is_not_repeated() -> None:
    async with scripted(DROP) as server, Client(server.url) as client:
        with pytest.raises(ServerUnreachable):
            await client.delete_chat("c")


async def test_a_token_that_has_ended_is_replaced_once() -> None:
    account = {"id": "u", "name": "A", "email": "a@example.org", "role": "user"}
    refusal = (401, {"code": "not_authenticated", "detail": "expired"})
    signed_in = (200, {**account, "token": "new"})
    async with scripted(refusal, signed_in, (200, account)) as server:
        async with Client(server.url, token="old", email="a@example.org", password="secret phrase") as client:
            assert (await client.me()).id == "u"
        assert [path for _, path, _, _ in server.seen] == ["/api/v1/auths/", "/api/v1/auths/signin", "/api/v1/auths/"]
        assert [headers.get("authorization") for _, _, headers, _ in server.seen] == ["Bearer old", None, "Bearer new"]


async def test_a_chat_that_is_not_ours_costs_no_new_token() -> None:
    async with (
        scripted((401, {"code": "chat_not_found", "detail": "no chat"})) as server,
        Client(server.url, token="t", email="a@example.org", password="secret phrase") as client,
    ):
        with pytest.raises(NotSignedIn, match="no chat"):
            await client.chat("x")
        assert len(server.seen) == 1


async def test_events_go_on_from_page_to_page() -> None:
    def page(numbers: list[int], next_: str) -> tuple[int, Any]:
        at, fact = "2026-11-21T10:00:00Z", {"type": "x", "data": {}}
        events = [{"stream": "chat/c", "version": one, "position": one, "at": at, "data": fact} for one in numbers]
        return 200, {"epoch": "e", "head": 4, "events": events, "next": next_}

    async with scripted(page([1, 2], "e:2"), page([], "e:3"), page([4], "e:4")) as server, Client(server.url) as client:
        assert [event.version async for event in client.events("chat/c", types=["x"])] == [1, 2, 4]
        assert ["after=start" in server.seen[0][1], "after=e%3A2" in server.seen[1][1], "types=x" in server.seen[2][1]] == [True] * 3
