"""What every source of channels is read as: channels, each before its messages; messages in the order in which they are to stand."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from domain.chat.whole_chat import imported_id

TEXT_CHARACTERS_MAX: Final = 40_000


class ImportedPerson(msgspec.Struct, frozen=True):
    """``key`` is the source's own name of them; with ``email`` they are the account that has it, if there is one."""

    key: str
    name: str
    email: str | None = None


class ImportedChannel(msgspec.Struct, frozen=True):
    source: str
    key: str
    name: str
    created_at: datetime
    description: str = ""
    archived: bool = False
    members: Sequence[ImportedPerson] = ()


class ImportedReaction(msgspec.Struct, frozen=True):
    name: str
    by: ImportedPerson


class ImportedMessage(msgspec.Struct, frozen=True):
    """``author`` None: a service's, under the name ``service``. ``parent`` is the key of the first message of its thread."""

    channel: str
    key: str
    at: datetime
    text: str
    author: ImportedPerson | None = None
    service: str = ""
    parent: str | None = None
    edited_at: datetime | None = None
    reactions: Sequence[ImportedReaction] = ()
    files: Sequence[Mapping[str, Any]] = ()  # what is known of each
    pinned: bool = False


class SkippedPart(msgspec.Struct, frozen=True):
    """A part that cannot be taken: where it is, and why."""

    where: str
    reason: str


Imported = ImportedChannel | ImportedMessage | SkippedPart


class ImportIds:
    """The ids of what one person imports from one source: the same each time. A source needs them for mentions."""

    def __init__(self, owner_id: UUID, source: str) -> None:
        self._owner_id = owner_id
        self._source = source
        self._channels: dict[str, UUID] = {}  # asked for with each message

    def channel(self, key: str) -> UUID:
        known = self._channels.get(key)
        if known is None:
            known = self._channels[key] = imported_id(self._owner_id, self._source, f"channel {key}")
        return known

    def person(self, key: str) -> UUID:
        """Of a person without an account here."""
        return imported_id(self._owner_id, self._source, f"person {key}")

    def message(self, channel: str, key: str) -> UUID:
        return uuid5(self.channel(channel), key)
