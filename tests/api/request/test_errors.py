"""Every refusal has a status, a close code and a shape; nothing of the inside is told."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException, InternalServerException
from litestar.params import FromPath, JSONBody
from litestar.testing import TestClient

from api.request.errors import HANDLERS, TABLE, error_status
from domain import errors
from domain.errors import StenographError
from tests.api.conftest import Running

A = UUID(int=1)
SECRET = "10.0.0.5:5432"


def classes(root: type[StenographError] = StenographError) -> Iterator[type[StenographError]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


OURS = sorted({one for one in classes() if one.__module__.startswith("domain.errors.")}, key=lambda one: one.__name__)


@pytest.mark.parametrize("error", OURS, ids=lambda one: one.__name__)
def test_every_error_stands_in_the_table(error: type[StenographError]) -> None:
    assert error in TABLE


def test_an_error_of_another_package_is_answered_as_what_it_is_a_kind_of() -> None:
    class Special(errors.ChatExists):
        pass

    assert error_status(Special(A)) == TABLE[errors.ChatExists]


@pytest.mark.parametrize("error", OURS, ids=lambda one: one.__name__)
def test_every_error_is_drawn_in_the_tree_and_has_a_code_of_its_own(error: type[StenographError]) -> None:
    assert errors.__doc__ is not None
    assert re.search(rf"\b{error.__name__}\b", errors.__doc__)
    # A special case of an error has the code of that error.
    assert [other for other in OURS if other.code == error.code and not issubclass(other, error) and not issubclass(error, other)] == []
    assert re.fullmatch(r"[a-z_]+", error.code)


def test_close_codes_are_those_that_the_protocol_lists() -> None:
    listed = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    assert all(re.search(rf"\b{answer.close}\b", listed) for answer in TABLE.values())


RAISED: dict[str, tuple[Exception, int, dict[str, Any], dict[str, str]]] = {
    "forbidden": (errors.Forbidden("no"), 403, {"code": "forbidden", "detail": "no"}, {}),
    "not-authenticated": (errors.NotAuthenticated(), 401, {"code": "not_authenticated"}, {"www-authenticate": "Bearer"}),
    "chat": (errors.ChatNotFound(A), 401, {"code": "chat_not_found"}, {}),
    "stream": (errors.StreamNotFound(f"chat/{A}"), 404, {"code": "stream_not_found"}, {}),
    "conflict": (errors.ConcurrencyConflict("chat/1", expected=3, current=5), 409, {"expected": 3, "current": 5}, {}),
    "races": (errors.TooManyLostRaces("chat/1", 32), 409, {"code": "too_many_lost_races"}, {}),
    "gap": (errors.DeltaGap(A, expected_seq=3, received_seq=5), 409, {"expected_seq": 3, "received_seq": 5}, {}),
    "block": (errors.BlockGap(A, open_blocks=1, received_index=4), 409, {"open_blocks": 1, "received_index": 4}, {}),
    "gone": (errors.CursorGone("x", epoch=A, head=7), 410, {"epoch": str(A), "head": 7}, {}),
    "reused": (errors.CommandMismatch("k"), 422, {"code": "idempotency_key_reused"}, {}),
    "attempts": (errors.TooManyAttempts(17), 429, {"code": "too_many_attempts"}, {"retry-after": "17"}),
    "provider": (
        errors.ProviderFailed("provider_idle", "it said nothing"),
        502,
        {"code": "provider_idle", "detail": "it said nothing"},
        {},
    ),
    "log": (errors.LogUnavailable(f"refused by {SECRET}"), 503, {"code": "log_unavailable"}, {"retry-after": "1"}),
    "refused share": (errors.ShareRefused(), 403, {"code": "share_refused"}, {}),
    "offers": (errors.TooManyOffers(20), 429, {"code": "too_many_offers"}, {}),
    "before": (errors.BeforeFirstEvent("chat/1", "2026"), 404, {"code": "before_first_event"}, {}),
    "behind": (errors.ProjectionBehind(7), 503, {"code": "projection_behind"}, {"retry-after": "1"}),
    "full": (errors.Overloaded("the queue", 9), 503, {"code": "overloaded"}, {"retry-after": "1"}),
    "ours": (StenographError(f"a bug at {SECRET}"), 500, {"code": "internal"}, {}),
    "bug": (RuntimeError(f"a bug at {SECRET}"), 500, {"code": "internal"}, {}),
    "litestar": (InternalServerException(f"a bug at {SECRET}"), 500, {"code": "internal"}, {}),
    "teapot": (HTTPException("short and stout", status_code=418), 418, {"code": "bad_request", "detail": "short and stout"}, {}),
}


@get("/raise/{name:str}")
async def raises(name: FromPath[str]) -> None:
    raise RAISED[name][0]


@post("/echo")
async def echo(data: JSONBody[dict[str, int]]) -> dict[str, int]:
    return data


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar([raises, echo], exception_handlers=HANDLERS, request_max_body_size=1000, logging_config=None, openapi_config=None)
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.mark.parametrize("name", RAISED)
def test_an_error_is_answered_as_a_problem(client: TestClient[Litestar], name: str) -> None:
    _, status, members, headers = RAISED[name]
    answer = client.get(f"/raise/{name}")
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert members.items() <= problem.items()
    assert headers.items() <= dict(answer.headers).items()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert isinstance(problem["detail"], str)
    assert problem["title"]
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1',
        b"[]",
        b'{"a": "x"}',
        b'{"a": null}',
        b"\xff\xfe",
        b'{"a\xff": 1}',
        b'{"\\ud800": 1}',
        b"nul\x00",
        b'"x"',
        b"1e999",
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_a_reason(client: TestClient[Litestar], body: bytes) -> None:
    answer = client.post("/echo", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert answer.json()["detail"]
    assert client.post("/echo", json={"a": 1}).json() == {"a": 1}


def test_what_litestar_refuses_has_the_same_shape(client: TestClient[Litestar]) -> None:
    seen = {
        (404, "no_such_route"): client.get("/nowhere"),
        (405, "method_not_allowed"): client.delete("/echo"),
        (413, "body_too_large"): client.post("/echo", content=b'{"a":' + b" " * 2000 + b"1}", headers={"content-type": "application/json"}),
    }
    for (status, code), answer in seen.items():
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert seen[405, "method_not_allowed"].headers["allow"]


@pytest.mark.anyio
async def test_the_server_s_own_routes_answer_so_too(server: Running) -> None:
    user = await server.sign_up()
    answers = {
        404: await user.get("/api/v1/nowhere"),
        405: await user.http.delete("/api/v1/auths/signin"),
        400: await user.http.post("/api/v1/auths/signin", content=b"\xff", headers={"content-type": "application/json"}),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert answer.json()["status"] == status
