"""What is promised of passwords, keys, secrets and tickets, in memory and in Postgres: one suite against both."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.accounts.credentials import MemoryCredentials
from adapters.memory.accounts.tickets import MemoryTickets
from adapters.postgres.accounts.credentials import PostgresCredentials
from adapters.postgres.accounts.tickets import PostgresTickets
from adapters.postgres.connections.query_reader import QueryReader
from commands.ports import Session

pytestmark = pytest.mark.anyio

Both = MemoryCredentials | PostgresCredentials
BothTickets = MemoryTickets | PostgresTickets
SESSION = {"generation": 3, "token_id": str(UUID(int=7)), "expires_at": None}


def a_hash(number: int) -> bytes:
    return bytes([number]) * 32


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
async def credentials(dsn: str | None) -> AsyncIterator[Both]:
    if dsn is None:
        yield MemoryCredentials()
        return
    reader = QueryReader(dsn)
    await reader.start()
    yield PostgresCredentials(reader)
    await reader.close()


@pytest.fixture
async def tickets(dsn: str | None) -> AsyncIterator[BothTickets]:
    if dsn is None:
        yield MemoryTickets()
        return
    reader = QueryReader(dsn)
    await reader.start()
    yield PostgresTickets(reader)
    await reader.close()


async def test_the_newest_password_counts(credentials: Both) -> None:
    user_id = uuid4()
    assert await credentials.password(user_id) is None
    for number in range(20):  # faster than a clock need be
        await credentials.add_password(user_id, f"hash {number}")
        assert await credentials.password(user_id) == f"hash {number}"


async def test_one_user_s_password_is_not_another_s(credentials: Both) -> None:
    await credentials.add_password(uuid4(), "hash")
    assert await credentials.password(uuid4()) is None


async def test_a_key_leads_to_its_owner(credentials: Both) -> None:
    key_id, user_id = uuid4(), uuid4()
    assert await credentials.api_key_owner(a_hash(1)) is None
    await credentials.add_api_key(key_id, user_id, a_hash(1))
    assert await credentials.api_key_owner(a_hash(1)) == (key_id, user_id)
    assert await credentials.api_key_owner(a_hash(2)) is None


async def test_a_key_that_is_added_again_stays_what_it_was(credentials: Both) -> None:
    key_id, user_id = uuid4(), uuid4()
    await credentials.add_api_key(key_id, user_id, a_hash(1))
    await credentials.add_api_key(uuid4(), uuid4(), a_hash(1))
    assert await credentials.api_key_owner(a_hash(1)) == (key_id, user_id)


def a_session(user_id: UUID, number: int, *, expires_in_s: int = 3600, **changes: Any) -> Session:
    now = datetime.now(UTC).replace(microsecond=0)
    times = {"created_at": now + timedelta(seconds=number), "expires_at": now + timedelta(seconds=expires_in_s)}
    given = {"token_id": uuid4(), "generation": 2, "address": "192.0.2.1", "user_agent": "a browser", **times, **changes}
    return Session(user_id=user_id, **given)


async def test_the_sign_ins_of_a_person_are_listed_newest_first(credentials: Both) -> None:
    user_id = uuid4()
    made = [a_session(user_id, number) for number in range(3)]
    for session in (made[1], made[2], made[0], a_session(uuid4(), 9)):
        await credentials.add_session(session)
    assert list(await credentials.sessions(user_id, limit=10)) == made[::-1]
    assert list(await credentials.sessions(user_id, limit=1)) == made[2:]


async def test_a_sign_in_that_is_over_is_swept_out_by_the_next_one_of_its_person(credentials: Both) -> None:
    user_id, other_id = uuid4(), uuid4()
    over, theirs, now = a_session(user_id, 0, expires_in_s=-5), a_session(other_id, 0, expires_in_s=-5), a_session(user_id, 1)
    for session in (over, theirs):
        await credentials.add_session(session)
        await credentials.note_used([session.token_id])
    await credentials.add_session(now)
    assert list(await credentials.sessions(user_id, limit=10)) == [now]
    assert list(await credentials.sessions(other_id, limit=10)) == [theirs]
    assert list(await credentials.last_used([over.token_id, theirs.token_id])) == [theirs.token_id]


async def test_when_a_credential_was_used_last_only_moves_forward(credentials: Both) -> None:
    used, unused = uuid4(), uuid4()
    assert await credentials.last_used([used]) == {}
    await credentials.note_used([used])
    first = (await credentials.last_used([used, unused]))[used]
    await credentials.note_used([used])
    seen = await credentials.last_used([used, unused])
    assert list(seen) == [used] and seen[used] >= first


async def test_the_first_secret_that_is_proposed_is_everybody_s(credentials: Both) -> None:
    proposed = [a_hash(number) for number in range(8)]
    agreed = await asyncio.gather(*(credentials.secret("jwt", one) for one in proposed))
    assert len(set(agreed)) == 1
    assert agreed[0] in proposed
    assert await credentials.secret("another", a_hash(9)) == a_hash(9)


async def test_a_kept_secret_is_found_by_its_name_and_never_replaced(credentials: Both) -> None:
    assert await credentials.kept_secret("valves/a") is None
    await credentials.keep_secret("valves/a", a_hash(1))
    await credentials.keep_secret("valves/a", a_hash(2))
    assert await credentials.kept_secret("valves/a") == a_hash(1)
    assert await credentials.kept_secret("valves/b") is None


async def test_a_ticket_is_taken_by_one_of_many_who_ask(tickets: BothTickets) -> None:
    user_id = uuid4()
    await tickets.put(a_hash(1), user_id, SESSION, 30)
    taken = await asyncio.gather(*(tickets.take(a_hash(1)) for _ in range(8)))
    assert [one for one in taken if one is not None] == [(user_id, SESSION)]


async def test_a_ticket_that_is_too_old_is_worth_nothing(tickets: BothTickets) -> None:
    await tickets.put(a_hash(1), uuid4(), SESSION, -1)
    assert await tickets.take(a_hash(1)) is None


async def test_an_unknown_ticket_is_worth_nothing(tickets: BothTickets) -> None:
    assert await tickets.take(a_hash(1)) is None


async def test_tickets_that_nobody_takes_are_swept_out_and_the_others_stay(tickets: BothTickets) -> None:
    user_id = uuid4()
    await tickets.put(a_hash(200), user_id, SESSION, 30)
    await tickets.put(a_hash(201), user_id, SESSION, -1)
    await tickets.put(a_hash(1), user_id, SESSION, 30)  # its hash says that it sweeps
    assert await kept(tickets) == 2
    assert await tickets.take(a_hash(200)) == (user_id, SESSION)
    assert await tickets.take(a_hash(1)) == (user_id, SESSION)


async def kept(tickets: BothTickets) -> int:
    if isinstance(tickets, MemoryTickets):
        return len(tickets._tickets)
    rows = await tickets._reader.fetch("SELECT count(*) FROM tickets")
    return int(rows[0][0])


async def test_what_providers_are_shown_is_kept_until_it_is_forgotten(credentials: Both) -> None:
    first, second = uuid4(), uuid4()
    assert await credentials.provider_secrets(first) is None
    await credentials.add_provider_secrets(first, b'{"key": "one"}')
    await credentials.add_provider_secrets(first, b'{"key": "repeated"}')
    await credentials.add_provider_secrets(second, b"two")
    assert (await credentials.provider_secrets(first), await credentials.provider_secrets(second)) == (b'{"key": "one"}', b"two")
    await credentials.forget_provider_secrets(first)
    await credentials.forget_provider_secrets(first)
    assert (await credentials.provider_secrets(first), await credentials.provider_secrets(second)) == (None, b"two")
