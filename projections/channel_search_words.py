"""What is looked for in channels: words and phrases as in chats, and tokens that say where, whose, what and when.

``in:`` a channel, by its name or id; ``from:`` who wrote it, by the name that they had then, or by their id, or ``me``; a model by its
id, a webhook by its name; ``has:`` ``file``, ``image`` or ``link``; ``before:`` and ``after:`` a day or a time in ISO 8601, of UTC unless
it says otherwise. Of one token several values: any of them will do, but of ``has:`` all are wanted.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.errors import BadSearch
from projections.channel_message import ChannelMessage
from projections.chat_search import TEXT_CHARACTERS_MAX
from projections.search import Phrase, query, quoted, split
from projections.words import folded, of_owner, vector, words

TOKENS: Final = ("in", "from", "has", "before", "after")
KINDS: Final = ("file", "image", "link")
ME: Final = "me"
LINK: Final = re.compile(r"\bhttps?://\S")


class ChannelSearch(msgspec.Struct, frozen=True):
    """``phrases`` None: nothing is to be looked for but by tokens."""

    phrases: tuple[Phrase, ...] | None = None
    channels: tuple[str, ...] = ()  # names or ids
    writers: tuple[str, ...] = ()  # names or ids
    has: tuple[str, ...] = ()
    before: datetime | None = None  # written before it
    after: datetime | None = None  # at it or after it


def parsed(text: str) -> ChannelSearch:
    """Raises ``BadSearch``."""
    phrases, named = split(text, TOKENS)
    for token, values in named.items():
        if "" in values:
            raise BadSearch(f"expected {token}:NAME, received {token}: without a name")
    has = tuple(dict.fromkeys(one.lower() for one in named.get("has", ())))
    if unknown := [one for one in has if one not in KINDS]:
        raise BadSearch(f"expected has: with one of {', '.join(KINDS)}, received {unknown[0][:50]}")
    return ChannelSearch(
        phrases,
        tuple(named.get("in", ())),
        tuple(named.get("from", ())),
        has,
        min(map(time_of, named.get("before", ())), default=None),
        max(map(time_of, named.get("after", ())), default=None),
    )


def time_of(said: str) -> datetime:
    """Raises ``BadSearch``."""
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise BadSearch(f"expected a day or a time in ISO 8601, such as 2026-01-31, received {said[:50]}") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def asked_words(search: ChannelSearch, channel_ids: Sequence[UUID], me: UUID) -> str:
    """The ``tsquery`` of a search in these channels, of which there is one at least."""
    wanted = [" | ".join(quoted(of_owner(one)) for one in channel_ids)]
    if search.phrases:
        wanted.append(query(search.phrases))
    if search.writers:
        wanted.append(" | ".join(quoted(one) for writer in search.writers for one in writer_words(writer, me)))
    wanted += [quoted(f"#{one}") for one in search.has]
    return " & ".join(f"({one})" for one in wanted)


def writer_words(writer: str, me: UUID) -> list[str]:
    """The words by which a message is found that this one has written, whatever is meant."""
    if writer.lower() == ME:
        return [by_id(me)]
    try:
        return [by_id(UUID(writer)), by_name(writer)]
    except ValueError:
        return [by_name(writer)]


def by_id(user_id: UUID) -> str:
    return f"@{urlsafe_b64encode(user_id.bytes).decode().rstrip('=')}"


def by_name(name: str) -> str:
    plain = " ".join(folded(name).split())
    return f"@@{urlsafe_b64encode(hashlib.sha256(plain.encode(errors='replace')).digest()[:15]).decode()}"


def found_words(channel_id: UUID, message: ChannelMessage, text: str) -> tuple[list[str], list[str]]:
    """The words of what a message says, and those by which it is found besides."""
    return words(text[:TEXT_CHARACTERS_MAX]), [of_owner(channel_id), *writers_of(message), *(f"#{one}" for one in kinds_of(message, text))]


def vector_of(channel_id: UUID, message: ChannelMessage, text: str) -> str:
    said, besides = found_words(channel_id, message, text)
    return vector(said, *besides)


def writers_of(message: ChannelMessage) -> list[str]:
    if message.is_generated:
        return [by_name(str(message.meta.get("model_id")))]
    found = [] if message.user is None else [by_name(message.user.name)]
    return found if message.user_id is None else [by_id(message.user_id), *found]


def kinds_of(message: ChannelMessage, text: str) -> list[str]:
    files = message.data.get("files")
    attached: list[Mapping[str, Any]] = [one for one in files if isinstance(one, Mapping)] if isinstance(files, list) else []
    found = ["file"] if attached else []
    if any(one.get("type") == "image" or str(one.get("content_type", "")).startswith("image/") for one in attached):
        found.append("image")
    return [*found, "link"] if LINK.search(text) else found
