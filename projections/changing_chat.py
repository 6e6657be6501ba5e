"""One chat while a batch of its events is projected: what its rows say, what has to be read besides, and the rows that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

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
from projections.chat import ChatView, changes_message
from projections.chat_tree_rows import (
    ChangeRow,
    ClosedRow,
    CurrentRow,
    FieldsRow,
    HeadRow,
    MarkedRow,
    MessageRow,
    TouchedHead,
    body_of,
    encoder,
    view_of,
)
from projections.projection import Recorded

ADDITIONS: Final[frozenset[type[Any]]] = frozenset({MessageAdded, MessageStarted})
CHANGES: Final[frozenset[type[Any]]] = frozenset({MessageEdited, MessageRated, Emitted})
ENDS: Final[frozenset[type[Any]]] = frozenset({MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted})
SMALL_BYTES: Final = 4096  # a body, or the keys of a chat, up to this size is stored anew at each change
OPEN_BYTES: Final = 65_536  # the same of an answer that is still being generated, whose tokens are read for it
EVENT_BYTES: Final = 256  # what an event takes in the log besides its data


def again(view: ChatView, event: StoredEvent, fact: Any = None) -> None:
    """Fold an event that the view's chat has seen already, for the sake of its message alone."""
    if event.type in ("chat_branch_selected", "message_deleted"):
        return
    version, position, at = view.version, view.position, view.updated_at
    view.apply(event, fact)
    view.version, view.position, view.updated_at = version, position, at


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
            fields = encoder.encode(self.view.fields)
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
            grants=encoder.encode(view.grants).decode(),
            share=encoder.encode(view.share).decode() if view.share is not None else None,
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
            open=encoder.encode(view.open).decode(),
        )


def weight_of(event: StoredEvent) -> int:
    return EVENT_BYTES + len(event.data)


def version_of(event: Recorded) -> int:
    return event.stored.version
