"""All chats as rows: the list, the messages of a tree that may be long, their text for searches; now, and as of any version.

A message has a row for each state it was in, valid from one version of its chat until the next. So the chat as it was at any
moment is one look into an index. ``childrenIds`` are in no row: they are the rows that name the message as their parent.

The row of an answer that is still being generated holds what its ``message_start`` said; what followed is read from the log, by
readers and, once it has ended, here. So a token never writes a row.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.chat.state import tag_id
from domain.codec import decode_event
from domain.event import Stored
from domain.stream import Kind
from projections.chat import ChatView, blob_of, text_of
from projections.messages import PLACE, Message
from projections.projection import Events, Projecting, Rows, Write
from projections.words import of_owner, vector, words

ADDITIONS: Final = frozenset({"message_added", "message_start"})
DELTAS_PER_PAGE: Final = 500
ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})
TEXT_CHARACTERS_MAX: Final = 100_000  # of one message, for searches; Postgres indexes at most 1 MB of words
TITLE_ORDINAL: Final = 0  # where a message's words stand by its ordinal, from 1

_encoder = msgspec.json.Encoder()


class MessageRow(msgspec.Struct, frozen=True):
    """One state of one message, as in the table ``messages``, in the order of its columns. Ids are texts, as in a view."""

    chat_id: str
    message_id: str
    since: int  # the version that led to it
    until: int | None  # the version that ended it; None: it holds
    ordinal: int  # the version that added the message
    parent_id: str | None
    is_open: bool
    role: str
    body: str  # JSON: the message, but for its place in the tree


# What a reader needs of it: message_id, parent_id, ordinal, is_open, body.
Loaded = tuple[str, str | None, int, bool, bytes]
ORDINAL: Final = itemgetter(2)


class HeadState(msgspec.Struct):
    """What a chat's row holds besides what lists are made from."""

    fields: dict[str, Any] = {}
    grants: dict[str, str] = {}
    open: dict[str, int] = {}
    share: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def view_of(head: Sequence[Any]) -> ChatView:
    """The chat of one row of ``chats``, without messages."""
    chat = ChatView()
    (
        _,
        chat.version,
        chat.position,
        chat.owner_id,
        chat.listed,
        chat.deleted,
        chat.title,
        chat.folder_id,
        chat.pinned,
        chat.archived,
        tags,
        _,
        _,
        chat.created_at,
        chat.updated_at,
        current_id,
        chat.messages_count,
        state,
    ) = head
    chat.tags = list(tags)
    chat.current_id = str(current_id) if current_id is not None else None
    known = msgspec.json.decode(state, type=HeadState)
    chat.fields, chat.grants, chat.open = known.fields, known.grants, known.open
    chat.share = known.share if known.share is not msgspec.UNSET else None
    return chat


def head_of(chat_id: UUID, chat: ChatView) -> tuple[Any, ...]:
    """The row of ``chats``, in the order of its columns."""
    return (
        chat_id,
        chat.version,
        chat.position,
        chat.owner_id,
        chat.listed,
        chat.deleted,
        chat.title,
        chat.folder_id,
        chat.pinned,
        chat.archived,
        chat.tags,
        [tag_id(name) for name in chat.tags],
        list(chat.grants),
        chat.created_at,
        chat.updated_at,
        chat.current_id,
        chat.messages_count,
        _encoder.encode(HeadState(chat.fields, chat.grants, chat.open, chat.share if chat.share is not None else msgspec.UNSET)).decode(),
    )


def load(chat: ChatView, rows: Iterable[Loaded]) -> None:
    """Put messages into a view, in the order in which they were added, each below its parent where that is among them.

    What the view holds already stays as it is.
    """
    own: dict[str, list[str]] = {}
    parents: list[tuple[str, str | None]] = []
    for message_id, parent_id, ordinal, is_open, body in sorted(rows, key=ORDINAL):
        if message_id in chat.messages:
            continue
        own[message_id] = chat.messages.keep(message_id, parent_id, body)
        if is_open:
            chat.messages[message_id]  # looked into: what is stored is its beginning alone
        chat.ordinals[message_id] = ordinal
        parents.append((message_id, parent_id))
    for message_id, parent_id in parents:
        if parent_id in own:
            own[parent_id].append(message_id)


def load_children(chat: ChatView, parents: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """``(parent_id, message_id, ordinal)`` in order: all children of these messages, also of those that the view does not hold."""
    for parent_id in parents:
        chat.messages.children_of(parent_id).clear()
    for parent_id, message_id, ordinal in rows:
        chat.messages.children_of(parent_id).append(message_id)
        chat.ordinals.setdefault(message_id, ordinal)


def body_of(message: Message) -> str:
    """JSON of a message without its place in the tree."""
    body = message.copy()
    for key in PLACE:
        del body[key]
    if "blocks" in body:
        body["blocks"] = [{**block, "text": "".join(block["text"])} for block in body["blocks"]]
    return _encoder.encode(body).decode()


class History:
    """The projection."""

    name = "history"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Stored]) -> Projecting:
        by_chat: dict[UUID, list[Stored]] = defaultdict(list)
        for event in events:
            by_chat[event.stream.id].append(event)
        (heads,) = yield [Rows("history_chats", (list(by_chat),))]
        views = {head[0]: view_of(head) for head in heads}
        chats = [ChangingChat(chat_id, views.get(chat_id) or ChatView(), own) for chat_id, own in by_chat.items()]

        # Answers that began before this batch and end in it: their rows hold their beginning alone.
        begun = [(chat.chat_id, *answer) for chat in chats for answer in chat.begun()]
        of_chat = {chat.id: chat for chat in chats}
        known = [(chat.chat_id, message_id) for chat in chats for message_id in chat.known_before()]
        if known:
            parents = [(chat.chat_id, message_id) for chat in chats for message_id in chat.deleted()]
            touched = Rows("history_touched", (*columns(known, 2), *columns(parents, 2)))
            rows, *said = yield [touched, *([Events("history_message_events", columns(begun, 4))] if begun else [])]
            for row in rows:
                of_chat[row[0]].rows_before.append(MessageRow(*row))
            for event in said[0] if said else ():
                of_chat[str(event.stream.id)].said.append(event)
        # What was thought, or asked of a tool, stands in deltas and nowhere else. Page by page: there may be very many.
        for chat in chats:
            for message_id, after, until in chat.with_several_blocks():
                while True:
                    (deltas,) = yield [Events("history_deltas", (chat.chat_id, message_id, after, until, DELTAS_PER_PAGE))]
                    chat.heard(deltas)
                    if len(deltas) < DELTAS_PER_PAGE:
                        break
                    after = deltas[-1].version

        for chat in chats:
            chat.change()
        blobs = [(chat.chat_id, blob) for chat in chats for blob in chat.blobs()]
        if blobs:
            (contents,) = yield [Rows("history_blobs", (*columns(blobs, 2), TEXT_CHARACTERS_MAX))]
            for chat_id, blob, content in contents:
                of_chat[str(chat_id)].read[blob] = content
        return written(chats)


class ChangingChat:
    """One chat of a batch: its view before, the batch's events, and the rows that come of them."""

    def __init__(self, chat_id: UUID, view: ChatView, events: Sequence[Stored]) -> None:
        self.chat_id = chat_id
        self.id = str(chat_id)  # Postgres takes an id as text, and to write it as one costs less than to look at it as an id
        self.view = view
        self.events = events
        self.is_new = view.version == 0
        self.title_before = view.title
        self.read: dict[str, str] = {}  # what stands in blobs
        self.rows_before: list[MessageRow] = []  # of the messages that the events touch
        self.said: list[Stored] = []  # what is read again of the answers that end here, but for their deltas
        self.spoken: dict[UUID, dict[int, list[str]]] = {}  # the texts of their blocks, where these say more than the content
        # What comes of it:
        self.rows: list[MessageRow] = []
        self.closed: list[tuple[str, str, int, int]] = []
        self.currents: list[tuple[str, int, str | None]] = []
        self.changed: set[str] = set()  # the messages whose text may be another one now
        self._newest: dict[str, MessageRow] = {}  # the state of each message
        self._index: dict[str, int] = {}  # where in ``rows`` that is, if it is there

    def known_before(self) -> set[UUID]:
        """The messages from before the batch that its events are about."""
        added = {event.message_id for event in self.events if event.type in ADDITIONS}
        return {event.message_id for event in self.events if event.message_id is not None} - added

    def deleted(self) -> set[UUID]:
        """The messages whose children move up."""
        return {event.message_id for event in self.events if event.type == "message_deleted" and event.message_id is not None}

    def begun(self) -> list[tuple[UUID, int, int]]:
        """The answers that were open before the batch and end in it: id, the version of their beginning, the last one before the batch."""
        ending = {str(event.message_id) for event in self.events if event.type in ENDS}
        return [(UUID(one), ordinal, self.view.version) for one, ordinal in self.view.open.items() if one in ending]

    def with_several_blocks(self) -> list[tuple[UUID, int, int]]:
        """The answers that end in the batch and are more than one block of text: id, their first and last version."""
        blocks: dict[UUID | None, list[str]] = defaultdict(list)
        began = {UUID(one): ordinal for one, ordinal in self.view.open.items()}
        found: list[tuple[UUID, int, int]] = []
        for event in (*self.said, *self.events):
            if event.type == "content_block":
                blocks[event.message_id].append(decode_event(event).data.type)
            elif event.type == "message_start" and event.message_id is not None:
                began[event.message_id] = event.version
            elif event.type in ENDS and event.message_id in began and blocks[event.message_id] not in ([], ["text"]):
                found.append((event.message_id, began[event.message_id], event.version))
        return found

    def heard(self, deltas: Sequence[Stored]) -> None:
        for event in deltas:
            assert event.message_id is not None
            delta = decode_event(event).data
            self.spoken.setdefault(event.message_id, {}).setdefault(delta.index, []).append(delta.text)

    def change(self) -> None:
        view = self.view
        load(view, [(row.message_id, row.parent_id, row.ordinal, row.is_open, row.body.encode()) for row in self.rows_before])
        self._newest = {row.message_id: row for row in self.rows_before}
        known_version = view.version
        for event in sorted((*self.said, *self.events), key=version_of):
            if event.version <= known_version:
                again(view, event)
                continue
            current_id = view.current_id
            view.touched.clear()
            if event.message_id is not None and event.type in ENDS:
                self._speak(event.message_id)
            view.apply(event)
            for message_id in view.touched:
                self._change(message_id, event.version)
            if view.current_id != current_id:
                self.currents.append((self.id, event.version, view.current_id))

    def _speak(self, message_id: UUID) -> None:
        """Put the texts of its blocks into an answer that is about to end."""
        message = self.view.messages.get(str(message_id))
        if message is not None:
            for block in message.get("blocks", ()):
                block["text"] = self.spoken.get(message_id, {}).get(block["index"], block["text"])

    def _change(self, message_id: str, version: int) -> None:
        message = self.view.messages.get(message_id)
        before = self._newest.get(message_id)
        if message is None:
            if before is not None:
                self._close(message_id, before, version)
                del self._newest[message_id]
                self.changed.add(message_id)
            return
        is_open = message_id in self.view.open
        parent_id = message["parentId"]
        if before is not None and before.is_open and is_open:
            if before.parent_id == parent_id:
                return
            body = before.body  # what was said since is read from the log
        else:
            body = body_of(message)
            self.changed.add(message_id)
        if before is not None:
            if (before.parent_id, before.is_open, before.body) == (parent_id, is_open, body):
                return
            self._close(message_id, before, version)
        ordinal = self.view.ordinals[message_id]
        row = MessageRow(self.id, message_id, version, None, ordinal, parent_id, is_open, str(message["role"]), body)
        self._newest[message_id] = row
        self._index[message_id] = len(self.rows)
        self.rows.append(row)

    def _close(self, message_id: str, row: MessageRow, version: int) -> None:
        index = self._index.pop(message_id, None)
        if index is None:
            self.closed.append((self.id, row.message_id, row.since, version))
        else:
            self.rows[index] = msgspec.structs.replace(row, until=version)

    def blobs(self) -> set[str]:
        """The blobs in which the text of a message stands that changed."""
        found = {blob_of(self._text(message_id)) for message_id in self.changed if message_id in self.view.messages}
        return found - {None}  # type: ignore[return-value]

    def texts(self) -> Iterable[tuple[str, tuple[Any, ...]]]:
        """``(statement, row)`` for the words of each message that changed, as searches find it, and of the title."""
        view = self.view
        more = (of_owner(view.owner_id),) if view.owner_id is not None else ()
        if self.is_new or view.title != self.title_before:
            put = "history_add_text" if self.is_new else "history_put_text"
            yield put, (self.id, TITLE_ORDINAL, None, vector(words(view.title), *more))
        before = {row.message_id: row.ordinal for row in self.rows_before if not row.is_open}
        for message_id in self.changed:
            row = self._newest.get(message_id)
            if row is None:
                if message_id in before:
                    yield "history_drop_text", (self.id, before[message_id])
            elif not row.is_open:
                content = self._text(message_id)
                text = self.read.get(blob_of(content) or "") or plain_text(content)[:TEXT_CHARACTERS_MAX]
                put = "history_put_text" if message_id in before else "history_add_text"
                yield put, (self.id, row.ordinal, row.message_id, vector(words(text), *more))

    def _text(self, message_id: str) -> Any:
        return text_of(self.view.messages[message_id])


def written(chats: Sequence[ChangingChat]) -> list[Write]:
    texts: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for chat in chats:
        for statement, row in chat.texts():
            texts[statement].append(row)
    rows = [
        (row.chat_id, row.message_id, row.since, row.until, row.ordinal, row.parent_id, row.is_open, row.role, row.body)
        for chat in chats
        for row in chat.rows
    ]
    all_writes = [
        Write("history_close_messages", [closed for chat in chats for closed in chat.closed]),
        Write("history_add_message", rows, copy="history_copy_messages"),
        Write("history_add_current", [current for chat in chats for current in chat.currents], copy="history_copy_currents"),
        Write("history_add_chat", [head_of(chat.chat_id, chat.view) for chat in chats if chat.is_new], copy="history_copy_chats"),
        Write("history_put_chat", [head_of(chat.chat_id, chat.view) for chat in chats if not chat.is_new]),
        Write("history_add_text", texts["history_add_text"], copy="history_copy_texts"),
        Write("history_put_text", texts["history_put_text"]),
        Write("history_drop_text", texts["history_drop_text"]),
    ]
    return [write for write in all_writes if write.rows]


def again(view: ChatView, event: Stored) -> None:
    """An event that the view's chat has seen already, for the sake of its message alone."""
    if event.type in ("chat_branch_selected", "message_deleted"):
        return
    version, position, at = view.version, view.position, view.updated_at
    view.apply(event)
    view.version, view.position, view.updated_at = version, position, at


def plain_text(content: Any) -> str:
    """The text of a message's content: a string, or what is text among its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> tuple[list[Any], ...]:
    return tuple([row[column] for row in rows] for column in range(count))


def version_of(event: Stored) -> int:
    return event.version
