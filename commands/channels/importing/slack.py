"""Slack's export: a ZIP of ``users.json``, ``channels.json`` and others, and for each channel a folder with a JSON file a day.

One file is read at a time. Mentions, links and the three escaped characters of Slack's texts become what they are here.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.channels.importing.imported import (
    Imported,
    ImportedChannel,
    ImportedMessage,
    ImportedPerson,
    ImportedReaction,
    ImportIds,
    SkippedPart,
)
from domain.log.codec import UNREADABLE

SOURCE: Final = "slack"
LISTS: Final = ("channels.json", "groups.json", "mpims.json", "dms.json")
USERS: Final = "users.json"
DAY: Final = re.compile(r"\d{4}-\d\d-\d\d\.json")
# Kinds of messages that somebody wrote; the others say what happened to the channel.
SAID: Final = frozenset({None, "bot_message", "me_message", "thread_broadcast", "file_share", "file_comment"})
MARKED: Final = re.compile(r"<([^<>\n]{1,4000})>")
FILE_KEYS: Final = ("id", "name", "title", "mimetype", "size", "url_private")


def is_export(names: Sequence[str]) -> bool:
    """Whether a ZIP file with these names is Slack's."""
    known = set(names)
    return USERS in known and any(one in known for one in LISTS)


class SlackExport:
    """``read(name)`` gives a file of the archive. ``ids`` are those of the import.

    ``id_of``, to be filled with the ids of ``people()`` before ``parts()`` is read: a mention of somebody names their account.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], bytes], ids: ImportIds) -> None:
        self._names = names
        self._read = read
        self._ids = ids
        self.id_of: Mapping[str, UUID] = {}
        self._people: dict[str, ImportedPerson] = {}
        self._channel_names: dict[str, str] = {}

    def people(self) -> Iterator[ImportedPerson | SkippedPart]:
        """Everybody in ``users.json``; to be read before ``parts``."""
        for number, user in enumerate(self._rows(USERS)):
            if isinstance(user, SkippedPart):
                yield user
                continue
            key = user.get("id")
            if not isinstance(key, str):
                yield SkippedPart(f"{USERS}, number {number + 1}", "it has no id")
                continue
            profile = user.get("profile") if isinstance(user.get("profile"), dict) else {}
            assert isinstance(profile, dict)
            names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"), key)
            name = next(one for one in names if isinstance(one, str) and one.strip())
            email = profile.get("email")
            self._people[key] = ImportedPerson(key, name, email if isinstance(email, str) else None)
            yield self._people[key]

    def parts(self) -> Iterator[Imported]:
        channels: list[tuple[dict[str, Any], str]] = []
        for listed in LISTS:
            if listed not in self._names:
                continue
            for number, row in enumerate(self._rows(listed)):
                if isinstance(row, SkippedPart):
                    yield row
                elif not isinstance(row.get("id"), str):
                    yield SkippedPart(f"{listed}, number {number + 1}", "it has no id")
                else:
                    folder = row["name"] if isinstance(row.get("name"), str) and row["name"] else row["id"]
                    channels.append((row, folder))
                    self._channel_names[row["id"]] = folder
        for row, folder in channels:
            yield self._channel(row, folder)
            yield from self._messages(row, folder)

    def _channel(self, row: dict[str, Any], folder: str) -> ImportedChannel:
        members = row.get("members")
        people = [self._person(one) for one in members if isinstance(one, str)] if isinstance(members, list) else []
        about = [said.get("value") for said in (row.get("topic"), row.get("purpose")) if isinstance(said, dict)]
        is_dm = "name" not in row
        created = row.get("created")
        return ImportedChannel(
            SOURCE,
            row["id"],
            ", ".join(one.name for one in people) if is_dm else folder,
            datetime.fromtimestamp(created if isinstance(created, int) and created >= 0 else 0, UTC),
            next((one for one in about if isinstance(one, str) and one), ""),
            row.get("is_archived") is True,
            people,
        )

    def _messages(self, row: dict[str, Any], folder: str) -> Iterator[Imported]:
        pins = row.get("pins")
        pinned = {one.get("id") for one in pins if isinstance(one, dict)} if isinstance(pins, list) else set()
        days = sorted(one for one in self._names if one.startswith(f"{folder}/") and DAY.fullmatch(one.removeprefix(f"{folder}/")))
        for day in days:
            for number, message in enumerate(self._rows(day)):
                if isinstance(message, SkippedPart):
                    yield message
                    continue
                if message.get("type") != "message" or message.get("subtype") not in SAID:
                    continue  # who came and went, and what the channel was called
                made = self._message(row["id"], message)
                if made is None:
                    yield SkippedPart(f"{day}, number {number + 1}", f"expected ts in seconds since 1970, not {message.get('ts')!r}"[:200])
                    continue
                yield msgspec.structs.replace(made, pinned=True) if message.get("ts") in pinned else made

    def _message(self, channel: str, row: dict[str, Any]) -> ImportedMessage | None:
        ts, thread = row.get("ts"), row.get("thread_ts")
        at = time_of(ts)
        if at is None:
            return None
        assert isinstance(ts, str)
        user, edited = row.get("user"), row.get("edited")
        is_bot = row.get("subtype") == "bot_message" or not isinstance(user, str)
        profile = row.get("bot_profile")
        names = (row.get("username"), profile.get("name") if isinstance(profile, dict) else None, row.get("bot_id"))
        files = row.get("files")
        text = row.get("text")
        return ImportedMessage(
            channel,
            ts,
            at,
            self.plain(text if isinstance(text, str) else ""),
            None if is_bot else self._person(str(user)),
            next((one for one in names if isinstance(one, str) and one), "") if is_bot else "",
            thread if isinstance(thread, str) and thread != ts else None,
            time_of(edited.get("ts")) if isinstance(edited, dict) else None,
            list(self._reactions(row.get("reactions"))),
            [file_of(one) for one in files if isinstance(one, dict)] if isinstance(files, list) else [],
        )

    def _reactions(self, rows: Any) -> Iterator[ImportedReaction]:
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and isinstance(row.get("name"), str) and isinstance(row.get("users"), list):
                for user in row["users"]:
                    if isinstance(user, str):
                        yield ImportedReaction(row["name"], self._person(user))

    def _person(self, key: str) -> ImportedPerson:
        return self._people.get(key) or ImportedPerson(key, key)

    def _rows(self, name: str) -> Iterator[dict[str, Any] | SkippedPart]:
        """The objects of one file. A file that is no JSON is one part that is skipped."""
        try:
            rows = msgspec.json.decode(self._read(name))
        except (*UNREADABLE, KeyError) as error:
            yield SkippedPart(name, f"it can't be read: {error}"[:300])
            return
        if not isinstance(rows, list):
            yield SkippedPart(name, "expected a list")
            return
        for number, row in enumerate(rows):
            yield row if isinstance(row, dict) else SkippedPart(f"{name}, number {number + 1}", "expected an object")

    def plain(self, text: str) -> str:
        return html.unescape(MARKED.sub(self._marked, text))

    def _marked(self, found: re.Match[str]) -> str:
        inner, _, label = found[1].partition("|")
        kind, name = inner[:1], inner[1:]
        if kind == "@":
            person = self._person(name)
            return f"<@U:{self.id_of.get(name) or self._ids.person(name)}|{bare(person.name)}>"
        if kind == "#":
            return f"<#C:{self._ids.channel(name)}|{bare(label or self._channel_names.get(name, name))}>"
        if kind == "!":
            return f"@{label.lstrip('@') or name.partition('^')[0]}"
        return f"[{label}]({inner})" if label and label != inner else inner


def bare(label: str) -> str:
    """A label that ends no mention."""
    return re.sub(r"[<>|\n]", " ", label)[:256]


def file_of(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in FILE_KEYS if isinstance(row.get(name), str | int)}
    is_image = str(row.get("mimetype", "")).startswith("image/")
    return {"type": "image" if is_image else "file", "name": known.pop("name", "a file"), **known}


def time_of(ts: Any) -> datetime | None:
    """Seconds since 1970 with six digits behind the point, as a text."""
    if not isinstance(ts, str) or not re.fullmatch(r"\d{1,11}(\.\d{1,6})?", ts):
        return None
    seconds, _, fraction = ts.partition(".")
    return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(fraction.ljust(6, "0")) if fraction else 0)
