"""What bodies of requests may take: by their route, by their shape, and all together. Each is refused before it has come whole."""

import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.request.bodies import CONTENT_BYTES, COSTLY_VALUES, FIELDS_BYTES, SHARE_MAX, SMALL_BYTES, VALUE_S, BodyMemory
from api.request.json_shape import CONTAINERS_MAX, DEPTH_MAX, VALUES_MAX, JsonShape
from api.settings import MIB, Settings
from domain.errors import BadRequest, BodyTooLarge
from tests.api.conftest import Running, User
from tests.api.raw import KIB, Connect, Raw, bounded, raw_connections

anyio = pytest.mark.anyio
NEW = "/api/v1/chats/new"
PADDED = b'{"chat":{},"ignored":"'

# ---------------------------------------------------------------------------------------------------------- the shape

values = st.recursive(
    st.none() | st.integers() | st.text('a"\\[]{},:ü', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[]{},', max_size=4), inner, max_size=4),
    max_leaves=20,
)


def commas_and_containers(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(0, len(value) - 1) + sum(map(commas_and_containers, value.values()))
        case list():
            return 1 + max(0, len(value) - 1) + sum(map(commas_and_containers, value))
        case _:
            return 0


@given(values, st.booleans(), st.lists(st.integers(0, 400), max_size=6))
def test_values_are_counted_outside_strings_however_the_text_is_cut(value: Any, ascii_only: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    shape = JsonShape()
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        shape.feed(text[at:cut])
        at = max(at, cut)
    assert shape.values == commas_and_containers(value)


@given(st.integers(1, 3), st.integers(1, 50))
def test_depth_is_told_however_the_text_is_cut(wide: int, cut: int) -> None:
    nested = b'{"a]":[' * (DEPTH_MAX // 2) + b"]}" * (DEPTH_MAX // 2)
    flat = JsonShape()
    text = b"[],{}," * 300 + nested * wide
    for at in range(0, len(text), cut):
        flat.feed(text[at : at + cut])
    deep = JsonShape()
    with pytest.raises(BadRequest, match="nested"):
        for at in range(0, len(text) + 1, cut):
            deep.feed((b"[" + text)[at : at + cut])


def test_brackets_and_commas_in_strings_are_none() -> None:
    shape = JsonShape()
    shape.feed(b'{"a": "' + b'[{,\\"\\\\' * VALUES_MAX + b'"}')
    assert shape.values == 1


@pytest.mark.parametrize(
    ("piece", "most"),
    [(b"{},", CONTAINERS_MAX), (b"[],", CONTAINERS_MAX), (b"1,", VALUES_MAX)],
    ids=["objects", "arrays", "numbers"],
)
def test_a_text_with_too_many_values_is_refused_at_the_bound(piece: bytes, most: int) -> None:
    shape = JsonShape()
    shape.feed(b"[" + piece * (most - 1))
    with pytest.raises(BodyTooLarge):
        shape.feed(piece * 2)


# ------------------------------------------------------------------------------------------------------------ turns


def test_costly_bodies_take_no_more_than_their_share_of_the_loop_together() -> None:
    memory = BodyMemory(MIB)
    begin_s = [10.0 + memory.delay_s(VALUES_MAX, 10.0) for _ in range(5)]
    decode_s = VALUES_MAX * VALUE_S
    assert begin_s[0] == 10.0
    assert [later - earlier for earlier, later in pairwise(begin_s)] == pytest.approx([decode_s / SHARE_MAX] * 4)
    assert memory.delay_s(VALUES_MAX, 1000.0) == 0.0


def test_a_body_with_few_values_never_waits() -> None:
    memory = BodyMemory(MIB)
    memory.delay_s(VALUES_MAX, 0.0)
    assert memory.delay_s(COSTLY_VALUES - 1, 0.0) == 0.0


# ------------------------------------------------------------------------------------------------------------- routes


@anyio
async def test_each_route_takes_a_body_of_its_own_size_and_refuses_a_larger_one_unread(server: Running) -> None:
    user = await server.sign_up()
    content = {
        ("POST", "/api/v1/chats/new"),
        ("POST", "/api/v1/chats/{chat_id}"),
        ("POST", "/api/v1/chats/{chat_id}/messages"),
        ("POST", "/api/v1/chats/{chat_id}/messages/{message_id}"),
        ("POST", "/api/v1/chats/{chat_id}/messages/{message_id}/event"),
        ("POST", "/api/v1/chats/import"),
        ("POST", "/api/v1/evaluations/feedback"),
        ("POST", "/api/v1/evaluations/feedback/{feedback_id}"),
        ("POST", "/api/chat/completions"),
        ("POST", "/api/v1/chat/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/openai/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/responses"),
        ("POST", "/api/v1/tasks/{task}/completions"),
        ("POST", "/api/v1/models/import"),
        ("POST", "/api/chat/actions"),
        ("POST", "/api/chat/actions/{action_id}"),
        ("POST", "/api/chat/completed"),
        ("POST", "/api/v1/functions/create"),
        ("POST", "/api/v1/functions/id/{function_id}/update"),
    }
    fields = {
        ("PATCH", "/api/v1/chats/{chat_id}/params"),
        ("POST", "/api/v1/chats/{chat_id}/calls/{call_id}/answer"),
        ("POST", "/api/v1/channels/{channel_id}/calls/{call_id}/answer"),
        ("POST", "/api/v1/chats/{chat_id}/messages/{message_id}/resolve"),
        ("POST", "/api/v1/folders"),
        ("POST", "/api/v1/folders/{folder_id}/update"),
        ("POST", "/api/v1/chats/shared/{chat_id}/access/update"),
        ("POST", "/api/v1/users/user/settings/update"),
        ("POST", "/api/v1/models/create"),
        ("POST", "/api/v1/models/model/update"),
        ("POST", "/api/v1/models/model/access/update"),
        ("POST", "/api/v1/groups/create"),
        ("POST", "/api/v1/groups/id/{group_id}/update"),
        ("POST", "/api/v1/groups/id/{group_id}/users/add"),
        ("POST", "/api/v1/groups/id/{group_id}/users/remove"),
        ("POST", "/api/v1/providers"),
        ("POST", "/api/v1/providers/{provider_id}"),
        ("POST", "/openai/config/update"),
        ("POST", "/ollama/config/update"),
        ("POST", "/api/v1/channels/create"),
        ("POST", "/api/v1/channels/{channel_id}/update"),
        ("POST", "/api/v1/channels/{channel_id}/access/update"),
        ("POST", "/api/v1/channels/{channel_id}/messages/post"),
        ("POST", "/api/v1/channels/{channel_id}/messages/{message_id}/update"),
        ("POST", "/api/v1/functions/id/{function_id}/valves/update"),
        ("POST", "/api/v1/functions/id/{function_id}/valves/user/update"),
    }
    schema = (await user.get("/docs/openapi.json")).json()
    with_body = {(method.upper(), path) for path, item in schema["paths"].items() for method in item if "requestBody" in item[method]}
    assert content | fields <= with_body
    async with raw_connections(server) as connect:
        for method, path in sorted(with_body):
            bound = CONTENT_BYTES if (method, path) in content else FIELDS_BYTES if (method, path) in fields else SMALL_BYTES
            raw = await connect()
            await raw.send(head(user, bound + 1, path, method))
            status, _, said = await raw.answer()
            assert status == 413, f"{method} {path}"
            assert f"{bound} bytes" in json.dumps(said), f"{method} {path}"
            raw.writer.close()


# ------------------------------------------------------------------------------------------------------ while it comes


@anyio
@pytest.mark.parametrize(
    ("begin", "piece", "status"),
    [(b"[", b"[" * KIB, 400), (b'{"chat":{"x":', b'{"a":' * KIB, 400), (b'{"chat":{"x":[', b"{}," * KIB, 413), (b"[", b"1," * KIB, 413)],
    ids=["arrays in arrays", "objects in objects", "many objects", "many numbers"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_is_refused_for_its_shape_before_it_has_come(
    settings: Settings, begin: bytes, piece: bytes, status: int, chunked: bool
) -> None:
    async with bounded(settings) as (server, connect):
        user = await server.sign_up()
        raw = await connect()
        await raw.send(head(user, None if chunked else CONTENT_BYTES))
        await raw.send(chunk(begin) if chunked else begin)
        await raw.send_until_refused(chunk(piece) if chunked else piece, CONTENT_BYTES - len(begin) - len(piece))
        assert (await raw.answer())[0] == status
        assert server.system.body_memory.held_bytes == 0


@anyio
async def test_all_bodies_in_flight_have_one_bound(settings: Settings) -> None:
    async with bounded(settings, bodies_bytes_max=MIB) as (server, connect):
        user = await server.sign_up()
        body = PADDED + b"x" * 600 * KIB + b'"}'
        first = await connect()
        await first.send(head(user, len(body)) + body[:KIB])
        await until_held(server, len(body))
        for _ in range(3):
            status, headers, _ = await refused_at_once(connect, user, len(body))
            assert (status, headers["retry-after"]) == (503, "1")
        assert server.system.body_memory.held_bytes < MIB
        small = await connect()
        await small.send(head(user, 11) + b'{"chat":{}}')
        assert (await small.answer())[0] == 200
        await first.send(body[KIB:])
        assert (await first.answer())[0] == 200
        assert server.system.body_memory.held_bytes == 0
        second = await connect()
        await second.send(head(user, len(body)) + body)
        assert (await second.answer())[0] == 200


@anyio
async def test_a_chunked_body_counts_as_it_comes(settings: Settings) -> None:
    async with bounded(settings, bodies_bytes_max=MIB) as (server, connect):
        user = await server.sign_up()
        first, second = await connect(), await connect()
        await first.send(head(user, None) + chunk(PADDED + b"x" * 500 * KIB))
        await until_held(server, 500 * KIB)
        await second.send(head(user, None) + chunk(PADDED + b"x" * 600 * KIB))
        assert (await second.answer())[0] == 503
        await first.send(chunk(b'"}') + b"0\r\n\r\n")
        assert (await first.answer())[0] == 200
        assert server.system.body_memory.held_bytes == 0


@anyio
async def test_a_client_that_goes_in_mid_body_frees_its_memory_and_is_no_bug(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bounded(settings) as (server, connect):
        user = await server.sign_up()
        raw = await connect()
        await raw.send(head(user, 500 * KIB) + b"{")
        await until_held(server, 500 * KIB)
        raw.writer.close()
        await until_held(server, 0)
    assert "request_failed" not in capsys.readouterr().out


@anyio
async def test_many_large_bodies_take_no_more_memory_than_is_set(settings: Settings) -> None:
    """Ten bodies of 15 MB of ``{}`` took 4 GB."""
    async with bounded(settings, bodies_bytes_max=64 * MIB) as (server, connect):
        user = await server.sign_up()
        size = 15 * MIB
        before = peak_bytes(reset=True)

        async def send() -> int:
            raw = await connect()
            await raw.send(head(user, size) + b'{"chat":{"x":[')
            await raw.send_until_refused(b"{}," * KIB, size - 100 * KIB)
            return (await raw.answer())[0]

        assert set(await asyncio.gather(*(send() for _ in range(10)))) <= {413, 503}
        assert peak_bytes() - before < 128 * MIB


@anyio
async def test_a_large_body_within_the_bounds_is_taken(server: Running) -> None:
    user = await server.sign_up()
    text = 'He said: "a, b, [c], {d}" \\ ' * 300_000
    answer = await user.post(NEW, {"chat": {"list": [{}] * 1000}, "ignored": text})
    assert answer.status_code == 200, answer.text
    assert server.system.body_memory.held_bytes == 0


# ------------------------------------------------------------------------------------------------------------ helpers


def head(user: User, length: int | None, path: str = NEW, method: str = "POST") -> bytes:
    path = re.sub(r"\{\w+\}", "00000000-0000-7000-8000-000000000000", path)
    how = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user.token}\r\ncontent-type: application/json\r\n{how}\r\n\r\n"
    return lines.encode()


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def refused_at_once(connect: Connect, user: User, length: int) -> tuple[int, dict[str, str], dict[str, Any]]:
    raw: Raw = await connect()
    await raw.send(head(user, length))
    return await raw.answer()


async def until_held(server: Running, size: int) -> None:
    memory = server.system.body_memory
    async with asyncio.timeout(60):
        while not (memory.held_bytes >= size if size else memory.held_bytes == 0):  # noqa: ASYNC110  # nothing there offers an event
            await asyncio.sleep(0.001)


def peak_bytes(*, reset: bool = False) -> int:
    """The most memory this process had since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("/proc/self/status says no VmHWM")
