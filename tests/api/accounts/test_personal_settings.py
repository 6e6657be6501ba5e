"""A person's own settings come back as they were saved. The keys among them are in no event."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

KEY = "sk-of-my-own"
CONNECTIONS = {"OPENAI_API_BASE_URLS": ["https://example.org/v1"], "OPENAI_API_KEYS": [KEY], "OPENAI_API_CONFIGS": {"0": {"enable": True}}}


async def saved(user: User, ui: Any) -> Any:
    answer = await user.post("/api/v1/users/user/settings/update", {"ui": ui})
    assert answer.status_code == 200, answer.text
    assert (await user.get("/api/v1/users/user/settings")).json() == answer.json()
    return answer.json()["ui"]


async def changes(server: Running) -> list[Any]:
    """What the log has of each change of settings."""
    events = await server.systems[0].log.read_log(after=0, limit=1000)
    assert not [event for event in events if KEY.encode() in event.data]
    return [json.loads(event.data) for event in events if event.type == "settings_changed"]


def names_in(change: Any) -> list[UUID]:
    return [UUID(one["kept"]) for one in change["ui"].values() if isinstance(one, dict)]


async def kept(server: Running, name: UUID) -> bytes | None:
    return await server.systems[0].stores.credentials.provider_secrets(name)


@pytest.mark.parametrize("part", ["directConnections", "toolServers", "terminalServers"])
async def test_what_holds_keys_comes_back_and_is_in_no_event(server: Running, part: str) -> None:
    user = await server.sign_up()
    wire = await server.connect(user)
    assert await saved(user, {"theme": "dark", part: CONNECTIONS}) == {"theme": "dark", part: CONNECTIONS}
    assert await saved(user, {"theme": "light"}) == {"theme": "light", part: CONNECTIONS}
    await wire.event(f"user/{user.id}", "settings_changed")  # each socket is told of its own user
    assert KEY not in json.dumps(wire.frames)
    assert len(await changes(server)) == 2


async def test_saving_the_same_again_changes_nothing(server: Running) -> None:
    user = await server.sign_up()
    for _ in range(2):
        await saved(user, {"directConnections": CONNECTIONS})
    assert len(await changes(server)) == 1


@pytest.mark.parametrize("later", [{**CONNECTIONS, "OPENAI_API_KEYS": ["another"]}, None, {}], ids=["another key", "null", "empty"])
async def test_a_key_that_was_replaced_or_taken_away_is_deleted(server: Running, later: Any) -> None:
    user = await server.sign_up()
    await saved(user, {"directConnections": CONNECTIONS})
    [first] = names_in((await changes(server))[-1])
    assert KEY.encode() in (await kept(server, first) or b"")
    assert (await saved(user, {"directConnections": later}))["directConnections"] == later
    assert await kept(server, first) is None


async def test_a_change_that_is_refused_keeps_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await server.sign_up()
    credentials = [system.stores.credentials for system in server.systems]
    made: list[UUID] = []
    for one in credentials:
        add = one.add_provider_secrets

        async def added(name: UUID, secrets: bytes, *, add: Any = add) -> None:
            made.append(name)
            await add(name, secrets)

        monkeypatch.setattr(one, "add_provider_secrets", added)
    answer = await user.post("/api/v1/users/user/settings/update", {"ui": {"directConnections": CONNECTIONS, "much": "x" * 300_000}})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert len(made) == 1
    assert await kept(server, made[0]) is None


async def test_nobody_reads_what_another_has_by_its_name(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    await saved(ada, {"directConnections": CONNECTIONS})
    [name] = names_in((await changes(server))[-1])
    for forged in ({"kept": str(name)}, {"kept": str(uuid4())}, {"kept": "no name"}, {"kept": 5}):
        assert await saved(bob, {"directConnections": forged}) == {"directConnections": forged}
    assert await saved(ada, {}) == {"directConnections": CONNECTIONS}
