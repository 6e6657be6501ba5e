"""Mattermost's bulk export: JSON Lines, with channels and users before posts. Replies stand in the post that they answer."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from commands.channels.importing.imported import (
    Imported,
    ImportedChannel,
    ImportedMessage,
    ImportedPerson,
    ImportedReaction,
    SkippedPart,
)
from domain.log.codec import UNREADABLE

SOURCE: Final = "mattermost"
START: Final = datetime.fromtimestamp(0, UTC)
MILLISECONDS_MAX: Final = 250_000_000_000_000


class Mattermost:
    """``lines`` are those of the file."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self._people: dict[str, ImportedPerson] = {}
        self._channels: dict[str, ImportedChannel] = {}  # not begun yet
        self._begun: set[str] = set()
        self._members: dict[str, list[ImportedPerson]] = {}

    def parts(self) -> Iterator[Imported]:
        for number, line in enumerate(self._lines, 1):
            if line.isspace():
                continue
            where = f"line {number}"
            try:
                row = msgspec.json.decode(line)
            except UNREADABLE as error:
                yield SkippedPart(where, f"it is no JSON: {error}"[:300])
                continue
            kind = row.get("type") if isinstance(row, dict) else None
            inner = row.get(kind) if isinstance(kind, str) else None
            if not isinstance(inner, dict):
                if kind != "version":
                    yield SkippedPart(where, "expected an object with a type, and what is of that type")
                continue
            try:
                match kind:
                    case "channel":
                        self._take_channel(inner)
                    case "user":
                        self._take_user(inner)
                    case "post":
                        yield from self._post(f"{inner['team']}/{inner['channel']}", inner)
                    case "direct_post":
                        yield from self._direct(inner)
                    case _:
                        pass  # teams, emoji, roles: nothing of them is kept
            except (KeyError, TypeError, ValueError) as error:
                yield SkippedPart(where, f"a {kind} without what it needs: {error}"[:300])
        for key in list(self._channels):  # those without messages
            yield from self._begin(key)

    def _take_channel(self, row: Mapping[str, Any]) -> None:
        key = f"{row['team']}/{row['name']}"
        about = str(row.get("header") or row.get("purpose") or "")
        archived = isinstance(row.get("deleted_at"), int) and row["deleted_at"] > 0
        self._channels[key] = ImportedChannel(SOURCE, key, str(row.get("display_name") or row["name"]), START, about, archived)

    def _take_user(self, row: Mapping[str, Any]) -> None:
        name = row["username"]
        full = " ".join(str(row[part]) for part in ("first_name", "last_name") if row.get(part))
        person = ImportedPerson(name, str(row.get("nickname") or full or name), row.get("email"))
        self._people[name] = person
        for team in row.get("teams") or ():
            for channel in team.get("channels") or ():
                self._members.setdefault(f"{team['name']}/{channel['name']}", []).append(person)

    def _direct(self, row: Mapping[str, Any]) -> Iterator[Imported]:
        names = sorted(str(one) for one in row["channel_members"])
        key = f"direct/{','.join(names)}"
        if key not in self._begun:
            people = [self._person(one) for one in names]
            self._channels[key] = ImportedChannel(SOURCE, key, ", ".join(one.name for one in people), time_of(row["create_at"]))
            self._members[key] = people
        yield from self._post(key, row)

    def _begin(self, key: str, at: datetime | None = None) -> Iterator[Imported]:
        channel = self._channels.pop(key, None)
        if channel is not None:
            self._begun.add(key)
            created = channel.created_at if channel.created_at != START or at is None else at
            yield msgspec.structs.replace(channel, created_at=created, members=self._members.get(key, ()))

    def _post(self, key: str, row: Mapping[str, Any]) -> Iterator[Imported]:
        root = self._message(key, row, None)
        yield from self._begin(key, root.at)
        yield root
        for number, reply in enumerate(row.get("replies") or (), 1):
            try:
                yield self._message(key, reply, root.key)
            except (KeyError, TypeError, ValueError) as error:
                yield SkippedPart(f"{key}, reply {number} to {root.key}", f"a reply without what it needs: {error}"[:300])

    def _message(self, channel: str, row: Mapping[str, Any], parent: str | None) -> ImportedMessage:
        """Raises ``KeyError``, ``TypeError``, ``ValueError`` where something that it needs is missing."""
        at, user, text = time_of(row["create_at"]), str(row["user"]), str(row.get("message", ""))
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
        edited = row.get("edit_at")
        return ImportedMessage(
            channel,
            f"{row['create_at']} {user} {digest}",  # a post has no id there
            at,
            text,
            self._person(user),
            parent=parent,
            edited_at=time_of(edited) if isinstance(edited, int) and edited > 0 else None,
            reactions=[ImportedReaction(str(one["emoji_name"]), self._person(str(one["user"]))) for one in row.get("reactions") or ()],
            files=[{"type": "file", "name": str(one["path"]).rpartition("/")[2]} for one in row.get("attachments") or ()],
            pinned=row.get("is_pinned") is True,
        )

    def _person(self, name: str) -> ImportedPerson:
        return self._people.get(name) or ImportedPerson(name, name)


def time_of(milliseconds: Any) -> datetime:
    """Raises ``ValueError``."""
    if not isinstance(milliseconds, int) or not 0 <= milliseconds <= MILLISECONDS_MAX:
        raise ValueError(f"expected create_at in milliseconds since 1970, found {milliseconds!r}")
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
