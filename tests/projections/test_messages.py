"""A message that is sent as it is stored is the same as one that was looked into, and looking into some changes nothing of the others."""

from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given, strategies

from domain.chat.facts import MessageAdded
from domain.log.event import Event
from projections.chat import ChatView, message_for_wire, view
from projections.chat_tree_rows import body_of, load
from projections.messages import Messages
from tests.domain.histories import FEW, History, histories
from tests.projections.test_chat import ASKED, CREATED, Q, stored

A_BLOB = {"blob": "0" * 64, "size_bytes": 300_000}


def as_stored(chat: ChatView) -> ChatView:
    """The same messages, as a reader gets them from their rows."""
    made = ChatView()
    load(
        made,
        [
            {
                "message_id": one,
                "parent_id": message["parentId"],
                "ordinal": chat.ordinals[one],
                "is_whole": one not in chat.open,
                "body": body_of(message),
            }
            for one, message in list(chat.messages.items())[::-1]
        ],
    )
    made.current_id = chat.current_id
    return made


def sent(chat: ChatView) -> Any:
    return msgspec.json.decode(msgspec.json.encode(chat.to_json()["chat"]))


@FEW
@given(history=histories(), looked_into=strategies.sets(strategies.integers(0, 7)))
def test_what_is_sent_is_the_same_whatever_was_looked_into(history: History, looked_into: set[int]) -> None:
    folded = view(stored(history.events))
    read = as_stored(folded)
    for one in [one for number, one in enumerate(folded.messages) if number in looked_into]:
        assert read.messages[one] is read.messages[one]
    assert sent(read)["history"] == sent(folded)["history"]
    assert sent(read)["messages"] == sent(folded)["messages"]
    assert list(read.messages) == sorted(folded.messages, key=folded.ordinals.__getitem__)


@FEW
@given(history=histories())
def test_asking_where_a_message_stands_looks_into_none(history: History) -> None:
    folded = view(stored(history.events))
    read = as_stored(folded)
    whole = [one for one in read.messages if one not in folded.open]
    for one in whole:
        assert read.messages.parent_of(one) == folded.messages[one]["parentId"]
        assert read.messages.children_of(one) == folded.messages[one]["childrenIds"]
    assert read.branch(read.current_id) == folded.branch(folded.current_id)
    assert all(isinstance(message_for_wire(read.messages, one), msgspec.Raw) for one in whole)


def test_what_happens_below_a_stored_message_is_seen_in_it() -> None:
    read = as_stored(view(stored([CREATED, ASKED])))
    children = read.messages.children_of(str(Q))
    below = stored([CREATED, ASKED, Event(UUID(int=7), MessageAdded(Q, "user", "and?"))])[-1]
    read.apply(below)
    assert read.messages[str(Q)]["childrenIds"] == children == [str(UUID(int=7))]


def test_a_reference_to_a_blob_is_found_without_looking_into_the_others() -> None:
    events = [CREATED, ASKED, Event(UUID(int=7), MessageAdded(Q, "user", A_BLOB)), Event(UUID(int=8), MessageAdded(Q, "user", 'a "blob"'))]
    read = as_stored(view(stored(events)))
    assert [message["content"] for message in read.messages.naming("blob")] == [A_BLOB]
    assert [one for one in read.messages if read.messages.kept(one) is None] == [str(UUID(int=7))]


def test_some_of_them_are_kept_as_they_are() -> None:
    read = as_stored(view(stored([CREATED, ASKED, Event(UUID(int=7), MessageAdded(Q, "user", "and?"))])))
    only = read.messages.only([str(UUID(int=7))])
    assert isinstance(only, Messages)
    assert list(only) == [str(UUID(int=7))]
    assert only.kept(str(UUID(int=7))) is not None
