"""The set of providers and their secrets, when things fail and when several change them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.memory.accounts.credentials import MemoryCredentials
from commands.ports import AppendRequest
from commands.providers.provider_setup import ProviderEdit, ProviderSecrets, ProviderSetup, WantedProvider
from commands.providers.providers import ProviderRegistry
from domain.errors import BadRequest, Forbidden, LogUnavailable, ProviderNotFound, TooManyLostRaces
from domain.log.event import StoredEvent
from tests.commands.world import ME, FailingLog, until

pytestmark = pytest.mark.anyio
URL = "http://a.example/v1"


class Credentials(MemoryCredentials):
    """Can be made to fail; ``kept`` are the secrets that are there."""

    failing = False
    failures = 0

    @property
    def kept(self) -> dict[UUID, bytes]:
        return self._provider_secrets

    async def provider_secrets(self, secret_id: UUID) -> bytes | None:
        if self.failing:
            self.failures += 1
            raise LogUnavailable("Postgres is away")
        return await super().provider_secrets(secret_id)


class Process:
    """One process: what it asks is in ``asked``."""

    def __init__(self, log: FailingLog, credentials: Credentials, fixed: Sequence[ProviderSetup] = ()) -> None:
        self.asked: Sequence[ProviderSetup] = ()
        self.log = log
        self.refused_once = False
        self.registry = ProviderRegistry(log, credentials, fixed, self._delivered, self._apply, self._probe)

    async def _delivered(self, _position: int) -> None:
        pass  # the log in memory delivers before it returns

    def _apply(self, setups: Sequence[ProviderSetup]) -> None:
        if self.refused_once:
            self.refused_once = False
            raise ValueError("this set cannot be applied")
        self.asked = setups

    async def _probe(self, setup: ProviderSetup) -> dict[str, Any]:
        return msgspec.structs.asdict(setup.secrets)

    @property
    def keys(self) -> list[str]:
        return [setup.secrets.key for setup in self.asked]


class Cluster:
    def __init__(self) -> None:
        self.log = FailingLog(self._committed)
        self.credentials = Credentials()
        self.processes: list[Process] = []

    def _committed(self, events: Sequence[StoredEvent]) -> None:
        for process in self.processes:
            for event in events:
                process.registry.observe(event)

    async def process(self, *fixed: ProviderSetup) -> Process:
        made = Process(self.log, self.credentials, fixed)
        self.processes.append(made)
        await made.registry.start()
        return made


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    yield made
    for process in made.processes:
        await process.registry.close()


def edit(key: str | None = None, **more: object) -> ProviderEdit:
    return ProviderEdit(key=key, **more)  # type: ignore[arg-type]  # each test names what fits


async def test_a_key_that_was_replaced_or_whose_provider_is_gone_is_forgotten(cluster: Cluster) -> None:
    one, other = await cluster.process(), await cluster.process()
    made = await one.registry.add(ME, "openai", URL, edit("sk-first"))
    assert len(cluster.credentials.kept) == 1
    await one.registry.change(ME, made.id, edit("sk-second"))
    assert [msgspec.json.decode(kept) for kept in cluster.credentials.kept.values()] == [{"key": "sk-second"}]
    await until(lambda: other.keys == ["sk-second"])
    await other.registry.change(ME, made.id, edit(headers={"X-A": "b"}))
    await until(lambda: one.asked[0].secrets == ProviderSecrets("sk-second", {"X-A": "b"}))
    await other.registry.remove(ME, made.id)
    assert cluster.credentials.kept == {}
    await until(lambda: not one.asked)


async def test_what_is_refused_leaves_no_secret_behind(cluster: Cluster) -> None:
    one = await cluster.process()
    made = await one.registry.add(ME, "openai", URL, edit("sk-first"))
    for wrong in (edit("sk-new", fields={"prefix_id": "a b"}), edit("sk-new", fields={"base_url": "http://x:99999"}), edit("sk\n")):
        with pytest.raises(BadRequest):
            await one.registry.change(ME, made.id, wrong)
    with pytest.raises(BadRequest):
        await one.registry.add(ME, "openai", "nonsense", edit("sk-new"))
    assert len(cluster.credentials.kept) == 1
    assert one.keys == ["sk-first"]


async def test_a_lost_race_is_decided_again_and_nothing_of_either_change_is_lost(cluster: Cluster) -> None:
    one, other = await cluster.process(), await cluster.process()
    made = await one.registry.add(ME, "openai", URL, edit())

    async def the_other_is_first(_: AppendRequest) -> None:
        cluster.log.before_append = None
        await other.registry.change(ME, made.id, edit(headers={"X-A": "b"}))

    cluster.log.before_append = the_other_is_first
    changed = await one.registry.change(ME, made.id, edit("sk-mine"))
    assert changed.secrets == ProviderSecrets("sk-mine", {"X-A": "b"})
    assert len(cluster.credentials.kept) == 1


async def test_a_race_that_is_always_lost_is_given_up(cluster: Cluster) -> None:
    one, other = await cluster.process(), await cluster.process()
    made = await one.registry.add(ME, "openai", URL, edit())
    numbers = iter(range(1_000))

    async def the_other_is_first(request: AppendRequest) -> None:
        cluster.log.before_append = None
        await other.registry.change(ME, made.id, edit(fields={"tags": [str(next(numbers))]}))
        cluster.log.before_append = the_other_is_first

    cluster.log.before_append = the_other_is_first
    with pytest.raises(TooManyLostRaces):
        await one.registry.change(ME, made.id, edit("sk-mine"))
    assert cluster.credentials.kept == {}


async def test_a_change_whose_outcome_is_unknown_keeps_its_secret(cluster: Cluster) -> None:
    """It may have been written: then the event names that secret."""
    one = await cluster.process()
    made = await one.registry.add(ME, "openai", URL, edit("sk-first"))

    async def lost(_: AppendRequest) -> None:
        cluster.log.after_append = None
        raise LogUnavailable("the answer was lost")

    cluster.log.after_append = lost
    with pytest.raises(LogUnavailable):
        await one.registry.change(ME, made.id, edit("sk-second"))
    await until(lambda: one.keys == ["sk-second"])
    again = await one.registry.change(ME, made.id, edit("sk-second"))
    assert again.secrets.key == "sk-second"


async def test_a_process_that_cannot_read_a_key_tries_again(cluster: Cluster) -> None:
    one, other = await cluster.process(), await cluster.process()
    cluster.credentials.failing = True
    adding = asyncio.create_task(one.registry.add(ME, "openai", URL, edit("sk-first")))
    await until(lambda: cluster.credentials.failures >= 3)
    assert not adding.done() and not one.asked and not other.asked
    cluster.credentials.failing = False
    assert (await adding).secrets.key == "sk-first"
    await until(lambda: other.keys == ["sk-first"])


async def test_a_set_that_cannot_be_applied_leaves_the_one_before(cluster: Cluster) -> None:
    one = await cluster.process()
    await one.registry.add(ME, "openai", URL, edit())
    one.refused_once = True
    await one.registry.add(ME, "openai", "http://b.example/v1", edit())
    assert len(one.asked) == 1
    await one.registry.add(ME, "openai", "http://c.example/v1", edit())
    assert len(one.asked) == 3


async def test_what_the_settings_no_longer_hold_is_not_asked_until_they_do(cluster: Cluster) -> None:
    fixed = ProviderSetup(id=UUID(int=5), kind="ollama", base_url="http://f.example", from_settings=True, secrets=ProviderSecrets("sk-f"))
    one = await cluster.process(fixed)
    await one.registry.change(ME, fixed.id, edit(fields={"prefix_id": "p"}))
    without = await cluster.process()
    assert (without.asked, without.registry.setups()) == ([], [])
    with pytest.raises(ProviderNotFound):
        await without.registry.change(ME, fixed.id, edit(fields={"prefix_id": "q"}))
    back = await cluster.process(fixed)
    assert [(setup.fields["prefix_id"], setup.secrets.key, setup.is_guarded) for setup in back.asked] == [("p", "sk-f", False)]


async def test_a_secret_of_the_settings_that_is_overridden_hides_only_itself(cluster: Cluster) -> None:
    secrets = ProviderSecrets("sk-f", {"X-A": "fixed"})
    fixed = ProviderSetup(id=UUID(int=5), kind="ollama", base_url="http://f.example", from_settings=True, secrets=secrets)
    one = await cluster.process(fixed)
    changed = await one.registry.change(ME, fixed.id, edit("sk-mine"))
    assert changed.secrets == ProviderSecrets("sk-mine", {"X-A": "fixed"})
    assert [msgspec.json.decode(kept) for kept in cluster.credentials.kept.values()] == [{"key": "sk-mine"}]
    assert (await one.registry.change(ME, fixed.id, edit(""))).secrets.key == ""
    assert cluster.credentials.kept == {}


async def test_a_whole_list_is_one_append(cluster: Cluster) -> None:
    one = await cluster.process()
    appends = cluster.log.appends
    wanted = [WantedProvider(base_url=f"http://{number}.example/v1", edit=edit(f"sk-{number}")) for number in range(5)]
    await one.registry.replace_all(ME, "openai", wanted, enabled=False)
    assert cluster.log.appends == appends + 1
    assert [setup.base_url for setup in one.registry.setups("openai")] == [one.base_url for one in wanted]
    assert one.asked == []
    await one.registry.replace_all(ME, "openai", wanted, enabled=False)
    assert cluster.log.appends == appends + 1
    await one.registry.replace_all(ME, "openai", wanted[::-1], enabled=True)
    assert one.keys == ["sk-4", "sk-3", "sk-2", "sk-1", "sk-0"]


async def test_there_are_only_so_many(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.providers.providers.PROVIDERS_MAX", 2)
    one = await cluster.process()
    for number in range(2):
        await one.registry.add(ME, "openai", f"http://{number}.example/v1", edit())
    with pytest.raises(Forbidden):
        await one.registry.add(ME, "openai", URL, edit())
    many = [WantedProvider(base_url=f"http://{number}.example", edit=edit()) for number in range(3)]
    with pytest.raises(Forbidden):
        await one.registry.replace_all(ME, "openai", many, enabled=None)


async def test_a_server_that_is_tried_out_is_shown_the_stored_secrets_of_its_own_address_only(cluster: Cluster) -> None:
    one = await cluster.process()
    secrets = {"key": "sk-mine", "headers": {"X-A": "b"}, "proxy": ""}
    made = await one.registry.add(ME, "openai", URL, edit("sk-mine", headers={"X-A": "b"}))
    assert await one.registry.verify(made.id) == secrets
    stored = edit(None, headers={"X-A": None})
    assert await one.registry.try_out("openai", URL, stored) == secrets
    assert await one.registry.try_out("openai", "http://b.example/v1", stored) == {"key": "", "headers": {"X-A": ""}, "proxy": ""}
    assert await one.registry.try_out("ollama", URL, stored) == {"key": "", "headers": {"X-A": ""}, "proxy": ""}
    with pytest.raises(BadRequest):
        await one.registry.try_out("openai", URL, edit(None, proxy="http://mine.example:1"))
    with pytest.raises(BadRequest):
        await one.registry.try_out("openai", "nonsense", edit(""))
