"""Given events, when a command, then events: how the tests of a decider read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from domain.errors import Refusal
from domain.log.event import Event


def happened(fact: Any) -> Event[Any]:
    """An event that is about no message; an event is itself."""
    return fact if isinstance(fact, Event) else Event(None, fact)


@dataclass(frozen=True)
class Decider:
    """Called with events, or their facts, it gives what ``when`` is asked of."""

    empty: Any
    evolve: Callable[[Any, Event[Any], int], Any]
    decide: Callable[[Any, Any], Sequence[Event[Any]]]

    def __call__(self, *events: Any) -> "Given":
        return Given(self, [happened(one) for one in events])


@dataclass(frozen=True)
class Given:
    decider: Decider
    events: Sequence[Event[Any]]

    def state(self) -> Any:
        state = self.decider.empty
        for version, event in enumerate(self.events, 1):
            state = self.decider.evolve(state, event, version)
        return state

    def when(self, command: Any) -> "When":
        return When(self, command)


@dataclass(frozen=True)
class When:
    given: Given
    command: Any

    def then(self, *events: Any) -> None:
        assert self.given.decider.decide(self.given.state(), self.command) == [happened(one) for one in events]

    def then_raises(self, refusal: type[Refusal], match: str | None = None) -> None:
        with pytest.raises(refusal, match=match):
            self.given.decider.decide(self.given.state(), self.command)
