"""What a projection is: it is given events in the order of the log, says what it must know, and names what is to be written.

It performs nothing, so it can be tested without a database and rebuilt at any time with the same result. The adapter that runs it
(``adapters/projector/writer.py``) answers its reads from the tables that it writes itself, and from the log, as of the events before.
"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.log.event import StoredEvent
from domain.log.stream import Kind


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event of the log and the fact that it holds. Decoded once for all projections."""

    stored: StoredEvent
    fact: Any  # of the stream's kind: ``ChatFact`` in a chat
    message_id: str | None  # of ``stored``, as a text


def events_by_stream(events: Sequence[Recorded]) -> dict[UUID, list[Recorded]]:
    """The events of each stream, by its id, in their order."""
    found: dict[UUID, list[Recorded]] = defaultdict(list)
    for event in events:
        found[event.stored.stream.id].append(event)
    return found


class TooMuch(Exception):
    """A batch of several events needs more at once than a process should hold: it is to be given fewer of them."""


class Rows(msgspec.Struct, frozen=True):
    """Asks a named query (``sql/queries``); answered with a list of rows, each a mapping from the column's name to its value."""

    query: str
    arguments: tuple[Any, ...]


class Events(msgspec.Struct, frozen=True):
    """Asks a named query of the log; answered with a list of ``Recorded``."""

    query: str
    arguments: tuple[Any, ...]


Ask = Rows | Events


class Write(msgspec.Struct, frozen=True):
    """A named statement, and the rows that it is run for, one after the other."""

    statement: str
    rows: Sequence[tuple[Any, ...]]  # of a class whose fields are the statement's parameters, in their order
    copy: str | None = None  # a named ``COPY`` that does the same, for very many rows


# What it asks together is answered together, in the same order.
Projecting = Generator[Sequence[Ask], Sequence[Any], list[Write]]


class Projection(Protocol):
    """``name`` is the key of its checkpoint and the schema of its tables, ``sql/projections/NAME.sql`` makes them."""

    name: str
    kinds: frozenset[Kind]  # of the streams that it reads
    by_stream: bool  # what comes of a stream depends on that stream alone: several partitions may be replayed at once

    def project(self, events: Sequence[Recorded]) -> Projecting:
        """The writes of one batch: events of ``kinds`` in the order of the log, without deltas. Never an empty one.

        Raises ``TooMuch``, only of more than one event.
        """
        ...


def step(projecting: Projecting, answers: Sequence[Any] | None) -> tuple[Sequence[Ask], list[Write]]:
    """What a projection asks next, or what it writes when it asks no more. ``None``: it has asked nothing yet."""
    try:
        return (projecting.send(answers) if answers is not None else next(projecting)), []
    except StopIteration as made:
        return [], made.value


def together(all_projecting: Sequence[Projecting]) -> Projecting:
    """Several projections of the same events as one: what they ask at the same time is asked at once."""
    writes: list[list[Write]] = [[] for _ in all_projecting]
    asks: list[Sequence[Ask]] = []
    for index, projecting in enumerate(all_projecting):
        asked, writes[index] = step(projecting, None)
        asks.append(asked)
    while any(asks):
        answers = iter((yield [ask for asked in asks for ask in asked]))
        for index, projecting in enumerate(all_projecting):
            if asks[index]:
                own = [next(answers) for _ in asks[index]]
                asks[index], writes[index] = step(projecting, own)
    return [write for some in writes for write in some]
