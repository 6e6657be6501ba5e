"""What 0.1.0 wrote is read, verified, projected, replayed and folded by today's code, and is the same to its readers."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.log.verify import verify
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.projector.compare import verify_projections
from adapters.projector.rebuild import rebuild
from commands.chats.chats import Chats
from domain.accounts.user.evolve import evolve as evolve_account
from domain.accounts.user.facts import UserRole
from domain.accounts.user.state import NO_ACCOUNT
from domain.log.codec import decode_event
from domain.log.event import Emitted
from domain.log.stream import chat_stream
from projections.chat import ChatView, view
from tests.adapters.old_log import chats, put_in
from tests.adapters.projector.test_projector import ALL

pytestmark = pytest.mark.anyio
MANY = 10_000
KEYS_SINCE = {"added_by", "edited_by"}  # of a message, that readers of 0.1.0 did not get


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    put_in(database)
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


def test_no_chat_of_it_is_without_its_reading() -> None:
    assert [path.name for _, path in chats() if not path.exists()] == []


async def test_it_is_whole(database: str, log: PostgresLog) -> None:
    report = verify(database, lambda _: None)
    assert (report.findings, report.events) == ([], 289)


async def test_its_chats_are_what_they_were(log: PostgresLog) -> None:
    for chat_id, path in chats():
        events = await log.read(chat_stream(chat_id), limit=MANY)
        assert then(seen(view(events))) == msgspec.json.decode(path.read_bytes())


async def test_projected_they_are_the_same_at_every_version(database: str, log: PostgresLog) -> None:
    built = await rebuild(database, ALL, lambda _: None)
    assert built.position == await log.head()
    history = PostgresChatQueries(log.reader)
    for chat_id, path in chats():
        assert then(seen(await history.chat(chat_id))) == msgspec.json.decode(path.read_bytes())
        events = await log.read(chat_stream(chat_id), limit=MANY)
        for at in range(1, len(events) + 1, 7):
            assert seen(await history.chat(chat_id, at=at)) == seen(view(events[:at]))
    compared, notes = await verify_projections(database, ALL, lambda _: None)
    assert ([one.findings for one in compared], notes) == ([[]] * len(ALL), [])


async def test_commands_go_on_with_its_streams(log: PostgresLog) -> None:
    for chat_id, _ in chats():
        version, chat = await Chats(log).state(chat_id)
        assert version == await log.version(chat_stream(chat_id))
        assert chat.owner_id is not None
        assert chat.open_generations == {}


async def test_its_people_are_who_they_were(log: PostgresLog) -> None:
    known: dict[str, tuple[UserRole | None, bool]] = {}
    for stored in await log.read_log(after=0, limit=MANY):
        if stored.type == "user_created":
            account = NO_ACCOUNT
            for event in await log.read(stored.stream, limit=MANY):
                account = evolve_account(account, decode_event(event), event.version)
            known[account.name] = (account.role, account.active)
    assert known == {"Ada 🦉": ("admin", True), "Bobby": ("analyst", True), "Eve": ("user", False)}


async def test_what_a_newer_server_wrote_is_passed_over(database: str, log: PostgresLog) -> None:
    """Fields that nobody knows in any fact, and in a chat also types that nobody knows."""
    chat_id = next(chat_id for chat_id, _ in chats())
    stream = chat_stream(chat_id)
    before = view(await log.read(stream, limit=MANY))
    put(database, chat_id, before.version + 1, "chat_renamed", '{"title":"renamed","why":{"a":[1]}}', None)
    put(database, chat_id, before.version + 2, "chat_coloured", '{"colour":"red"}', None)
    put(database, chat_id, before.version + 3, "message_praised", '{"by":"everybody"}', uuid4())
    after = view(await log.read(stream, limit=MANY))
    assert (after.title, after.version, after.messages) == ("renamed", before.version + 3, before.messages)
    await rebuild(database, ALL, lambda _: None)
    assert seen(await PostgresChatQueries(log.reader).chat(chat_id)) == seen(after)
    assert isinstance(decode_event((await log.read(stream, after=before.version + 2, limit=1))[0]).data, Emitted)
    assert verify(database, lambda _: None).findings == []


def seen(chat: ChatView) -> Any:
    """As a client decodes it."""
    return msgspec.json.decode(msgspec.json.encode(chat.to_json()))


def then(chat: Any) -> Any:
    """Without the keys that messages have got since."""
    for messages in (chat["chat"]["history"]["messages"].values(), chat["chat"]["messages"]):
        for message in messages:
            for key in KEYS_SINCE:
                message.pop(key, None)
    return chat


def put(dsn: str, chat_id: UUID, version: int, type_: str, data: str, message_id: UUID | None) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO events (position, stream_id, version, type, message_id, data, recorded_at)"
            " SELECT max(position) + 1, %s, %s, %s, %s, %s, max(recorded_at) FROM events",
            (chat_id, version, type_, message_id, data),
        )
