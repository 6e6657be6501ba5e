"""One function of this process: what the log says of it, what runs, and what the rest of the server sees of it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from adapters.functions.loaded import METHODS, Loaded
from adapters.functions.parameters import Signature
from adapters.functions.valves import priority_of
from commands.functions.functions import Function, Sub
from domain.errors import FunctionNotLoaded
from domain.routing.function import FunctionState


class Entry:
    """One function of this process: what runs, and what has become of the newest source."""

    __slots__ = ("failure", "function", "is_wanted", "loaded", "reading", "seen", "signatures", "state", "stream_id")

    def __init__(self, stream_id: UUID) -> None:
        self.stream_id = stream_id
        self.state = FunctionState()
        self.loaded: Loaded | None = None
        self.function: Function | None = None  # None where it is switched off, or was never loaded
        self.is_wanted = False  # also while it is switched off
        self.failure: FunctionNotLoaded | None = None  # why the newest source is not what runs
        self.signatures: dict[str, Signature] = {}
        self.seen: tuple[Any, ...] = ()  # the source that was tried last
        self.reading: asyncio.Task[None] | None = None

    @property
    def function_id(self) -> str:
        return self.state.function_id


def describe(state: FunctionState, loaded: Loaded) -> Function:
    """What the rest of the server sees of it. Called in a thread: the instance's attributes may be properties."""
    assert state.source is not None
    instance = loaded.instance
    absent = frozenset() if hasattr(instance, "pipes") else frozenset({"pipes"})  # which may be a list as well as a method
    icon = next((one for name in ("icon", "icon_url") if isinstance(one := getattr(instance, name, None), str)), None)
    return Function(
        id=state.function_id,
        kind=loaded.kind,
        name=state.name,
        sha256=state.source.blob,
        is_global=state.everywhere,
        has_toggle=loaded.has_toggle,
        priority=priority_of(loaded.declared, loaded.declared.current),
        icon=icon or loaded.manifest.get("icon_url"),
        methods=frozenset(name for name in METHODS[loaded.kind] if name == "pipes" or callable(getattr(instance, name, None))) - absent,
        subs=subs_of(getattr(instance, "actions", ()), state.name) if loaded.kind == "action" else (),
        handles_files=bool(getattr(instance, "file_handler", False)),
        meta=state.meta,
    )


def subs_of(listed: Any, name: str) -> list[Sub]:
    """The entries of an action with several buttons. One without a name is called after the action."""
    found: list[Sub] = []
    for one in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        if isinstance(one, Mapping) and one.get("id") is not None:
            icon = next((one[key] for key in ("icon_url", "icon") if isinstance(one.get(key), str)), None)
            found.append(Sub(str(one["id"]), str(one.get("name") or f"{name} ({one['id']})"), icon))
    return found
