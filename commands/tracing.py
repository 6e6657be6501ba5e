"""The port to tracing: the span of a request, and what begins below it.

A request that is traced sets ``CURRENT`` for what it does. Parts ask it where they begin something of their own; without tracing it is
None, and that question is all that tracing costs. A span never holds what somebody said, nor who it was.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec

from commands.generation.run_figures import RunReport
from domain.log.event import Event
from domain.log.stream import Stream


class CommandSpan(Protocol):
    """One command, from its fold to its commit. What is appended meanwhile belongs to it."""

    def decided(self, events: Sequence[Event[Any]]) -> None:
        """It came to these events. They are appended next; after a lost race others may follow."""
        ...

    def failed(self, error: BaseException) -> None: ...

    def end(self) -> None: ...


class GenerationSpan(Protocol):
    """One generation. Tokens are no part of its trace: what it appends is, while it is ``attached``."""

    def attach(self) -> None:
        """To be called in the task of the run, before something that belongs to the trace. What follows does, until ``detach``."""
        ...

    def detach(self) -> None: ...

    def end(self, report: RunReport) -> None: ...


class CommittedRequest(msgspec.Struct, frozen=True):
    """A request of a traced command that was committed."""

    span: "Span"
    waited_s: float  # from the append to the end of the batch
    position: int  # of its last event
    events: int
    streams: Sequence[tuple[Stream, int]]  # the newest version that it wrote in each


class CommittedBatch(msgspec.Struct, frozen=True):
    """One batch of the appender. ``requests`` are those of traced commands."""

    requests: Sequence[CommittedRequest]
    requests_total: int
    events_total: int
    duration_s: float  # from its call to its commit


class Span(Protocol):
    """A span that is open: below it others begin."""

    def begin_command(self, kind: str) -> CommandSpan:
        """``kind``: of the stream that is changed."""
        ...

    def begin_generation(self, model: str, owned_by: str) -> GenerationSpan:
        """``model`` and ``owned_by`` as in ``RunReport``."""
        ...

    def committed(self, batch: CommittedBatch) -> None:
        """A batch was committed that holds requests of this span and of others. Called before the events are delivered."""
        ...


CURRENT: Final[ContextVar[Span | None]] = ContextVar("span", default=None)
