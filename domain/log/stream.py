"""The name of a stream: ``kind/uuid``, as it stands on the wire (docs/protocol.md §1)."""

from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from uuid import UUID

from domain.errors import BadStreamName

Kind = Literal["chat", "channel", "user", "model", "group", "function", "provider"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Stream(NamedTuple):
    """One stream. A tuple, because it is a dictionary key on the way of every token."""

    kind: Kind
    id: UUID

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


def chat_stream(chat_id: UUID) -> Stream:
    return Stream("chat", chat_id)


def channel_stream(channel_id: UUID) -> Stream:
    return Stream("channel", channel_id)


def user_stream(user_id: UUID) -> Stream:
    """A person's own stream: their account, folders, lists and what concerns them."""
    return Stream("user", user_id)


def model_stream(model_id: UUID) -> Stream:
    return Stream("model", model_id)


def group_stream(group_id: UUID) -> Stream:
    return Stream("group", group_id)


def function_stream(function_id: UUID) -> Stream:
    return Stream("function", function_id)


def provider_stream(provider_id: UUID) -> Stream:
    return Stream("provider", provider_id)


@lru_cache(maxsize=2048)  # who comes back names all channels, and many who come back at once name the same ones
def parse_stream(name: str) -> Stream:
    """The stream of ``kind/uuid``. Raises ``BadStreamName``; a uuid is accepted in its canonical form only."""
    kind, slash, raw_id = name.partition("/")
    try:
        stream_id = UUID(raw_id)
    except ValueError:
        raise BadStreamName(name) from None
    if not slash or str(stream_id) != raw_id.lower():
        raise BadStreamName(name)
    for known in KINDS:
        if kind == known:
            return Stream(known, stream_id)
    raise BadStreamName(name)
