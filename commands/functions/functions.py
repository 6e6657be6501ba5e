"""The port to functions: pipes, filters and actions, which others wrote in Python and an admin has put in.

A function runs in threads of its own, never on the server's event loop: what blocks or loops for ever in there delays nobody else.
``Functions.bind`` looks up everything that stays the same in one answer (the asker's valves, which parameters the method has), so that a
filter that sees every chunk pays for the call alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from commands.functions.call_context import Ask, CallContext, Emit

__all__ = ["Ask", "Bound", "CallContext", "Emit", "Function", "FunctionKind", "Functions", "Sub"]

FunctionKind = Literal["pipe", "filter", "action"]


class Sub(msgspec.Struct, frozen=True):
    """One entry of a pipe with several models (``<pipe>.<id>``), or of an action with several buttons (``<action>.<id>``)."""

    id: str
    name: str
    icon: str | None = None  # an address, often ``data:``


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One function that is switched on and was loaded, as of one moment. A later change makes a new one."""

    id: str
    kind: FunctionKind
    name: str
    sha256: str  # of the source that runs, in hex; an older one than the newest where that cannot be loaded
    is_global: bool = False
    has_toggle: bool = False  # a filter that runs only where a request names it in ``filter_ids``
    priority: float = 0  # from its valves or their defaults; lower ones first, then by id
    icon: str | None = None
    methods: frozenset[str] = frozenset()  # of "pipe", "inlet", "stream", "outlet", "action"
    subs: Sequence[Sub] = ()  # of an action, in its order; of a pipe they may change with time: ask the pipe
    handles_files: bool = False  # an inlet that has taken the request's files on itself: they are not used again
    meta: Mapping[str, Any] = {}  # ``description`` and ``manifest`` (the lines at the top of the source)


class Bound(Protocol):
    """One method of one function, for one context."""

    async def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """What the method returns, for these ``arguments`` by name (``body``, ``event``, …). They belong to the function from now on:
        what the caller keeps it has to copy. Positional parameters get them in their order.

        Raises ``FunctionFailed``: whatever the function raised, or that it took longer than it may.
        """
        ...


class Functions(Protocol):
    """The functions of this process: what is switched on and could be loaded. Without any, a look costs nothing and no thread runs."""

    def get(self, function_id: str) -> Function | None: ...

    def pipes(self) -> Sequence[Function]:
        """By id."""
        ...

    def filters(self) -> Sequence[Function]:
        """By priority, then by id."""
        ...

    def actions(self) -> Sequence[Function]:
        """By priority, then by id."""
        ...

    async def bind(self, function: Function, method: str, context: CallContext) -> Bound:
        """For several calls in one context. Raises ``FunctionNotFound`` where it has gone, or has no such method."""
        ...

    async def call(self, function: Function, method: str, arguments: Mapping[str, Any], context: CallContext) -> Any:
        """As ``bind`` and one call."""
        ...
