"""What a projection is: it is given events in the order of the log, says what it must know, and names what is to be written.

It performs nothing, so it can be tested without a database and rebuilt at any time with the same result. Whoever runs it
(``adapters/projector/writer.py``) answers its reads from the tables that it writes itself, and from the log, as of the events before.
"""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import msgspec

from domain.event import Stored
from domain.stream import Kind


class Rows(msgspec.Struct, frozen=True):
    """Asks a named query (``sql/queries``); answered with a list of tuples."""

    query: str
    arguments: tuple[Any, ...]


class Events(msgspec.Struct, frozen=True):
    """Asks a named query of the log; answered with a list of ``Stored``."""

    query: str
    arguments: tuple[Any, ...]


Ask = Rows | Events


class Write(msgspec.Struct, frozen=True):
    """A named statement, and the rows that it is run for, one after the other."""

    statement: str
    rows: Sequence[tuple[Any, ...]]
    copy: str | None = None  # a named ``COPY`` that does the same, for very many rows


# What it asks together is answered together, in the same order.
Projecting = Generator[Sequence[Ask], Sequence[Any], list[Write]]


class Projection(Protocol):
    """``name`` is the key of its checkpoint and the schema of its tables, ``sql/projections/NAME.sql`` makes them."""

    name: str
    kinds: frozenset[Kind]  # of the streams that it reads
    by_stream: bool  # what comes of a stream depends on that stream alone: several lanes, each with its own streams, may build at once

    def project(self, events: Sequence[Stored]) -> Projecting:
        """The writes of one batch: events of ``kinds`` in the order of the log, without deltas. Never an empty one."""
        ...
