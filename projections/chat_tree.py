"""One chat at any of its versions, as rows: what the chat itself is now, and each message's place in the tree and content.

A message has a row for each place and each content that was stored of it, valid from one version of its chat until the next. So the chat
as it was at any moment is one look into an index. ``childrenIds`` are in no row: they are the rows that name the message as their parent.

A row's body is the message as of its first version. What changes the message later is only noted, in ``noted_changes``; a reader finds
these events in the log by their versions and folds them into the body. The body is stored anew when the events since then have become as
large as it is, so what is stored of a message grows with what was sent, never with its square. A small body is stored anew at each change.

The row of an answer that is still being generated holds what its ``message_start`` said; what followed is read from the log, by
readers and, once it has ended, here. So a token never writes a row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from domain.log.stream import Kind
from projections.changing_chat import SMALL_BYTES, ChangingChat
from projections.chat_tree_rows import FieldsRow
from projections.projection import Ask, Events, Projecting, Recorded, Rows, TooMuch, Write, events_by_stream

DELTAS_PER_PAGE: Final = 500
READ_BYTES_MAX: Final = 32 * 1024 * 1024  # of all bodies that one batch reads to store them anew, where it is more than one


class ChatTree:
    """The projection."""

    name = "chat_tree"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        by_chat = events_by_stream(events)
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


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> tuple[list[Any], ...]:
    return tuple([row[column] for row in rows] for column in range(count))
