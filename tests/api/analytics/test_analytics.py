"""What admins ask of the figures, over HTTP: the reports, any question, the formats, and what is refused."""

import asyncio
import csv
import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatCreated, MessageAdded, MessageRated
from domain.generation import MessageStarted
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream
from projections.figures.catalogue import DIMENSIONS, METRICS
from tests.api.conftest import WAIT_S, Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]
BASE = "/api/v1/analytics"
ROUTES = [
    "models",
    "users",
    "messages",
    "summary",
    "daily",
    "tokens",
    "models/demo:5/chats",
    "models/demo:5/overview",
    "catalogue",
    "arena",
]


async def answered(user: User, model: str) -> tuple[str, str]:
    """A chat with one finished answer, and the answer's id."""
    chat_id = await user.new_chat()
    started = await user.ask(chat_id, model)
    async with asyncio.timeout(WAIT_S):
        while True:
            message = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"].get(started["message_ids"][0])
            if message is not None and message.get("done"):
                return chat_id, started["message_ids"][0]
            await asyncio.sleep(0.01)


async def head(server: Running) -> int:
    return await server.systems[0].log.head()


async def got(user: User, path: str, **params: Any) -> Any:
    answer = await user.get(f"{BASE}/{path}", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_only_admins_and_analysts_are_answered(server: Running) -> None:
    await server.sign_up()
    user = await server.sign_up()
    async with server.client() as nobody:
        for route in [*ROUTES, "query?metrics=messages"]:
            assert (await user.http.get(f"{BASE}/{route}")).status_code == 403, route
            assert (await nobody.get(f"{BASE}/{route}")).status_code == 401, route


async def test_an_analyst_sees_sums_and_nobody_in_them(server: Running) -> None:
    admin, analyst = await server.sign_up(), await server.sign_up()
    assert (await admin.post(f"/api/v1/users/{analyst.id}/update", {"role": "analyst"})).status_code == 200
    for route in ("models", "summary", "daily", "tokens", "catalogue", "arena", "query?metrics=people,messages&dimensions=model"):
        assert (await analyst.http.get(f"{BASE}/{route}")).status_code == 200, route
    for route in (
        "users",
        f"messages?user_id={admin.id}",
        "models/demo:5/chats",
        "models/demo:5/overview",
        f"summary?group_id={admin.id}",
        "query?metrics=messages&dimensions=person",
        "query?metrics=messages&dimensions=conversation",
        f"query?metrics=messages&filter=person={admin.id}",
    ):
        assert (await analyst.http.get(f"{BASE}/{route}")).status_code == 403, route


async def test_the_reports_say_who_asked_which_model_how_much(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up()
    for _ in range(2):
        chat_id, _ = await answered(admin, "demo:5")
    await answered(bob, "demo:3")
    at_least = await head(server)
    models = (await got(admin, "models", at_least=at_least))["models"]
    assert [(one["model_id"], one["count"], one["unique_users"], one["unique_chats"]) for one in models] == [
        ("demo:5", 2, 1, 2),
        ("demo:3", 1, 1, 1),
    ]
    users = (await got(admin, "users"))["users"]
    assert [(one["user_id"], one["email"], one["count"]) for one in users] == [(admin.id, admin.email, 2), (bob.id, bob.email, 1)]
    assert all(one["total_tokens"] == one["input_tokens"] + one["output_tokens"] > 0 for one in users)
    assert await got(admin, "summary") == {"total_messages": 3, "total_chats": 3, "total_models": 2, "total_users": 2}
    tokens = await got(admin, "tokens")
    assert tokens["total_tokens"] == sum(one["total_tokens"] for one in tokens["models"]) == sum(one["total_tokens"] for one in users)
    now = int(datetime.now(UTC).timestamp())
    days = (await got(admin, "daily", start_date=now - 3 * 86_400, end_date=now))["data"]
    assert [one["models"] for one in days] == [{}, {}, {}, {"demo:5": 2, "demo:3": 1}]
    assert (await got(admin, "daily", start_date=now - 3 * 86_400, end_date=now - 2 * 86_400))["data"][0]["models"] == {}
    assert len((await got(admin, "daily", start_date=now - 3_600, end_date=now, granularity="hourly"))["data"]) == 2
    before = {"end_date": now - 86_400}
    assert (await got(admin, "models", **before), await got(admin, "users", **before)) == ({"models": []}, {"users": []})
    assert (await got(admin, "summary", **before))["total_messages"] == 0

    assert await got(admin, "messages") == []
    listed = await got(admin, "messages", chat_id=chat_id)
    assert next((one["role"], one["model_id"], one["content"]) for one in listed) == ("assistant", "demo:5", None)
    assert len(await got(admin, "messages", user_id=bob.id, limit=1)) == 1
    chats = await got(admin, "models/demo:5/chats", limit=1)
    assert (chats["total"], [one["chat_id"] for one in chats["chats"]]) == (2, [chat_id])
    assert (await got(admin, "models/demo:3/chats", order_by="user_name", direction="asc"))["chats"][0]["user_id"] == bob.id


async def test_a_group_narrows_every_report(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up()
    await answered(admin, "demo:5")
    await answered(bob, "demo:3")
    group = (await admin.post("/api/v1/groups/create", {"name": "g", "description": ""})).json()["id"]
    empty = await got(admin, "summary", group_id=group, at_least=await head(server))
    assert empty == {"total_messages": 0, "total_chats": 0, "total_models": 0, "total_users": 0}
    await admin.post(f"/api/v1/groups/id/{group}/users/add", {"user_ids": [bob.id]})
    assert [one["model_id"] for one in (await got(admin, "models", group_id=group))["models"]] == ["demo:3"]
    assert [one["user_id"] for one in (await got(admin, "users", group_id=group))["users"]] == [bob.id]
    assert [one["model_id"] for one in (await got(admin, "tokens", group_id=group))["models"]] == ["demo:3"]
    assert (await got(admin, "summary", group_id=group))["total_messages"] == 1
    unknown = await admin.get(f"{BASE}/summary", group_id="00000000-0000-0000-0000-000000000001")
    assert unknown.status_code == 404


async def test_ratings_are_won_and_lost_on_their_day(server: Running) -> None:
    admin = await server.sign_up()
    chat_id, message_id = await answered(admin, "demo:5")
    await admin.post(f"/api/v1/chats/{chat_id}/tags", {"name": "weather"})
    path = f"/api/v1/chats/{chat_id}/messages/{message_id}/rating"
    for rating in (-1, 1):  # the last one counts
        assert (await admin.post(path, {"rating": rating})).status_code == 200
    overview = await got(admin, "models/demo:5/overview", days=2, at_least=await head(server))
    assert [(one["won"], one["lost"]) for one in overview["history"]] == [(0, 0), (0, 0), (1, 0)]
    assert overview["tags"] == [{"tag": "weather", "count": 1}]
    assert len((await got(admin, "models/demo:5/overview", days=0))["history"]) == 1
    assert await got(admin, "models/a/model/with:slashes/overview", days=0) == {"history": [], "tags": []}


async def test_any_question_in_every_format(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up()
    for user, model in ((admin, "demo:5"), (admin, "demo:5"), (bob, "demo:3")):
        await answered(user, model)
    asked = {"metrics": "generations,first_token_ms_p95,people", "dimensions": "model", "granularity": "month", "time_zone": "Asia/Tokyo"}
    asked["at_least"] = str(await head(server))
    answer = await got(admin, "query", **asked)
    assert answer["columns"] == ["time", "model", "generations", "first_token_ms_p95", "people"]
    rows = answer["rows"]
    assert [(row[1], row[2]) for row in rows if row[2]] == [("demo:3", 1), ("demo:5", 2)]
    assert all(row[3] >= 0 for row in rows if row[2])
    lines = list(csv.reader(io.StringIO((await admin.get(f"{BASE}/query", **asked, format="csv")).text)))
    assert (lines[0], len(lines)) == (answer["columns"], len(rows) + 1)
    arrow = pa.ipc.open_stream((await admin.get(f"{BASE}/query", **asked, format="arrow")).content).read_all()
    parquet = pq.read_table(io.BytesIO((await admin.get(f"{BASE}/query", **asked, format="parquet")).content))
    assert arrow == parquet
    assert arrow.column("generations").to_pylist() == [row[2] for row in rows]
    by_provider = await got(admin, "query", metrics="generations", dimensions="provider")
    assert [name for name, _ in by_provider["rows"]] == ["demo"]
    one = await got(admin, "query", metrics="generations", filter=["model=demo:5", "model=other", f"person={admin.id}"])
    assert one["rows"] == [[2]]
    assert (await got(admin, "query", metrics="generations,cost", filter="person=nobody"))["rows"] == [[0, None]]


async def test_the_catalogue_is_what_can_be_asked(server: Running) -> None:
    admin = await server.sign_up()
    catalogue = await got(admin, "catalogue")
    assert [one["name"] for one in catalogue["metrics"]] == list(METRICS)
    for metric in catalogue["metrics"]:
        await got(admin, "query", metrics=metric["name"], dimensions=",".join(metric["dimensions"]))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "at least one metric"),
        ({"metrics": "words"}, "there are: generations"),
        ({"metrics": "messages", "dimensions": "mood"}, "there are: " + ", ".join(DIMENSIONS)[:20]),
        ({"metrics": "messages", "dimensions": "outcome"}, "messages has no dimension outcome; it has: model"),
        ({"metrics": "messages", "filter": "outcome=failed"}, "no dimension outcome"),
        ({"metrics": "messages", "filter": "model"}, "a filter like model=demo"),
        ({"metrics": "messages", "filter": "'; DROP TABLE events; --=1"}, "no dimension"),
        ({"metrics": "messages,messages"}, "once"),
        ({"metrics": "messages", "granularity": "century"}, "hour, day, week, month"),
        ({"metrics": "messages", "time_zone": "Mars/Olympus"}, "no time zone"),
        ({"metrics": "messages", "time_zone": "../../etc/passwd"}, "no time zone"),
        ({"metrics": "messages", "since": "yesterday"}, "expected a time"),
        ({"metrics": "messages", "since": "2026-03-02", "until": "2026-03-01"}, "ends after it begins"),
        ({"metrics": "messages", "at_least": 1_000_000}, "at_least"),
        ({"metrics": "messages", "format": "xml"}, "format"),
        ({"metrics": "messages", "rows_max": 0}, "rows_max"),
    ],
)
async def test_what_means_nothing_is_refused_with_what_there_is(server: Running, params: dict[str, Any], said: str) -> None:
    admin = await server.sign_up()
    answer = await admin.get(f"{BASE}/query", **params)
    assert answer.status_code == 400
    assert said in answer.text


async def test_a_window_that_ends_before_it_begins_is_refused(server: Running) -> None:
    admin = await server.sign_up()
    for route in ("models", "users", "summary", "daily", "tokens", "models/m/chats"):
        assert (await admin.get(f"{BASE}/{route}", start_date=10, end_date=5)).status_code == 400


async def test_an_answer_is_as_new_as_its_reader_wants(server: Running) -> None:
    admin = await server.sign_up()
    before = await got(admin, "query", metrics="messages", at_least=await head(server))
    await admin.add(await admin.new_chat(), "one more")
    after = await got(admin, "query", metrics="messages", at_least=await head(server))
    assert (before["rows"], after["rows"]) == ([[0]], [[1]])
    assert after["position"] > before["position"]


async def test_models_are_ranked_by_their_duels(server: Running) -> None:
    admin = await server.sign_up()
    assert (await got(admin, "arena"))["models"] == []
    by = Actor(UUID(admin.id), "Ada", "admin")
    for number in range(5):
        q, one, other = uuid4(), uuid4(), uuid4()
        events: list[Event[Any]] = [Event(None, ChatCreated(by.id, "t")), Event(q, MessageAdded(None, "user", "who is better?"))]
        events += [Event(id_, MessageStarted(q, model, "arena", uuid4(), by.id)) for id_, model in ((one, "good"), (other, "bad"))]
        events.append(Event(one, MessageRated(1 if number else -1)))
        await server.systems[0].log.append(AppendRequest([StreamAppend(chat_stream(uuid4()), events, 0)], by))
    models = (await got(admin, "arena", at_least=await head(server)))["models"]
    assert [(one["model_id"], one["won"], one["lost"]) for one in models] == [("good", 4, 1), ("bad", 1, 4)]
    assert models[0]["low"] <= models[0]["rating"] <= models[0]["high"]
    assert models[0]["rating"] + models[1]["rating"] == pytest.approx(2_000)
    assert (await got(admin, "arena", until="2020-01-01"))["models"] == []
