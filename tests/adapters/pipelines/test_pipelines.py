"""The adapter against a server that speaks the protocol of ``open-webui/pipelines``, and against servers that do not."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from adapters.pipelines.http import LIST_FRESH_S, LIST_KEPT_S, HttpPipelines, PipelinesServer
from adapters.providers.http.client import provider_client
from adapters.providers.http.http import Patience
from commands.filters.pipelines import Pipeline, PipelineSkipped, chosen
from domain.errors import ProviderFailed
from tests.adapters.pipelines.server import Pipe, pipelines_server
from tests.adapters.providers.scripted import Peer, serving, whole

pytestmark = pytest.mark.anyio

ME = {"id": "1", "email": "me@example.org", "name": "Me", "role": "user"}
UNREACHABLE = "http://127.0.0.1:9"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class There:
    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.clock = Clock()

    async def asking(self, *urls: str, key: str = "", patience: Patience = Patience()) -> HttpPipelines:  # noqa: B008  # frozen
        client = await self._stack.enter_async_context(provider_client())
        return HttpPipelines([PipelinesServer(client, url, key, number, patience, self.clock) for number, url in enumerate(urls)])


@pytest.fixture
async def there() -> AsyncIterator[There]:
    async with AsyncExitStack() as stack:
        yield There(stack)


async def answering(there: There, body: bytes, status: str = "200 OK") -> tuple[HttpPipelines, AsyncExitStack]:
    """A server whose one filter ``f`` answers everything by these bytes."""

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            listed = {"data": [Pipe().listed("f")], "object": "list", "pipelines": True}
            await peer.send(whole(json.dumps(listed).encode()) if asked.method == "GET" else whole(body, status))

    stack = AsyncExitStack()
    server = await stack.enter_async_context(serving(script))
    return await there.asking(server.url), stack


F = Pipeline(id="f", server=0, models=["*"])


async def test_a_filter_gets_the_body_and_the_user_and_its_answer_is_the_body(there: There) -> None:
    def inlet(body: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        return {**body, "messages": [{"role": "user", "content": user["email"]}]}

    async with pipelines_server({"f": Pipe(inlet=inlet)}) as server:
        pipelines = await there.asking(f"{server.url}/v1", key="0p3n")
        assert await pipelines.filters() == ([F], {})
        body = {"model": "m", "messages": []}
        assert await pipelines.call(F, "inlet", body, ME) == {"model": "m", "messages": [{"role": "user", "content": "me@example.org"}]}
        assert await pipelines.call(F, "outlet", body, ME) == body
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("GET", "/v1/models"),
        ("POST", "/f/filter/inlet"),
        ("POST", "/f/filter/outlet"),
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer 0p3n"}


async def test_those_of_all_servers_run_by_priority_the_answering_pipe_last_at_the_inlet_and_first_at_the_outlet(there: There) -> None:
    one = {
        "late": Pipe(priority=5),
        "for-b": Pipe(models=["b"]),
        "pipe": Pipe("pipe"),
        "odd": Pipe(models=[], priority="high"),
        "maker.a": Pipe("manifold"),
    }
    async with pipelines_server(one) as first, pipelines_server({"early": Pipe(priority=-1), "same": Pipe(priority=5)}) as second:
        listed, unreachable = await (await there.asking(first.url, second.url)).filters()
        assert not unreachable

        def order(model: str, stage: Any) -> list[str]:
            return [one.id for one in chosen(listed, model, stage)]

        assert order("a", "inlet") == ["early", "late", "same"]
        assert order("b", "outlet") == ["early", "for-b", "late", "same"]
        assert order("pipe", "inlet") == ["early", "late", "same", "pipe"]
        assert order("maker.a", "outlet") == ["maker.a", "early", "late", "same"]


async def test_what_a_filter_raises_is_passed_on_with_the_servers_status_and_detail(there: There) -> None:
    def inlet(_: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"{user['name']} has had enough turns")

    async with pipelines_server({"limit": Pipe(inlet=inlet)}) as server:
        pipelines = await there.asking(server.url)
        [(limit,), _] = await pipelines.filters()
        with pytest.raises(ProviderFailed, match="pipeline limit: Me has had enough turns") as raised:
            await pipelines.call(limit, "inlet", {}, ME)
        assert (raised.value.code, raised.value.said) == ("pipeline_failed", {"status": 500, "message": "Me has had enough turns"})
        gone = Pipeline(id="gone/x", server=0)
        with pytest.raises(ProviderFailed, match="Filter gone%2Fx not found") as raised:
            await pipelines.call(gone, "inlet", {}, ME)
        assert raised.value.said["status"] == 404


async def test_a_refusal_names_neither_the_servers_address_nor_its_key(there: There) -> None:
    pipelines, stack = await answering(there, b'{"detail": "key sk-abcdefgh at http://10.0.0.7:9099 is wrong"}', "401 Unauthorized")
    async with stack:
        with pytest.raises(ProviderFailed) as raised:
            await pipelines.call(F, "inlet", {}, ME)
    assert "10.0.0.7" not in f"{raised.value} {raised.value.said}"
    assert "abcdefgh" not in f"{raised.value} {raised.value.said}"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>", "200 OK", "its answer is no body: expected a JSON object"),
        (b"[]", "200 OK", "its answer is no body: expected a JSON object"),
        (b"<html>Bad gateway</html>", "502 Bad Gateway", "HTTP 502 without a detail"),
        (b'{"error": "x"}', "400 Bad Request", "HTTP 400 without a detail"),
    ],
)
async def test_what_is_no_answer_of_a_server_of_pipelines_is_skipped(there: There, body: bytes, status: str, said: str) -> None:
    pipelines, stack = await answering(there, body, status)
    async with stack:
        with pytest.raises(PipelineSkipped, match=said):
            await pipelines.call(F, "inlet", {}, ME)


async def test_a_server_that_cannot_be_reached_is_named_and_the_others_are_asked(there: There) -> None:
    async with pipelines_server({"f": Pipe()}) as server:
        pipelines = await there.asking(UNREACHABLE, server.url)
        listed, unreachable = await pipelines.filters()
        assert [one.id for one in listed] == ["f"]
        assert unreachable == {"pipelines server 1": "no connection"}
        with pytest.raises(PipelineSkipped, match="no connection"):
            await pipelines.call(F, "inlet", {}, ME)


async def test_a_server_that_never_answers_is_left_after_its_time(there: There) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.left()

    async with serving(script) as server:
        pipelines = await there.asking(server.url, patience=Patience(idle_s=0.05))
        with pytest.raises(PipelineSkipped, match="silent for more than"):
            await pipelines.call(F, "inlet", {}, ME)
        assert (await pipelines.filters())[1]["pipelines server 1"].startswith("silent for more than")


async def test_a_list_is_asked_for_again_beside_the_requests_and_kept_for_a_while_from_a_server_that_is_gone(there: There) -> None:
    pipes = {"f": Pipe()}
    async with pipelines_server(pipes) as server:
        pipelines = await there.asking(server.url)
        await pipelines.filters()
        pipes["g"] = Pipe()
        assert [one.id for one in (await pipelines.filters())[0]] == ["f"]
        there.clock.now_s += LIST_FRESH_S + 1
        assert [one.id for one in (await pipelines.filters())[0]] == ["f"], "no request waits for a new list"
        asking = pipelines._servers[0]._asking
        assert asking is not None
        await asking
        assert [one.id for one in (await pipelines.filters())[0]] == ["f", "g"]
        assert len(server.asked) == 2
    there.clock.now_s += LIST_FRESH_S + 1
    await pipelines.filters()
    asking = pipelines._servers[0]._asking
    assert asking is not None
    await asking
    assert [one.id for one in (await pipelines.filters())[0]] == ["f", "g"]
    there.clock.now_s += LIST_KEPT_S
    listed, unreachable = await pipelines.filters()
    assert (listed, list(unreachable)) == ([], ["pipelines server 1"])


@pytest.mark.parametrize("listed", [b"<html>", b"[]", b'{"data": [1, {"id": "m"}, {"id": "", "pipeline": {"type": "filter"}}]}'])
async def test_a_list_without_pipelines_has_none(there: There, listed: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(listed))

    async with serving(script) as server:
        found, _ = await (await there.asking(server.url)).filters()
    assert list(found) == []
