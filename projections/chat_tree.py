"""One chat at any of its versions, as rows: what the chat itself is now, and each message's place in the tree and content.

A message has a row for each place and each content that was stored of it, valid from one version of its chat until the next. So the chat
as it was at any moment is one look into an index. ``childrenIds`` are in no row: they are the rows that name the message as their parent.

A row's body is the message as of its first version. What changes the message later is only noted, in ``noted_changes``; a reader finds
these events in the log by their versions and folds them into the body. The body is stored anew when the events since then have become as
large as it is, so what is stored of a message grows with what was sent, never with its square. A small body is stored anew at each change.

The row of an answer that is still being generated holds what its ``message_start`` said; what followed is read from the log, by
readers and, once it has ended, here. So a token never writes a row.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from domain.chat.facts import (
    BranchSelected,
    ChatConfigured,
    ChatCreated,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.event import Emitted, StoredEvent
from domain.log.stream import Kind
from projections.chat import ChatView, changes_message, chat_of_row
from projections.messages import PLACE, Message
from projections.projection import Ask, Events, Projecting, Recorded, Rows, TooMuch, Write

ADDITIONS: Final[frozenset[type[Any]]] = frozenset({MessageAdded, MessageStarted})
CHANGES: Final[frozenset[type[Any]]] = frozenset({MessageEdited, MessageRated, Emitted})
ENDS: Final[frozenset[type[Any]]] = frozenset({MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted})
DELTAS_PER_PAGE: Final = 500
SMALL_BYTES: Final = 4096  # a body, or the keys of a chat, up to this size is stored anew at each change
OPEN_BYTES: Final = 65_536  # the same of an answer that is still being generated, whose tokens are read for it
READ_BYTES_MAX: Final = 32 * 1024 * 1024  # of all bodies that one batch reads to store them anew, where it is more than one
EVENT_BYTES: Final = 256  # what an event takes in the log besides its data

_encoder: Final = msgspec.json.Encoder()


class MessageRow(msgspec.Struct):
    """One row of ``messages``, its columns in their order. Ids are texts, as in a view: making objects of them costs more."""

    chat_id: str
    message_id: str
    since: int  # the version that led to it
    until: int | None  # the version that ended it; None: it holds
    ordinal: int  # the version that added the message
    parent_id: str | None
    is_open: bool
    body_since: int | None  # which row of the same message holds the body; None: this one
    body_bytes: int
    changed_since: int | None  # the first of the changes that are noted upon the body
    body: str | None  # JSON: the message, but for its place in the tree


class ChangeRow(NamedTuple):
    """One row of ``noted_changes``: an event that changes a message and that no body holds yet."""

    chat_id: str
    message_id: str
    version: int
    weight: int  # bytes of all changes since the body, this one among them


class CurrentRow(NamedTuple):
    chat_id: str
    version: int
    message_id: str | None


class HeadRow(NamedTuple):
    """One row of ``chat_heads``."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime | None
    current_id: str | None
    messages_count: int
    open: str  # JSON: the answers that are being generated, with the versions that began them
    owner_id: UUID | None
    listed: bool
    deleted: bool
    title: str
    folder_id: UUID | None
    pinned: bool
    archived: bool
    tags: list[str]
    created_at: datetime | None
    grants: str  # JSON
    share: str | None  # JSON
    fields_weight: int  # bytes of what changed the keys of the chat after ``fields_version``


class TouchedHead(NamedTuple):
    """What an event about a message changes in the row of its chat."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime | None
    current_id: str | None
    messages_count: int
    open: str


class FieldsRow(NamedTuple):
    """The keys of a chat that this server does not know by name, as of ``fields_version``: they may be large, and change seldom."""

    chat_id: UUID
    fields_version: int
    fields_bytes: int
    fields: str  # JSON


class ClosedRow(NamedTuple):
    chat_id: str
    message_id: str
    since: int
    until: int


class MarkedRow(NamedTuple):
    chat_id: str
    message_id: str
    since: int
    changed_since: int


def view_of(head: Mapping[str, Any]) -> ChatView:
    """The chat of one row of ``heads``, without messages and without the changes of its keys after ``fields_version``."""
    chat = chat_of_row(head)
    chat.messages_count = head["messages_count"]
    chat.current_id = str(head["current_id"]) if head["current_id"] is not None else None
    chat.open, chat.grants = msgspec.json.decode(head["open"]), msgspec.json.decode(head["grants"])
    chat.share = msgspec.json.decode(head["share"]) if head["share"] is not None else None
    chat.fields = msgspec.json.decode(head["fields"]) if head["fields"] is not None else {}
    return chat


def load(chat: ChatView, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put messages into a view, in the order in which they were added, each below its parent where that is among them.

    A row has ``message_id``, ``parent_id``, ``ordinal``, ``body``, and ``is_whole``: whether the body is all that is known of the
    message, or more is to be folded into it. What the view holds already stays as it is.
    """
    own: dict[str, list[str]] = {}
    parents: list[tuple[str, str | None]] = []
    for row in sorted(rows, key=ordinal_of):
        message_id, parent_id = row["message_id"], row["parent_id"]
        if message_id in chat.messages:
            continue
        own[message_id] = chat.messages.keep(message_id, parent_id, row["body"])
        if not row["is_whole"]:
            chat.messages[message_id]  # decoded: it will not be sent as it is stored
        chat.ordinals[message_id] = row["ordinal"]
        parents.append((message_id, parent_id))
    for message_id, parent_id in parents:
        if parent_id in own:
            own[parent_id].append(message_id)


def ordinal_of(row: Mapping[str, Any]) -> int:
    ordinal: int = row["ordinal"]
    return ordinal


def load_children(chat: ChatView, parents: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """All children of these messages, in order, also of those that the view does not hold."""
    for parent_id in parents:
        chat.messages.children_of(parent_id).clear()
    for row in rows:
        chat.messages.children_of(row["parent_id"]).append(row["message_id"])
        chat.ordinals.setdefault(row["message_id"], row["ordinal"])


def body_of(message: Message) -> bytes:
    """JSON of a message without its place in the tree."""
    body = message.copy()
    for key in PLACE:
        del body[key]
    if "blocks" in body:
        body["blocks"] = [{**block, "text": "".join(block["text"])} for block in body["blocks"]]
    return _encoder.encode(body)


def again(view: ChatView, event: StoredEvent, fact: Any = None) -> None:
    """Fold an event that the view's chat has seen already, for the sake of its message alone."""
    if event.type in ("chat_branch_selected", "message_deleted"):
        return
    version, position, at = view.version, view.position, view.updated_at
    view.apply(event, fact)
    view.version, view.position, view.updated_at = version, position, at


class ChatTree:
    """The projection."""

    name = "chat_tree"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        by_chat: dict[UUID, list[Recorded]] = defaultdict(list)
        for event in events:
            by_chat[event.stored.stream.id].append(event)
        known = [chat_id for chat_id, own in by_chat.items() if own[0].stored.version > 1]
        heads = {}
        if known:
            (rows,) = yield [Rows("tree_heads", (known, SMALL_BYTES))]
            heads = {row["chat_id"]: row for row in rows}
        chats = [ChangingChat(chat_id, heads.get(chat_id), own) for chat_id, own in by_chat.items()]
        of_chat = {chat.id: chat for chat in chats}

        touched = [(chat.chat_id, message_id) for chat in chats for message_id in chat.known_before()]
        if touched:
            parents = [(chat.chat_id, message_id) for chat in chats for message_id in chat.deleted()]
            asks: list[Ask] = [Rows("tree_touched", (*columns(touched, 2), *columns(parents, 2), SMALL_BYTES))]
            ending = [(chat.chat_id, message_id, chat.view.version) for chat in chats for message_id in chat.ending()]
            if ending:
                asks.append(Events("tree_said", columns(ending, 3)))
            rows, *said = yield asks
            for row in rows:
                of_chat[row["chat_id"]].known(row)
            for event in said[0] if said else ():
                of_chat[str(event.stored.stream.id)].again[event.stored.version] = event
        yield from self._whole(chats, of_chat)
        for chat in chats:
            chat.change()
        return written(chats)

    def _whole(self, chats: Sequence["ChangingChat"], of_chat: Mapping[str, "ChangingChat"]) -> Projecting:
        """Ask what is needed besides: bodies and keys that are to be stored anew, with the changes noted since, and what was thought."""
        for chat in chats:
            chat.choose()
        wanted = [(chat, one, chat.states[one]) for chat in chats for one in chat.to_be_read()]
        folded = [(chat.chat_id, one, state.body_version) for chat, one, state in wanted]
        closed = [(chat.chat_id, one, state.body_version) for chat, one, state in wanted if not state.is_open]
        opened = [(chat.chat_id, one, chat.view.version) for chat, one, state in wanted if state.is_open]
        if len(wanted) > 1 and sum(state.body_bytes for _, _, state in wanted) > READ_BYTES_MAX:
            raise TooMuch
        configured = [(chat.chat_id, chat.fields_version, chat.view.version) for chat in chats if chat.needs_fields()]
        asks: list[Ask] = []
        if folded:
            asks += [
                Rows("tree_bodies", columns(folded, 3)),
                Events("tree_noted", columns(closed, 3)),
                Events("tree_said", columns(opened, 3)),
            ]
        if configured:
            asks += [Rows("tree_fields", (list(columns(configured, 3)[0]),)), Events("tree_configured", columns(configured, 3))]
        if asks:
            answers = yield asks
            for ask, answer in zip(asks, answers, strict=True):
                for one in answer:
                    if isinstance(ask, Events):
                        of_chat[str(one.stored.stream.id)].again[one.stored.version] = one
                    elif ask.query == "tree_bodies":
                        of_chat[str(one["chat_id"])].states[one["message_id"]].body = one["body"]
                    else:
                        of_chat[str(one["chat_id"])].view.fields = msgspec.json.decode(one["fields"])
        # What was thought, or asked of a tool, stands in deltas and nowhere else. Page by page: there may be very many.
        for chat in chats:
            for message_id, after, until, is_in_order in chat.with_deltas():
                while True:
                    (deltas,) = yield [Events("tree_deltas", (chat.chat_id, message_id, after, until, DELTAS_PER_PAGE))]
                    chat.heard(deltas, is_in_order)
                    if len(deltas) < DELTAS_PER_PAGE:
                        break
                    after = deltas[-1].stored.version
        return []


class MessageState(msgspec.Struct):
    """What is known of a message at one moment of a batch: its newest row, and what changed it since its body was stored."""

    since: int
    ordinal: int
    parent_id: str | None
    is_open: bool
    body_version: int
    body_bytes: int
    body: bytes | None  # None: it was not asked for
    changed_since: int | None = None
    weight: int = 0

    @property
    def limit_bytes(self) -> int:
        """How large the changes since the body may become before it is stored anew."""
        return max(self.body_bytes, OPEN_BYTES) if self.is_open else self.body_bytes


class ChangingChat:
    """One chat of a batch: its view before, the batch's events, and the rows that come of them."""

    def __init__(self, chat_id: UUID, head: Mapping[str, Any] | None, events: Sequence[Recorded]) -> None:
        self.chat_id = chat_id
        self.id = str(chat_id)
        self.view = view_of(head) if head is not None else ChatView()
        self.events = events
        self.is_new = head is None
        self.fields_version: int = head["fields_version"] if head is not None else 0
        self.fields_bytes: int = head["fields_bytes"] if head is not None else 0
        self.fields_weight: int = head["fields_weight"] if head is not None else 0
        self.has_fields = head is None or head["fields"] is not None
        self.states: dict[str, MessageState] = {}  # of the messages that the events touch
        self.again: dict[int, Recorded] = {}  # events from before the batch, and deltas, to be folded into messages
        self.spoken: dict[str, dict[int, list[str]]] = {}  # the texts of an answer's blocks, where these say more than the content
        self._folded: set[str] = set()  # the messages from before the batch that are decoded: all others are only noted
        self._rewritten: set[str] = set()  # the answers among them whose deltas are folded in their order
        self._about: set[str] = set()
        self._added: dict[str, int] = {}
        self._filled: dict[str, int] = {}  # the messages in which a generation begins that were there before
        self._ended: dict[str, int] = {}
        self._deleted: list[str] = []
        self._blocks: dict[str, list[str]] = {}
        self._weights: dict[str, int] = {}
        self._last_change: dict[str, int] = {}
        self._configured_bytes = 0
        self._survey()
        # What comes of it:
        self.is_itself_changed = False
        self.fields: FieldsRow | None = None
        self.rows: list[MessageRow] = []
        self.closed: list[ClosedRow] = []
        self.marked: dict[str, MarkedRow] = {}
        self.changes: list[ChangeRow] = []
        self.currents: list[CurrentRow] = []
        self._index: dict[str, int] = {}  # where in ``rows`` the newest row of a message is, if it is there

    # ------------------------------------------------------------------------------------------- what has to be known

    def _survey(self) -> None:
        """What the batch does to which message, in one pass."""
        for event in self.events:
            message_id, kind = event.message_id, type(event.fact)
            if message_id is None:
                if kind is ChatConfigured:
                    self._configured_bytes += weight_of(event.stored)
                continue
            self._about.add(message_id)
            if kind is MessageStarted and event.fact.fills is True:
                self._filled[message_id] = event.stored.version
            elif kind in ADDITIONS:
                self._added[message_id] = event.stored.version
            elif kind in ENDS:
                self._ended[message_id] = event.stored.version
            elif kind is BlockOpened:
                self._blocks.setdefault(message_id, []).append(event.fact.type)
            elif kind is MessageDeleted:
                self._deleted.append(message_id)
            elif kind in CHANGES and changes_message(event.fact):
                self._weights[message_id] = self._weights.get(message_id, 0) + weight_of(event.stored)
                self._last_change[message_id] = event.stored.version

    def known_before(self) -> list[str]:
        """The messages from before the batch that its events are about."""
        return [one for one in self._about if one not in self._added]

    def deleted(self) -> list[str]:
        """The messages whose children move up."""
        return self._deleted

    def ending(self) -> list[str]:
        """The answers that were open before the batch and end in it."""
        return [one for one in self._ended if one in self.view.open]

    def known(self, row: Mapping[str, Any]) -> None:
        self.states[row["message_id"]] = MessageState(
            since=row["since"],
            ordinal=row["ordinal"],
            parent_id=row["parent_id"],
            is_open=row["is_open"],
            body_version=row["body_version"],
            body_bytes=row["body_bytes"],
            body=row["body"],
            changed_since=row["changed_since"],
            weight=row["weight"] or 0,
        )

    def to_be_read(self) -> list[str]:
        """The messages whose body must be read besides, and with it everything that changed them since it was stored."""
        return [one for one in self._folded if self._is_unread(self.states[one], one)]

    def _is_unread(self, state: MessageState, message_id: str) -> bool:
        if state.is_open:
            return state.body is None or message_id in self._rewritten
        return state.body is None or state.changed_since is not None

    def choose(self) -> None:
        """Choose the messages from before the batch that are folded, and the answers whose deltas are folded with them."""
        self._folded |= self._filled.keys() & self.states.keys()
        for message_id in self._ended.keys() & self.states.keys():
            self._folded.add(message_id)
            if self.states[message_id].body_version > self.states[message_id].ordinal and message_id not in self._filled:
                self._rewritten.add(message_id)  # its body may hold some of its deltas already
        for message_id, weight in self._weights.items():
            state = self.states.get(message_id)
            if state is None or message_id in self._filled:  # it begins in the batch
                if weight >= OPEN_BYTES and (message_id in self._added or message_id in self._filled):
                    self._rewritten.add(message_id)
            elif state.weight + weight >= state.limit_bytes or (state.body_bytes <= SMALL_BYTES and not state.is_open):
                self._folded.add(message_id)
                if state.is_open:
                    self._rewritten.add(message_id)

    def needs_fields(self) -> bool:
        """Whether the keys of the chat are to be stored anew, and are not known yet."""
        weight = self._configured_bytes
        return weight > 0 and not self.has_fields and self.fields_weight + weight >= self.fields_bytes

    def with_deltas(self) -> list[tuple[str, int, int, bool]]:
        """The answers whose deltas must be read: id, after which version, until which, and whether they are folded in their order.

        Those are that end in the batch and are more than one block of text, or whose body is stored anew before their end.
        """
        before: dict[str, list[str]] = {}
        for version in sorted(self.again):
            event = self.again[version]
            if event.message_id is not None and type(event.fact) is BlockOpened:
                before.setdefault(event.message_id, []).append(event.fact.type)
        found: list[tuple[str, int, int, bool]] = []
        for message_id in self._ended.keys() | self._rewritten:
            is_rewritten = message_id in self._rewritten
            state = self.states.get(message_id)
            if message_id in self._filled:
                began: int | None = self._filled[message_id]
            elif state is not None and not state.is_open:
                continue
            else:
                began = state.body_version if state is not None and is_rewritten else self._added.get(message_id)
            if began is None:
                began = self.view.open.get(message_id)
            until = self._ended.get(message_id) or self._last_change.get(message_id)
            if began is None or until is None:
                continue
            if is_rewritten or before.get(message_id, []) + self._blocks.get(message_id, []) not in ([], ["text"]):
                found.append((message_id, began, until, is_rewritten))
        return found

    def heard(self, deltas: Sequence[Recorded], is_in_order: bool) -> None:
        for event in deltas:
            if is_in_order:
                self.again[event.stored.version] = event
            else:
                texts = self.spoken.setdefault(str(event.message_id), {})
                texts.setdefault(event.fact.index, []).append(event.fact.text)

    # ------------------------------------------------------------------------------------------- what comes of the events

    def change(self) -> None:
        for message_id, state in self.states.items():
            self.view.messages.keep(message_id, state.parent_id, state.body or b"")
            self.view.ordinals[message_id] = state.ordinal
        for message_id in sorted(self.states, key=self.view.ordinals.__getitem__):
            above = self.states[message_id].parent_id
            if above is not None and above in self.view.messages:
                self.view.messages.children_of(above).append(message_id)
        known_version = self.view.version
        events = sorted((*self.again.values(), *self.events), key=version_of) if self.again else self.events
        for event in events:
            if event.stored.version <= known_version or type(event.fact) is MessageDelta:
                again(self.view, event.stored, event.fact)
            else:
                current_id = self.view.current_id
                self._next(event)
                if self.view.current_id != current_id:
                    self.currents.append(CurrentRow(self.id, event.stored.version, self.view.current_id))

    def _next(self, event: Recorded) -> None:
        view, stored, fact, message_id = self.view, event.stored, event.fact, event.message_id
        kind = type(fact)
        if message_id is None:
            view.apply(stored, fact)
            self._changed_itself(event)
        elif kind in ADDITIONS:
            view.apply(stored, fact)
            if message_id in view.messages:
                self._put(message_id, stored.version)
        elif kind is MessageDeleted:
            view.touched.clear()
            view.apply(stored, fact)
            self._delete(message_id, stored.version)
        elif kind is BranchSelected:
            view.apply(stored, fact)
        elif message_id in self.states and message_id not in self._folded:
            view.pass_over(stored)  # the message is not decoded: what changes it is only noted
            if kind in CHANGES and changes_message(fact):
                self._note(message_id, event)
        else:
            if kind in ENDS:
                self._speak(message_id)
            view.apply(stored, fact)
            if message_id not in view.messages:
                return
            if kind in ENDS:
                self._put(message_id, stored.version)
            elif kind in CHANGES and changes_message(fact):
                self._change(message_id, event)

    def _changed_itself(self, event: Recorded) -> None:
        fact, version = event.fact, event.stored.version
        self.is_itself_changed = True
        if isinstance(fact, ChatConfigured):
            self.fields_weight += weight_of(event.stored)
        elif not isinstance(fact, ChatCreated):
            return
        if self.fields_version == 0 or self.fields_bytes <= SMALL_BYTES or self.fields_weight >= self.fields_bytes:
            fields = _encoder.encode(self.view.fields)
            self.fields_version, self.fields_bytes, self.fields_weight = version, len(fields), 0
            self.fields = FieldsRow(self.chat_id, version, len(fields), fields.decode())

    def _speak(self, message_id: str) -> None:
        """Put the texts of its blocks into an answer that is about to end."""
        spoken = self.spoken.get(message_id)
        if spoken is not None:
            for block in self.view.messages[message_id].get("blocks", ()):
                block["text"] = spoken.get(block["index"], block["text"])

    def _change(self, message_id: str, event: Recorded) -> None:
        """A message that is decoded has changed."""
        state = self.states[message_id]
        if (not state.is_open and state.body_bytes <= SMALL_BYTES) or state.weight + weight_of(event.stored) >= state.limit_bytes:
            self._put(message_id, event.stored.version)
        else:
            self._note(message_id, event)

    def _note(self, message_id: str, event: Recorded) -> None:
        state = self.states[message_id]
        version = event.stored.version
        state.weight += weight_of(event.stored)
        self.changes.append(ChangeRow(self.id, message_id, version, state.weight))
        if state.changed_since is None:
            state.changed_since = version
            index = self._index.get(message_id)
            if index is None:
                self.marked[message_id] = MarkedRow(self.id, message_id, state.since, version)
            else:
                self.rows[index].changed_since = version

    def _put(self, message_id: str, version: int) -> None:
        """Store the message as it is now, unless nothing of it has changed."""
        view, before = self.view, self.states.get(message_id)
        message = view.messages[message_id]
        is_open = message_id in view.open
        body = body_of(message)
        if before is not None and (before.is_open, before.body) == (is_open, body):
            return
        self._close(message_id, version)
        row = MessageRow(
            chat_id=self.id,
            message_id=message_id,
            since=version,
            until=None,
            ordinal=view.ordinals[message_id],
            parent_id=message["parentId"],
            is_open=is_open,
            body_since=None,
            body_bytes=len(body),
            changed_since=None,
            body=body.decode(),
        )
        self._add(row, version, body)

    def _add(self, row: MessageRow, body_version: int, body: bytes | None, weight: int = 0) -> None:
        self._index[row.message_id] = len(self.rows)
        self.rows.append(row)
        self.states[row.message_id] = MessageState(
            since=row.since,
            ordinal=row.ordinal,
            parent_id=row.parent_id,
            is_open=row.is_open,
            body_version=body_version,
            body_bytes=row.body_bytes,
            body=body,
            changed_since=row.changed_since,
            weight=weight,
        )
        self._folded.add(row.message_id)

    def _delete(self, message_id: str, version: int) -> None:
        if message_id in self.states:
            self._close(message_id, version)
            del self.states[message_id]
        for child in self.view.touched & self.states.keys():
            state = self.states[child]
            is_decoded = child in self._folded
            self._close(child, version)
            row = MessageRow(
                chat_id=self.id,
                message_id=child,
                since=version,
                until=None,
                ordinal=state.ordinal,
                parent_id=self.view.messages.parent_of(child),
                is_open=state.is_open,
                body_since=state.body_version,
                body_bytes=state.body_bytes,
                changed_since=state.changed_since,
                body=None,
            )
            self._add(row, state.body_version, state.body, state.weight)
            if not is_decoded:
                self._folded.discard(child)

    def _close(self, message_id: str, version: int) -> None:
        """The newest row of a message ends with this version."""
        before = self.states.get(message_id)
        if before is None:
            return
        index = self._index.pop(message_id, None)
        if index is None:
            self.closed.append(ClosedRow(self.id, message_id, before.since, version))
        else:
            self.rows[index].until = version

    def head(self) -> HeadRow:
        view = self.view
        return HeadRow(
            *self.touched_head(),
            owner_id=view.owner_id,
            listed=view.listed,
            deleted=view.deleted,
            title=view.title,
            folder_id=view.folder_id,
            pinned=view.pinned,
            archived=view.archived,
            tags=view.tags,
            created_at=view.created_at,
            grants=_encoder.encode(view.grants).decode(),
            share=_encoder.encode(view.share).decode() if view.share is not None else None,
            fields_weight=self.fields_weight,
        )

    def touched_head(self) -> TouchedHead:
        view = self.view
        return TouchedHead(
            chat_id=self.chat_id,
            version=view.version,
            position=view.position,
            updated_at=view.updated_at,
            current_id=view.current_id,
            messages_count=view.messages_count,
            open=_encoder.encode(view.open).decode(),
        )


def written(chats: Sequence[ChangingChat]) -> list[Write]:
    all_writes = [
        Write("tree_close_messages", [row for chat in chats for row in chat.closed]),
        Write("tree_mark_changed", [row for chat in chats for row in chat.marked.values()]),
        Write("tree_add_message", [astuple(row) for chat in chats for row in chat.rows], copy="tree_copy_messages"),
        Write("tree_add_change", [row for chat in chats for row in chat.changes], copy="tree_copy_changes"),
        Write("tree_add_current", [row for chat in chats for row in chat.currents], copy="tree_copy_currents"),
        Write("tree_add_head", [new_head(chat) for chat in chats if chat.is_new], copy="tree_copy_heads"),
        Write("tree_touch_head", [chat.touched_head() for chat in chats if not chat.is_new and not chat.is_itself_changed]),
        Write("tree_put_head", [chat.head() for chat in chats if not chat.is_new and chat.is_itself_changed]),
        Write("tree_put_fields", [chat.fields for chat in chats if not chat.is_new and chat.fields is not None]),
    ]
    return [write for write in all_writes if write.rows]


def new_head(chat: ChangingChat) -> tuple[Any, ...]:
    """``HeadRow`` and what ``FieldsRow`` adds to it."""
    fields = chat.fields or FieldsRow(chat.chat_id, 0, 2, "{}")
    return (*chat.head(), fields.fields_version, fields.fields_bytes, fields.fields)


def weight_of(event: StoredEvent) -> int:
    return EVENT_BYTES + len(event.data)


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> tuple[list[Any], ...]:
    return tuple([row[column] for row in rows] for column in range(count))


def version_of(event: Recorded) -> int:
    return event.stored.version
