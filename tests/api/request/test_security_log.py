"""The security log: what has to be in it, and what must never be."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.process.logging import write_security_log_to
from commands import security_log
from commands.security_log import Budget
from tests.api.conftest import Running

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _own_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's is used up for this second where an earlier test was refused again and again, and says so in the next record."""
    monkeypatch.setattr(security_log, "_budget", Budget(security_log.RECORDS_MAX))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "security.log"
    opened = write_security_log_to(path)
    yield path
    write_security_log_to(None)
    assert opened is not None
    opened.close()


def text_of(file: Path) -> str:
    return file.read_text("ascii")


def empty(file: Path) -> None:
    file.write_text("")


def records(file: Path, event: str | None = None) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in text_of(file).splitlines()]
    return [one for one in read if event in (None, one["event"])]


async def test_sign_ins_are_recorded_with_their_account_and_address(server: Running, file: Path) -> None:
    user = await server.sign_up()
    async with server.client() as http:
        await http.post("/api/v1/auths/signin", json={"email": user.email, "password": "a wrong one"})
        await http.post("/api/v1/auths/signin", json={"email": "nobody@example.org", "password": "a wrong one"})
        await http.post("/api/v1/auths/signin", json={"email": user.email, "password": PASSWORD})
    up, known, unknown, right = records(file)
    assert (up["event"], up["account"], up["role"]) == ("sign_up", user.id, "admin")
    assert (known["event"], known["target"], known["code"], known["status"]) == ("sign_in_failed", user.id, "wrong_credentials", 400)
    assert (known["address"], known["path"], len(known["request_id"])) == ("127.0.0.1", "/api/v1/auths/signin", 32)
    assert (unknown["event"], "target" in unknown) == ("sign_in_failed", False)
    assert (right["event"], right["account"]) == ("sign_in", user.id)


async def test_refusals_are_recorded(server: Running, file: Path) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    empty(file)
    await bob.get(f"/api/v1/chats/{chat_id}")
    await bob.get("/api/v1/users/")
    async with server.client() as http:
        await http.get("/api/v1/chats/?ticket=secret-of-a-ticket")
    not_his, listing, nobody = records(file)
    assert (not_his["event"], not_his["account"], not_his["code"]) == ("refused", bob.id, "chat_not_found")
    assert (listing["event"], listing["account"], listing["code"]) == ("accounts_listed_failed", bob.id, "forbidden")
    assert (nobody["event"], nobody["code"], nobody["path"]) == ("refused", "not_authenticated", "/api/v1/chats")


async def test_a_guesser_who_is_slowed_down_is_recorded(server: Running, file: Path) -> None:
    user = await server.sign_up()
    async with server.client() as http:
        for _ in range(11):
            answer = await http.post("/api/v1/auths/signin", json={"email": user.email, "password": "a wrong one"})
    assert answer.status_code == 429
    last = records(file)[-1]
    assert (last["event"], last["status"], last["code"]) == ("sign_in_failed", 429, "too_many_attempts")


async def test_what_admins_do_to_accounts_is_recorded(server: Running, file: Path) -> None:
    admin = await server.sign_up()
    made = await admin.post("/api/v1/auths/add", {"name": "Bob", "email": "bob@example.org", "password": "battery staple", "role": "user"})
    bob = made.json()["id"]
    await admin.post(f"/api/v1/users/{bob}/update", {"role": "auditor", "password": "another staple"})
    await admin.http.delete(f"/api/v1/users/{bob}")
    added, changed, gone = records(file)[1:]
    assert (added["event"], added["account"], added["target"], added["new_role"]) == ("account_added", admin.id, bob, "user")
    assert (changed["event"], changed["target"], changed["changed"]) == ("account_changed", bob, ["role", "password"])
    assert (gone["event"], gone["account"], gone["target"]) == ("account_deactivated", admin.id, bob)


async def test_what_is_read_by_role_alone_is_recorded_once_a_request_and_what_is_ones_own_is_not(server: Running, file: Path) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id, own = await bob.new_chat(), await admin.new_chat()
    for path in (f"/api/v1/chats/{chat_id}", f"/api/v1/streams/chat/{chat_id}/events", "/api/v1/log", f"/api/v1/chats/{own}"):
        assert (await admin.get(path)).status_code == 200
    await bob.get(f"/api/v1/chats/{chat_id}")
    wire = await server.connect(admin)
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.op("subscribed", id=1)
    read = records(file, "read_by_role")
    stream = f"chat/{chat_id}"
    assert [one["what"] for one in read] == [stream, stream, "the whole log", stream]
    assert {(one["account"], one["role"]) for one in read} == {(admin.id, "admin")}
    assert [one["path"] for one in read][-1] == "/ws"


async def test_refused_sockets_and_streams_are_recorded(server: Running, file: Path) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    empty(file)
    assert await (await server.connect(authorization="Bearer nothing")).closed() == 4401
    assert await (await server.connect(origin="https://evil.example")).closed() == 1008
    wire = await server.connect(bob)
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.op("error")
    forged, origin, stream = records(file, "refused")
    assert (forged["code"], forged["path"], forged["address"]) == ("not_authenticated", "/ws", "127.0.0.1")
    assert (origin["code"], origin["origin"]) == ("origin_refused", "https://evil.example")
    assert (stream["code"], stream["account"]) == ("stream_not_found", bob.id)


async def test_no_secret_and_no_address_of_a_person_is_recorded(server: Running, file: Path) -> None:
    user = await server.sign_up()
    ticket = (await user.post("/api/v1/auths/ticket")).json()["ticket"]
    await user.post("/api/v1/auths/update/password", {"password": "not the old one", "new_password": "a new horse"})
    key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
    async with server.client() as http:
        await http.post("/api/v1/auths/signin", json={"email": "hunter2@example.org", "password": "hunter2hunter2"})
        await http.get(
            f"/api/v1/chats/?token={user.token}", headers={"authorization": "Bearer forged-token", "cookie": "token=forged-cookie"}
        )
    await server.connect(query=f"?ticket={ticket}")
    text = text_of(file)
    assert len(records(file)) >= 5
    for secret in (PASSWORD, "not the old one", "a new horse", key, ticket, user.token, user.email, "hunter2", "forged"):
        assert secret not in text


async def test_no_value_can_forge_a_record(server: Running, file: Path) -> None:
    forged = '{"event":"sign_in"}'
    async with server.client() as http:
        await http.get(f"/api/v1/chats/x%0A{forged}%0D%1B[31m", headers={"x-request-id": f"a {forged}"})
    for text in ("line\nbreak", "\x1b[31mred", "\u2028", "ü", "x" * 1000, '"}'):
        security_log.record("refused", path=text)
    lines = text_of(file).splitlines()
    assert len(lines) == 7
    assert all(json.loads(line)["event"] == "refused" for line in lines)
    assert not any(sign in text_of(file) for sign in ("\x1b", "\r"))
    assert max(map(len, lines)) < 1000


async def test_without_a_file_records_are_in_the_servers_log(server: Running) -> None:
    with structlog.testing.capture_logs() as said:
        async with server.client() as http:
            await http.get("/api/v1/chats/")
    assert [(one["event"], one["log"], one["code"]) for one in said if one.get("log") == "security"] == [
        ("refused", "security", "not_authenticated")
    ]


def test_the_file_is_its_owners_and_may_be_moved_away(file: Path) -> None:
    security_log.record("one")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.rename(file.with_suffix(".1"))
    security_log.record("two")
    assert [one["event"] for one in records(file)] == ["two"]


def test_a_flood_of_refusals_is_bounded_and_counted() -> None:
    now = [0.0]
    budget = Budget(3, lambda: now[0])
    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 1.0
    assert budget.take() and budget.reported() == 2 and budget.reported() == 0
