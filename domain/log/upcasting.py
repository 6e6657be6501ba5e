"""Upcasters: an old type of event becomes the current one while it is decoded. Stored bytes never change.

A type whose *meaning* changes gets a new name (a new field only needs a default). Its old name gets an ``Upcast`` here: the next name,
and a total, pure function from the old JSON to the newer JSON. Each change adds one step; an event that is several changes old goes
through all of them. How to change a type, step by step: docs/decisions/0009-evolution.md.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from domain.log.stream import Kind

Tag = tuple[Kind, str]  # of a stored fact: the kind of its stream, and its type


class Upcast(msgspec.Struct, frozen=True):
    to: str  # the type that came after it, in the same kind of stream
    data: Callable[[Any], Any]  # its JSON, decoded, to that of ``to``


Upcasts = Mapping[Tag, Upcast]

# Nothing has changed its meaning so far.
UPCASTS: Final[Upcasts] = {}


class EndlessUpcast(ValueError):
    def __init__(self, tag: Tag) -> None:
        super().__init__(f"the upcasts from {tag[0]}/{tag[1]} lead back to it")


def chain(upcasts: Upcasts, kind: Kind, name: str) -> tuple[str, list[Callable[[Any], Any]]]:
    """Today's name of a type, and the steps that lead there, the oldest first. Raises ``EndlessUpcast``."""
    steps: list[Callable[[Any], Any]] = []
    passed = {name}
    today = name
    while (step := upcasts.get((kind, today))) is not None:
        steps.append(step.data)
        today = step.to
        if today in passed:
            raise EndlessUpcast((kind, name))
        passed.add(today)
    return today, steps
