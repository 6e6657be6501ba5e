"""Parses Open WebUI's exports into whole chats.

A row is ``{id, title, chat: {history: {messages: {id: message}, currentId}, models, params …}, meta: {tags}, created_at, …}``. The
``chat`` may also come alone; old exports hold a list ``messages`` and no history. ``parentId`` gives a message's parent,
``childrenIds`` the order of siblings. Keys without a meaning here are kept unchanged.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from commands.saving.normalised import CLEANED, CUT, cut_title
from domain.chat.facts import Role
from domain.chat.whole_chat import TITLE_CHARACTERS_MAX, ImportSource, WholeChat, WholeMessage, imported_id
from domain.errors import ImportRefused
from domain.log.codec import UNREADABLE
from domain.values.storable import is_storable, storable_json
from domain.values.times import seconds_since_1970

SOURCE: Final = "open-webui"
DEFAULT_TITLE: Final = "New Chat"
ID_CHARACTERS_MAX: Final = 256
ROLES: Final[Mapping[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system"}
# Keys of a row that become facts. The other keys are kept beside the chat's own, under ``original``.
ROW_KEYS: Final = frozenset({"id", "title", "chat", "created_at", "updated_at", "archived", "pinned"})
CHAT_KEYS: Final = frozenset({"id", "title", "history", "messages", "tags"})
MESSAGE_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "role", "content", "client_id"})
FOREIGN_TEXT_KEYS: Final = ("text", "parts", "body", "message", "mapping", "chat_messages")  # where other systems keep what was said
NO_CHAT: Final = "expected a chat as Open WebUI exports it, with its history or messages"
# What is kept otherwise than the source has it, as it is told to people.
SCALED: Final = "time kept in seconds"
NO_TIME: Final = "time left out, which is none"
JOINED: Final = "message joined to the parent that names it among its children"


class ExportedTree(msgspec.Struct):
    messages: dict[str, msgspec.Raw] = {}


class ExportedChat(msgspec.Struct):
    history: msgspec.Raw = msgspec.Raw(b"{}")


class ExportedRow(msgspec.Struct):
    chat: ExportedChat | None = None
    history: msgspec.Raw = msgspec.Raw(b"{}")


_rows = msgspec.json.Decoder(ExportedRow)
_histories = msgspec.json.Decoder(ExportedTree)


def decoded(raw: bytes, name: str) -> Any:
    """Parse one exported chat. ``name`` names it in errors if it has no title or id.

    Raises ``ImportRefused`` if it is no JSON, or if two messages have one id, of which a decoder would silently keep the last.
    """
    try:
        row = msgspec.json.decode(raw)
    except UNREADABLE as error:
        try:
            row = json.loads(raw)  # tolerates lone surrogates; the value that holds one is reported by its key later
        except (ValueError, RecursionError):
            raise ImportRefused(name, "chat", f"this is no JSON: {error}") from None
    repeated = repeated_message(raw)
    if repeated is not None:
        raise ImportRefused(name_of(row, name), f"history.messages.{repeated}", "there is another message with this id")
    return row


def repeated_message(raw: bytes) -> str | None:
    """A message id that occurs twice in the history. Searched for only if the number of keys shows that there is one."""
    try:
        row = _rows.decode(raw)
        history = row.chat.history if row.chat is not None else row.history
        messages = _histories.decode(history).messages
    except UNREADABLE:
        return None  # malformed; reported elsewhere
    if len(bytes(history)) <= sum(len(key) + len(bytes(value)) for key, value in messages.items()) + 8 * len(messages) + 256:
        return None
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in found:
            if key in made and isinstance(value, dict) and ("role" in value or "content" in value):
                repeated.append(key)
            made[key] = value
        return made

    json.loads(bytes(history), object_pairs_hook=pairs)
    return repeated[0] if repeated else None


def name_of(row: Any, name: str) -> str:
    """The chat's title and id, as far as it has them, for error messages."""
    if not isinstance(row, dict):
        return name
    inner = row.get("chat")
    chat = inner if isinstance(inner, dict) else row
    title, source_id = row.get("title") or chat.get("title"), row.get("id") or chat.get("id") or name
    return f"{title[:80]!r} ({str(source_id)[:100]})" if isinstance(title, str) else str(source_id)[:100]


def whole_chat(row: Any, owner_id: UUID, *, name: str, folder_id: UUID | None = None, source: str = SOURCE) -> WholeChat:
    """``source`` names the system that exported the chat. Raises ``ImportRefused`` with the key that is wrong."""
    return ExportedRowReader(row, owner_id, name, source).chat(folder_id)


class ExportedRowReader:
    """Converts one row into a whole chat."""

    def __init__(self, row: Any, owner_id: UUID, name: str, source: str) -> None:
        self._source = source
        self._owner_id = owner_id
        self._notes: Counter[str] = Counter()
        if not is_storable(row) and (cleaned := storable_json(row)) != row:
            row = cleaned
            self._notes[CLEANED] += 1
        self._name = name_of(row, name)
        self._row: dict[str, Any] = self._expect(row, dict, "chat", NO_CHAT)
        if "chat" in self._row:
            self._chat: dict[str, Any] = self._expect(self._row["chat"], dict, "chat", NO_CHAT)
        elif "history" in self._row or "messages" in self._row:
            self._chat, self._row = self._row, {}
        else:
            raise self._refused("chat", NO_CHAT)

    def chat(self, folder_id: UUID | None) -> WholeChat:
        row, chat = self._row, self._chat
        source_id = self._source_id()
        chat_id = imported_id(self._owner_id, self._source, source_id)
        title = row.get("title") if row.get("title") is not None else chat.get("title")
        if title is not None and len(self._expect(title, str, "title", "expected text")) > TITLE_CHARACTERS_MAX:
            title = cut_title(title)
            self._notes[CUT] += 1
        origin = ImportSource(
            self._source, source_id, self._time(row, "created_at") or self._time(chat, "timestamp"), self._time(row, "updated_at")
        )
        messages, current = self._messages(chat_id)
        fields = {key: value for key, value in chat.items() if key not in CHAT_KEYS}
        original = {key: value for key, value in row.items() if key not in ROW_KEYS and value is not None and value != {}}
        return WholeChat(
            chat_id=chat_id,
            owner_id=self._owner_id,
            title=title if title is not None else DEFAULT_TITLE,
            origin=origin,
            messages=messages,
            current_id=current,
            folder_id=folder_id,
            fields=fields | ({"original": original} if original else {}),
            tags=self._tags(),
            pinned=self._flag("pinned"),
            archived=self._flag("archived"),
            notes=[note if count == 1 else f"{note} ({count:,} times)" for note, count in self._notes.items()],
        )

    def _source_id(self) -> str:
        """The row's own id, or a hash of its content."""
        source_id = self._row.get("id") or self._chat.get("id")
        if source_id:
            return self._id(source_id, "id")
        try:
            content = msgspec.json.encode(self._row or self._chat, order="sorted")
        except UnicodeEncodeError:
            content = json.dumps(self._row or self._chat, sort_keys=True).encode()
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def _messages(self, chat_id: UUID) -> tuple[list[WholeMessage], UUID | None]:
        """All messages, siblings in order, and the id of the current one."""
        history = self._chat.get("history")
        is_list_alone = isinstance(history, dict) and not history.get("messages") and self._chat.get("messages")
        if history is None or is_list_alone:
            found = dict(self._messages_from_list())
            current = None
        else:
            self._expect(history, dict, "history", "expected an object")
            found = self._expect(history.get("messages"), dict, "history.messages", "expected an object of messages by their ids")
            current = history.get("currentId") or self._row.get("current_message_id")
        ordered = self._in_order(found)
        ids = {known: uuid5(chat_id, known) for known in found}
        messages = [self._message(ids, chat_id, known, parent, found[known]) for known, parent in ordered]
        if not current:
            return messages, None
        current = self._id(current, "history.currentId")
        return messages, ids.get(current, uuid5(chat_id, current))

    def _messages_from_list(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The messages of an old export: each is the parent of the next, unless it names its parent."""
        parent: str | None = None
        known: set[str] = set()
        for number, message in enumerate(self._expect(self._chat.get("messages"), list, "messages", "expected a list of messages")):
            self._expect(message, dict, f"messages.{number}", "expected an object")
            message_id = self._id(message.get("id") or str(number), f"messages.{number}.id")
            if message_id in known:
                raise self._refused(f"messages.{number}.id", "there is another message with this id")
            known.add(message_id)
            yield message_id, {"parentId": parent, **message, "id": message_id}
            parent = message_id

    def _in_order(self, found: Mapping[str, Any]) -> list[tuple[str, str | None]]:
        """``(id, parent's id)`` of each message: children in the order of ``childrenIds``, then those that it does not list."""
        named: dict[str, tuple[str, int]] = {}
        for known, message in found.items():
            key = f"history.messages.{known}"
            self._id(known, key)
            self._expect(message, dict, key, "expected an object")
            if message.get("id", known) != known:
                raise self._refused(f"{key}.id", f"expected {known!r}, the name that it stands under, found {str(message['id'])[:100]!r}")
            children = message.get("childrenIds")
            for place, child in enumerate(self._expect(children, list, f"{key}.childrenIds", "expected a list") if children else ()):
                named[self._id(child, f"{key}.childrenIds")] = (known, place)
        parents = self._parents(found, {child: parent for child, (parent, _) in named.items()})
        siblings: dict[str | None, list[str]] = {}
        for known, parent in parents.items():
            siblings.setdefault(parent, []).append(known)
        last = len(found)
        ordered: list[tuple[str, str | None]] = []
        for parent, children in siblings.items():
            places = {child: at[1] if (at := named.get(child)) is not None and at[0] == parent else last for child in children}
            ordered += [(child, parent) for child in sorted(children, key=places.__getitem__)]
        return ordered

    def _parents(self, found: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str | None]:
        """Each message's parent: the one that it names, else the one that names it among its children."""
        parents: dict[str, str | None] = {}
        for known, message in found.items():
            parent = message.get("parentId") or None  # some exports hold an empty text
            parents[known] = self._id(parent, f"history.messages.{known}.parentId") if parent is not None else None
        for known, parent in parents.items():
            above = named.get(known)
            if above is None or (parent is not None and parent in parents):
                continue
            upwards: str | None = above
            while upwards is not None and upwards != known:
                upwards = parents.get(upwards)
            if upwards is None:  # it leads to no circle
                parents[known] = above
                if "parentId" in found[known]:
                    self._notes[JOINED] += 1
        return parents

    def _message(self, ids: Mapping[str, UUID], chat_id: UUID, known: str, parent: str | None, message: Mapping[str, Any]) -> WholeMessage:
        key = f"history.messages.{known}"
        role = message.get("role")
        if role is None:  # some servers stored an answer before its role
            role = "assistant" if "model" in message or "output" in message else "user"
        if not isinstance(role, str) or role not in ROLES:
            raise self._refused(f"{key}.role", f"expected user, assistant or system, found {str(role)[:40]!r}")
        content = message.get("content")
        if not content and message.get("output"):
            content = output_text(message["output"])
        if not isinstance(content, str | list | None):
            raise self._refused(f"{key}.content", f"expected text or a list of parts, found {type_of(content)}")
        if content is None and (others := [name for name in FOREIGN_TEXT_KEYS if message.get(name)]):
            raise self._refused(key, f"expected content, found {', '.join(others)}: this is no message as Open WebUI exports it")
        rating, comment = self._rating(key, message.get("annotation"))
        return WholeMessage(
            message_id=ids[known],
            parent_id=ids.get(parent, uuid5(chat_id, parent)) if parent is not None else None,
            role=ROLES[role],
            content=content if content is not None else "",
            client_id=known,
            fields=self._fields(message),
            rating=rating,
            comment=comment,
            key=key,
        )

    def _fields(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The keys without a meaning here, and the time in seconds."""
        fields = {name: value for name, value in message.items() if name not in MESSAGE_KEYS}
        given = fields.get("timestamp")
        if given is not None:
            seconds = seconds_since_1970(given)
            if seconds is None:
                del fields["timestamp"]
                self._notes[NO_TIME] += 1
            elif seconds is not given:
                fields["timestamp"] = seconds
                self._notes[SCALED] += 1
        return fields

    def _rating(self, key: str, annotation: Any) -> tuple[int | None, str | None]:
        if not isinstance(annotation, dict) or annotation.get("rating") is None:
            return None, None
        rating, comment = annotation["rating"], annotation.get("comment")
        if isinstance(rating, bool) or not isinstance(rating, int):
            raise self._refused(f"{key}.annotation.rating", f"expected -1, 0 or 1, found {type_of(rating)}")
        if comment is not None and not isinstance(comment, str):
            raise self._refused(f"{key}.annotation.comment", f"expected text, found {type_of(comment)}")
        return rating, comment

    def _tags(self) -> list[str]:
        """Tags of the row and of the chat, given as texts or as objects with a name."""
        meta = self._row.get("meta")
        known = [meta.get("tags") if isinstance(meta, dict) else None, self._chat.get("tags")]
        names: list[str] = []
        for tags in known:
            for tag in self._expect(tags, list, "tags", "expected a list") if tags else ():
                name = tag.get("name") if isinstance(tag, dict) else tag
                names.append(self._expect(name, str, "tags", "expected the name of a tag"))
        return names

    def _flag(self, key: str) -> bool:
        value = self._row.get(key)
        if value in (None, 0, 1):  # a database that has no booleans exports 0 and 1
            return bool(value)
        raise self._refused(key, f"expected true or false, found {type_of(value)}")

    def _time(self, of: Mapping[str, Any], key: str) -> datetime | None:
        value = of.get(key)
        if value is None:
            return None
        seconds = seconds_since_1970(value)
        if seconds is None:
            self._notes[NO_TIME] += 1
            return None
        return datetime.fromtimestamp(seconds, UTC)

    def _id(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= ID_CHARACTERS_MAX:
            raise self._refused(key[:200], f"expected an id as text of 1 to {ID_CHARACTERS_MAX} characters, found {type_of(value)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._refused(key[:200].encode(errors="replace").decode(), "an id must be Unicode without a lone surrogate") from None
        return value

    def _expect(self, value: Any, kind: type[Any], key: str, what: str) -> Any:
        if not isinstance(value, kind):
            raise self._refused(key, f"{what}, found {type_of(value)}")
        return value

    def _refused(self, key: str, reason: str) -> ImportRefused:
        return ImportRefused(self._name, key, reason)


def output_text(output: Any) -> str:
    """The text of a message that has only typed output items."""
    texts: list[str] = []
    for item in output if isinstance(output, list) else ():
        parts = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        texts += [part["text"] for part in parts or () if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts)


def type_of(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), "something else")
