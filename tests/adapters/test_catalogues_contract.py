"""Models and groups on a log: the same in memory and in Postgres, after a restart, and for two processes at once."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import PostgresLog, postgres_log
from commands.ports import CommandKey
from domain.accounts.access import EVERYBODY
from domain.accounts.group import AddGroupMembers, CreateGroup, DeleteGroup, RemoveGroupMembers
from domain.errors import CommandMismatch, GroupNotFound, ModelEntryNotFound, ModelExists, ModelNotFound
from domain.routing.model import ChangeModel, CreateModel
from tests.commands.routing.sources import ADA, ADMIN, BOB, Routing, Source, to, to_group

pytestmark = pytest.mark.anyio
Log = MemoryLog | PostgresLog


class Process(Routing):
    """Hears of the log only when it waits for something in it: at any other time it is behind."""

    def __init__(self, log: Log) -> None:
        self.position = 0
        super().__init__(log, self.delivered, Source("openai", "gpt"))

    async def delivered(self, position: int) -> None:
        while self.position < position:
            page = await self.log.read_log(after=self.position, limit=100)
            self.observe([stored for stored in page if stored.position > self.position])
            self.position = max(self.position, page[-1].position)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    made: Log = MemoryLog() if request.param == "memory" else postgres_log(request.getfixturevalue("database"), lambda _: None)
    await made.start()
    yield made
    await made.close()


async def restarted(log: Log) -> Process:
    process = Process(log)
    process.position = await log.head()
    await process.start()
    return process


def key(name: str = "key", request: bytes = b"a") -> CommandKey:
    return CommandKey(ADMIN.id, name, request * 32)


def creation(model_id: str = "preset", **more: object) -> CreateModel:
    return CreateModel(**{"by": ADMIN, "model_id": model_id, "name": "Preset", "base_model_id": "gpt"} | more)  # type: ignore[arg-type]


async def new_group(process: Process, *members: UUID) -> UUID:
    group_id = uuid4()
    await process.groups.handle(CreateGroup(group_id=group_id, owner_id=ADMIN.id, name="Group"), ADMIN)
    await process.groups.handle(AddGroupMembers(group_id=group_id, user_ids=members), ADMIN)
    return group_id


async def test_a_restart_changes_nothing(log: Log) -> None:
    before = Process(log)
    group_id = await new_group(before, ADA.id)
    gone = await new_group(before, BOB.id)
    await before.groups.handle(DeleteGroup(group_id=gone), ADMIN)
    await before.create("preset", "gpt", params={"temperature": 0}, grants=to_group(group_id))
    await before.create("deleted", "gpt")
    await before.editor.delete(ADMIN, "deleted")
    after = await restarted(log)
    assert after.entries.all() == before.entries.all()
    assert after.groups.all() == before.groups.all()
    assert (after.groups.groups_of(ADA.id), after.groups.groups_of(BOB.id)) == ({group_id}, frozenset())
    assert (await after.router.route("preset", ADA)).settings == {"temperature": 0}
    with pytest.raises(ModelNotFound):
        await after.router.route("preset", BOB)
    with pytest.raises(GroupNotFound):
        await after.groups.existing(gone)
    await after.create("deleted", "gpt", grants=to(BOB))  # in the stream that it had
    [stream] = {one.id for one in after.entries.all() if one.state.model_id == "deleted"}
    assert [stored.type for stored in await log.read(after.entries._aggregate.stream(stream), limit=9)] == [
        "model_created",
        "model_deleted",
        "model_created",
        "access_granted",
    ]


async def test_of_two_who_make_a_model_at_once_one_has_made_it(log: Log) -> None:
    processes = [Process(log) for _ in range(4)]
    outcomes = await asyncio.gather(*(one.create("same", "gpt") for one in processes), return_exceptions=True)
    assert [type(one) for one in outcomes if one is not None] == [ModelExists] * 3
    for one in processes:
        await one.entries.refresh()
        assert [known.state.model_id for known in one.entries.all()] == ["same"]


async def test_a_process_that_is_behind_changes_what_is_there_now(log: Log) -> None:
    one, two = Process(log), Process(log)
    await one.create("preset", "gpt", params={"temperature": 0})
    known, _ = await two.editor.toggle(ADMIN, "preset")
    assert not known.state.active
    await one.editor.delete(ADMIN, "preset")
    with pytest.raises(ModelEntryNotFound):
        await two.editor.toggle(ADMIN, "preset")
    with pytest.raises(ModelEntryNotFound):
        await two.editor.change(ChangeModel(by=ADMIN, group_ids=(), model_id="nothing", name="New"))


async def test_a_grant_that_one_process_takes_back_is_gone_for_the_other_before_it_hears(log: Log) -> None:
    one, two = Process(log), Process(log)
    group_id = await new_group(one, ADA.id)
    await one.create("preset", "gpt", grants=to_group(group_id))
    assert (await two.router.route("preset", ADA)).model == "preset"
    await one.editor.set_access(ADMIN, "preset", None, [])
    with pytest.raises(ModelNotFound):
        await two.router.route("preset", ADA)


async def test_a_repeated_command_gets_the_first_answer(log: Log) -> None:
    process = Process(log)
    first, appended = await process.editor.create(creation(), key())
    await process.editor.change(ChangeModel(by=ADMIN, group_ids=(), model_id="preset", name="Renamed"))
    again, repeated = await process.editor.create(creation(), key())
    assert (again, repeated.position, repeated.versions) == (first, appended.position, appended.versions)
    with pytest.raises(CommandMismatch):
        await process.editor.create(creation(), key(request=b"b"))
    off, _ = await process.editor.toggle(ADMIN, "preset", key("toggle"))
    still_off, _ = await process.editor.toggle(ADMIN, "preset", key("toggle"))
    assert (off.state.active, still_off.state.active) == (False, False)
    elsewhere = await restarted(log)
    still_first, _ = await elsewhere.editor.create(creation(), key())
    assert still_first == first


async def test_the_id_of_a_model_is_anothers_with_another_key(log: Log) -> None:
    process = Process(log)
    await process.editor.create(creation(grants=to(EVERYBODY)), key())
    with pytest.raises(ModelExists):
        await process.editor.create(creation(), key("other"))


async def test_an_account_that_one_process_takes_out_of_a_group_is_refused_by_the_other(log: Log) -> None:
    one, two = Process(log), Process(log)
    group_id = await new_group(one, ADA.id)
    await one.create("preset", "gpt", grants=to_group(group_id))
    assert (await two.router.route("preset", ADA)).model == "preset"
    await one.groups.handle(RemoveGroupMembers(group_id=group_id, user_ids=[ADA.id]), ADMIN)
    with pytest.raises(ModelNotFound):
        await two.router.route("preset", ADA)
