"""What searches look through: the words of each message that is whole, as it is now, and of each title (``projections/words.py``).

A text's row names the version of the event that says it, so the text itself is read from the log, for a snippet and where an emitter adds
to it. Only a text that was added to is stored besides: it stands in no event.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from domain.chat.facts import ChatCreated, ChatRenamed, MessageAdded, MessageDeleted, MessageEdited
from domain.generation import GenerationCancelled, GenerationFailed, GenerationInterrupted, MessageEnded, MessageStarted
from domain.log.event import Emitted, emitters_name
from domain.log.stream import Kind
from projections.chat import TEXT_NAMES, blob_of, with_text
from projections.projection import Ask, Events, Projecting, Recorded, Rows, Write, events_by_stream
from projections.words import of_owner, vector, words

TEXT_CHARACTERS_MAX: Final = 100_000  # of one message; Postgres indexes at most 1 MB of words
TITLE_ORDINAL: Final = 0  # where a message's words stand by its ordinal, from 1
ENDS: Final[frozenset[type[Any]]] = frozenset({MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted})
WHOLE: Final[frozenset[type[Any]]] = ENDS | {ChatCreated, ChatRenamed, MessageAdded, MessageStarted}  # that say a whole text, or begin one

_encoder: Final = msgspec.json.Encoder()


class TextRow(msgspec.Struct, frozen=True):
    """One row of ``texts``, its columns in their order."""

    chat_id: str
    ordinal: int
    message_id: str | None
    owner_id: UUID | None
    version: int | None
    content: str | None
    words: str


class DroppedText(NamedTuple):
    chat_id: str
    ordinal: int


class ChatSearch:
    """The projection."""

    name = "chat_search"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        by_chat = events_by_stream(events)
        chats = {str(chat_id): ChangingTexts(str(chat_id), own) for chat_id, own in by_chat.items()}
        asks: list[Ask] = []
        owners = [chat.id for chat in chats.values() if not chat.is_new and chat.says_something()]
        if owners:
            asks.append(Rows("search_owners", (owners,)))
        known = [(chat.id, message_id) for chat in chats.values() for message_id in chat.known_before()]
        if known:
            asks.append(Rows("search_texts", ([one for one, _ in known], [one for _, one in known])))
        if asks:
            answers = yield asks
            for ask, rows in zip(asks, answers, strict=True):
                for row in rows:
                    chat = chats[row["chat_id"]]
                    if isinstance(ask, Rows) and ask.query == "search_owners":
                        chat.owner_id = row["owner_id"]
                    else:
                        chat.texts[row["message_id"]] = Text(row)

        # What an emitter adds to is read first: the event that says it.
        added_to = [(chat.id, text.version) for chat in chats.values() for text in chat.to_be_added_to()]
        if added_to:
            (said,) = yield [Events("search_said", ([one for one, _ in added_to], [version for _, version in added_to]))]
            for event in said:
                chats[str(event.stored.stream.id)].was_said(event)
        for chat in chats.values():
            chat.change()
        blobs = [(chat.id, blob) for chat in chats.values() for blob in chat.blobs()]
        if blobs:
            contents_of = ([one for one, _ in blobs], [blob for _, blob in blobs], TEXT_CHARACTERS_MAX)
            (contents,) = yield [Rows("search_blobs", contents_of)]
            for row in contents:
                chats[row["chat_id"]].read[row["sha256"]] = row["content"]
        written: dict[str, list[Any]] = defaultdict(list)
        for chat in chats.values():
            chat.write(written)
        all_writes = [
            Write("search_add_text", written["add"], copy="search_copy_texts"),
            Write("search_put_text", written["put"]),
            Write("search_drop_text", written["drop"]),
        ]
        return [write for write in all_writes if write.rows]


class Text:
    """One message as searches know it. ``content`` is what was said, as far as it had to be read."""

    __slots__ = ("content", "is_added_to", "is_known", "is_new", "ordinal", "version")

    def __init__(self, row: Mapping[str, Any] | None = None, ordinal: int = 0) -> None:
        self.is_new = row is None
        self.ordinal: int = row["ordinal"] if row is not None else ordinal
        self.version: int | None = row["version"] if row is not None else None  # None: an answer that is still being generated
        self.is_added_to = row is not None and row["content"] is not None
        self.is_known = self.is_added_to
        self.content: Any = msgspec.json.decode(row["content"]) if row is not None and self.is_added_to else None

    def say(self, content: Any, version: int) -> None:
        self.content, self.version, self.is_known, self.is_added_to = content, version, True, False

    def begin(self) -> None:
        """It is being generated from here on: its end says all of it."""
        self.content, self.version, self.is_known, self.is_added_to = None, None, False, False

    def add(self, text: str) -> bool:
        """Add to what was said; whether that makes a difference to searches."""
        if not text or len(plain_text(self.content)) >= TEXT_CHARACTERS_MAX:
            return False
        content = with_text(self.content, text)
        is_other = content is not self.content
        self.content, self.is_added_to = content, self.is_added_to or is_other
        return is_other


class ChangingTexts:
    """The texts of one chat that a batch changes."""

    def __init__(self, chat_id: str, events: Sequence[Recorded]) -> None:
        self.id = chat_id
        self.events = [event for event in events if type(event.fact) is MessageDeleted or says(event.fact)]  # that matter here
        self.is_new = events[0].stored.version == 1
        self.owner_id: UUID | None = None
        self.texts: dict[str, Text] = {}
        self.read: dict[str, str] = {}  # what stands in blobs
        self._title: str | None = None
        self._changed: dict[str, Text] = {}  # in the order in which they first changed
        self._dropped: list[int] = []

    def says_something(self) -> bool:
        return any(type(event.fact) is not MessageDeleted for event in self.events)

    def known_before(self) -> list[str]:
        """The messages from before the batch whose text its events may change."""
        added: set[str | None] = set()
        found: dict[str, None] = {}
        for event in self.events:
            if type(event.fact) in (MessageAdded, MessageStarted) and not is_fill(event.fact):
                added.add(event.message_id)
            elif event.message_id is not None and event.message_id not in added:
                found[event.message_id] = None
        return list(found)

    def to_be_added_to(self) -> list[Text]:
        found = []
        for message_id, text in self.texts.items():
            if text.version is None or text.is_known:
                continue
            first = next((event.fact for event in self.events if event.message_id == message_id), None)
            if isinstance(first, Emitted) and added_text(first) is not None:
                found.append(text)
        return found

    def was_said(self, event: Recorded) -> None:
        text = self.texts[str(event.message_id)]
        text.content, text.is_known = said_by(event.fact), True

    def change(self) -> None:
        for event in self.events:
            fact, message_id = event.fact, event.message_id
            match fact:
                case ChatCreated():
                    self.owner_id, self._title = fact.owner_id, fact.title
                case ChatRenamed():
                    self._title = fact.title
                case _ if message_id is None:
                    pass
                case MessageStarted() if is_fill(fact):
                    begun = self.texts.get(message_id)
                    if begun is not None:
                        begun.begin()
                        self._changed[message_id] = begun
                case MessageAdded() | MessageStarted():
                    text = self.texts[message_id] = self._changed[message_id] = Text(ordinal=event.stored.version)
                    if type(fact) is MessageAdded:
                        text.say(fact.content, event.stored.version)
                case MessageDeleted():
                    gone = self.texts.pop(message_id, None)
                    if gone is not None:
                        self._changed.pop(message_id, None)
                        if not gone.is_new:
                            self._dropped.append(gone.ordinal)
                case _:
                    self._say(message_id, event)

    def _say(self, message_id: str, event: Recorded) -> None:
        text = self.texts.get(message_id)
        if text is None or (text.version is None and type(event.fact) not in ENDS):
            return  # it is gone, or is still being generated: its end says all of it
        added = added_text(event.fact) if isinstance(event.fact, Emitted) else None
        if added is None:
            text.say(said_by(event.fact), event.stored.version)
        elif not text.add(added):
            return
        self._changed[message_id] = text

    def blobs(self) -> set[str]:
        """The blobs in which texts stand that changed."""
        return {blob for text in self._changed.values() if (blob := blob_of(text.content)) is not None}

    def write(self, written: dict[str, list[Any]]) -> None:
        more = (of_owner(self.owner_id),) if self.owner_id is not None else ()
        if self.is_new or self._title is not None:
            row = TextRow(
                chat_id=self.id,
                ordinal=TITLE_ORDINAL,
                message_id=None,
                owner_id=self.owner_id,
                version=None,
                content=None,
                words=vector(words(self._title or ""), *more),
            )
            written["add" if self.is_new else "put"].append(astuple(row))
        for message_id, text in self._changed.items():
            said = self.read.get(blob_of(text.content) or "") or plain_text(text.content)[:TEXT_CHARACTERS_MAX]
            row = TextRow(
                chat_id=self.id,
                ordinal=text.ordinal,
                message_id=message_id,
                owner_id=None,
                version=text.version,
                content=_encoder.encode(text.content).decode() if text.is_added_to else None,
                words=vector(words(said), *more) if text.version is not None else "",
            )
            written["add" if text.is_new else "put"].append(astuple(row))
        written["drop"] += [DroppedText(self.id, ordinal) for ordinal in self._dropped]


def is_fill(fact: Any) -> bool:
    """Whether a generation begins in a message that is there already."""
    return type(fact) is MessageStarted and fact.fills is True


def says(fact: Any) -> bool:
    """Whether it says or changes a text that is searched through."""
    kind = type(fact)
    if kind in WHOLE:
        return True
    if kind is MessageEdited:
        return "content" in fact.fields
    return kind is Emitted and emitters_name(fact) in TEXT_NAMES


def added_text(fact: Emitted) -> str | None:
    """What an emitter adds to a text; None: it replaces it."""
    if emitters_name(fact) not in ("message", "delta"):
        return None
    return str(fact.data.get("content", "")) if isinstance(fact.data, dict) else ""


def said_by(fact: Any) -> Any:
    """The whole content of a message, where an event says it."""
    match fact:
        case MessageAdded() | MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            return fact.content
        case MessageEdited():
            return fact.fields.get("content")
        case Emitted():
            return fact.data.get("content", "") if isinstance(fact.data, dict) else ""
        case _:
            return None


def plain_text(content: Any) -> str:
    """The text of a message's content: a string, or what is text among its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""
