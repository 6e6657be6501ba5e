"""What an ``inlet`` and an ``outlet`` filter get and return: a body, as JSON. What of it a provider is asked, and what a filter changed."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from commands.providers.provider import ProviderRequest

Body = dict[str, Any]

# Keys of a body that no provider is sent: ours, and those of the request that functions alone see.
NOT_ASKED: Final = frozenset({"model", "messages", "stream", "metadata"})

_encoder: Final = msgspec.json.Encoder(order="sorted")  # so that equal bodies have one sum
_decode: Final = msgspec.json.Decoder().decode


def request_body(ask: ProviderRequest, model: str, beside: Mapping[str, Any], metadata: Mapping[str, Any]) -> Body:
    """The body that an inlet sees: ``model`` is the public id; ``beside`` are keys of the request that no provider is sent.

    Nothing of it is shared with ``ask``: a filter may change it in place.
    """
    body = {"stream": True, **beside, **ask.options, **ask.params, "model": model, "messages": ask.messages}
    own = ask.params.get("metadata")
    return copied({**body, "metadata": {**(own if isinstance(own, Mapping) else {}), **metadata}})


def asked_by(body: Body, ask: ProviderRequest, beside: Mapping[str, Any]) -> ProviderRequest:
    """``ask`` with what a filter has changed in its body. A key that the filter added goes to the provider as it is."""
    given = {name: value for name, value in body.items() if name not in NOT_ASKED and name not in beside}
    options = {name: given[name] for name in ask.options if name in given and name not in ask.params}
    params = {name: value for name, value in given.items() if name not in options}
    if "metadata" in ask.params:
        params["metadata"] = ask.params["metadata"]
    return replace(ask, messages=body["messages"], params=params, options=options)


def wrong(body: object) -> str | None:
    """Why a filter cannot have meant to return this; None where it is a body."""
    if not isinstance(body, dict):
        return f"returned {type(body).__name__}, expected the body"
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages):
        return "returned a body without messages, each an object with a role"
    if not isinstance(body.get("model"), str):
        return "returned a body without a model"
    return None


def copied(body: Body) -> Body:
    """A deep copy of JSON. Raises ``TypeError`` or ``ValueError`` for what is none."""
    made: Body = _decode(_encoder.encode(body))
    return made


class Seen:
    """One state of a body, as it is compared: its JSON without ``metadata``. Raises what ``copied`` raises."""

    def __init__(self, body: Body) -> None:
        self.encoded = _encoder.encode({name: value for name, value in body.items() if name != "metadata"})

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.encoded).hexdigest()

    def body(self) -> Body:
        made: Body = _decode(self.encoded)
        return made


def replaced(before: Seen, after: Seen) -> Body:
    """What ``before`` held of the keys that differ; null for one that was not there. Of ``messages`` those alone that were replaced or
    removed, with ``messages_from`` for the place of the first.
    """
    old, new = before.body(), after.body()
    made = {name: old.get(name) for name in sorted({*old, *new}) if name != "messages" and old.get(name) != new.get(name)}
    was, now = old.get("messages", []), new.get("messages", [])
    if was != now:
        start = same_length(was, now)
        end = same_length(was[start:][::-1], now[start:][::-1])
        made["messages"], made["messages_from"] = was[start : len(was) - end], start
    return made


def same_length(one: list[Any], other: list[Any]) -> int:
    """How many entries both begin with."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
