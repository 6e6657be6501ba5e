"""What a method of a function gets: its arguments, and whatever else its signature names.

The names are those of Open WebUI. A method gets what it names and nothing more, ``**kwargs`` or not.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from adapters.functions.request import Request
from adapters.functions.side import Side
from commands.functions.functions import CallContext


class Signature:
    """The parameters of one method, looked up once."""

    __slots__ = ("first", "is_async", "names")

    def __init__(self, method: Any) -> None:
        parameters = inspect.signature(method).parameters.values()
        named = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY)]
        self.names = frozenset(named)
        self.first = named[0] if named else None
        # An asynchronous generator makes its items on the loop, but the call itself returns at once.
        self.is_async = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def arguments_of(signature: Signature, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """``given`` by the names that the method has for it: its first parameter may have any."""
    if given.keys() <= signature.names:
        return given
    taken = {name: value for name, value in given.items() if name in signature.names}
    if not taken and given and signature.first is not None and not signature.first.startswith("__"):
        taken = {signature.first: next(iter(given.values()))}
    return taken


def injected(signature: Signature, function_id: str, context: CallContext, person: Mapping[str, Any], side: Side) -> dict[str, Any]:
    """What the method names of the call's surroundings. All of it is made for this binding: a function may change it."""
    metadata = metadata_of(context)
    has = signature.names.__contains__
    made: dict[str, Any] = {
        "__id__": context.sub_id or function_id,
        "__model__": dict(context.model) or None,
        "__chat_id__": context.chat_id,
        "__message_id__": context.message_id,
        "__session_id__": context.session_id,
        "__task__": context.task,
        "__task_body__": context.task_body,
        "__files__": list(context.files),
        "__tools__": dict(context.tools),
        "__metadata__": metadata,
        "__user__": dict(person),
        "__event_emitter__": side.emit,
        "__event_call__": side.ask if context.ask is not None else None,
        "__oauth_token__": None,
    }
    if has("__request__"):
        made["__request__"] = Request(context.headers, metadata)
    return {name: value for name, value in made.items() if has(name)}


def metadata_of(context: CallContext) -> dict[str, Any]:
    """``__metadata__``: where the call stands. Keys that nobody has said anything of are there, as in Open WebUI."""
    return {
        "user_id": str(context.actor.id),
        "chat_id": context.chat_id,
        "message_id": context.message_id,
        "session_id": context.session_id,
        "filter_ids": [],
        "tool_ids": [],
        "tool_servers": [],
        "files": list(context.files) or None,
        "features": {},
        "variables": {},
        "model": dict(context.model),
        "direct": False,
        **({} if context.task is None else {"task": context.task}),
        **context.metadata,
    }
