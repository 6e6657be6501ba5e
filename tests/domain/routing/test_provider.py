"""A provider's rules: each happens, is refused, or is already so."""

from typing import Any
from uuid import UUID

import pytest

from domain.errors import BadRequest, ProviderNotFound
from domain.log.event import Event
from domain.routing.provider import (
    NO_PROVIDER,
    AddProvider,
    ChangeProvider,
    ChangeProviderSecrets,
    ProviderAdded,
    ProviderChanged,
    ProviderCommand,
    ProviderDisabled,
    ProviderEnabled,
    ProviderFact,
    ProviderRemoved,
    ProviderSecretsChanged,
    ProviderState,
    RemoveProvider,
    SwitchProvider,
    SwitchProviderKind,
    decide,
    decide_all,
    evolve,
    kind_id,
)

P, SECRET = UUID(int=1), UUID(int=2)
ADDED = ProviderAdded("openai", "https://a.example/v1", fields={"prefix_id": "a"})
ADD = AddProvider(provider_id=P, kind="openai", base_url="https://a.example/v1", fields={"prefix_id": "a"})
FIXED = ProviderAdded("ollama", "http://b.example", from_settings=True)


def after(*facts: ProviderFact) -> ProviderState:
    state = NO_PROVIDER
    for version, fact in enumerate(facts, 1):
        state = evolve(state, Event(None, fact), version)
    return state


def decided(state: ProviderState, *commands: ProviderCommand) -> list[Any]:
    return [event.data for event in decide_all(state, commands)]


def test_a_provider_is_added_once() -> None:
    assert decided(NO_PROVIDER, ADD) == [ADDED]
    assert decided(after(ADDED), ADD) == []
    with pytest.raises(BadRequest):
        decide(after(ADDED), AddProvider(provider_id=P, kind="ollama", base_url="https://a.example/v1"))
    assert decided(after(ADDED, ProviderRemoved()), ADD) == [ADDED]


def test_only_what_differs_is_changed() -> None:
    change = ChangeProvider(provider_id=P, fields={"prefix_id": "a", "tags": ["x"], "name": None, "base_url": "https://c.example"})
    (fact,) = decided(after(ADDED), change)
    assert fact == ProviderChanged({"tags": ["x"], "base_url": "https://c.example"})
    assert decided(after(ADDED, fact), change) == []
    state = after(ADDED, fact)
    assert (state.base_url, state.fields) == ("https://c.example", {"prefix_id": "a", "tags": ["x"]})
    assert after(ADDED, ProviderChanged({"prefix_id": None})).fields == {}


@pytest.mark.parametrize(
    "fields", [{"base_url": None}, {"unknown": 1}, {"rank": -1}, {"rank": True}, {"tags": "x"}, {"answer_timeout_s": True}]
)
def test_what_a_field_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        decide(after(ADDED), ChangeProvider(provider_id=P, fields=fields))


@pytest.mark.parametrize(
    "command",
    [
        ChangeProvider(provider_id=P, fields={}),
        ChangeProviderSecrets(provider_id=P, secret_id=None, changed=["key"]),
        SwitchProvider(provider_id=P, enabled=False),
        RemoveProvider(provider_id=P),
    ],
)
def test_a_provider_that_is_not_there_is_not_changed(command: ProviderCommand) -> None:
    for state in (NO_PROVIDER, after(ADDED, ProviderRemoved())):
        with pytest.raises(ProviderNotFound):
            decide(state, command)


def test_it_is_switched_off_and_on() -> None:
    off = SwitchProvider(provider_id=P, enabled=False)
    assert decided(after(ADDED), off, off) == [ProviderDisabled()]
    assert decided(after(ADDED, ProviderDisabled()), SwitchProvider(provider_id=P, enabled=True)) == [ProviderEnabled()]
    assert decided(after(ADDED), SwitchProvider(provider_id=P, enabled=True)) == []


def test_a_kind_is_switched_without_having_been_added() -> None:
    off = SwitchProviderKind(provider_id=kind_id("ollama"), enabled=False)
    assert decided(NO_PROVIDER, off, off) == [ProviderDisabled()]
    assert after(ProviderDisabled()).enabled is False
    assert kind_id("ollama") != kind_id("openai")


def test_secrets_are_named_and_not_held() -> None:
    command = ChangeProviderSecrets(provider_id=P, secret_id=SECRET, changed=["key", "headers"], has_key=True, header_names=["X-A"])
    (fact,) = decided(after(ADDED), command)
    assert fact == ProviderSecretsChanged(SECRET, ["key", "headers"], True, ["X-A"])
    state = after(ADDED, fact, ProviderSecretsChanged(None, ["proxy"]))
    assert (state.secret_id, state.secrets) == (None, {"key", "headers", "proxy"})
    assert decided(after(ADDED), ChangeProviderSecrets(provider_id=P, secret_id=SECRET, changed=[])) == []


def test_a_provider_of_the_settings_keeps_its_address_and_is_not_removed() -> None:
    with pytest.raises(BadRequest, match="settings"):
        decide(after(FIXED), RemoveProvider(provider_id=P))
    with pytest.raises(BadRequest, match="settings"):
        decide(after(FIXED), ChangeProvider(provider_id=P, fields={"base_url": "http://c.example"}))
    assert decided(after(FIXED), ChangeProvider(provider_id=P, fields={"base_url": "http://b.example", "tags": ["x"]})) == [
        ProviderChanged({"tags": ["x"]})
    ]
    assert decided(after(ADDED), RemoveProvider(provider_id=P)) == [ProviderRemoved()]
