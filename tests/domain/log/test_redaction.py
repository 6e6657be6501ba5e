"""What is left out of events for a reader whose access began later, and what is not."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis.strategies import data as drawing
from hypothesis.strategies import integers
from msgspec.structs import force_setattr

from domain.chat.facts import OF_A_MESSAGE, ChatConfigured, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import ActionRan, BlockOpened, BlockSum, FilterApplied, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.codec import decode_event, encode
from domain.log.event import Emitted, Event, StoredEvent
from domain.log.redaction import EMITTED_KEYS, Redaction, without_words
from projections.chat import FOLDED_NAMES, ChatView, view
from projections.redaction import STRUCTURE, redact_view
from tests.domain.golden import sample
from tests.domain.histories import MESSAGES, NODE, UNHURRIED, History, ended, histories, sha256
from tests.projections.test_chat import stored

Q, A = MESSAGES[:2]
WORDS = ("any JSON", "content", "text", "comment", "detail", "a key of fields", "sha256")


def redaction(since: int, events: Sequence[StoredEvent]) -> Redaction:
    made = Redaction(since)
    for event in events[:since]:
        made.observe(event)
    return made


def shown(*events: Event[Any]) -> list[Any]:
    """The facts of these events to somebody whose access began after the last of them."""
    rows = stored(events)
    hidden = redaction(len(rows), rows)
    return [decode_event(hidden.of(row)).data for row in rows]


def without_blocks(chat: ChatView) -> dict[str, Any]:
    for message_id in chat.messages:
        chat.messages[message_id].pop("blocks", None)
    return chat.to_json()


@UNHURRIED
@given(histories(), drawing())
def test_what_still_stood_is_folded_from_redacted_events(history: History, draw: Any) -> None:
    """All but the blocks of an answer: where its text was replaced, what it thought and called is left out with it."""
    since = draw.draw(integers(1, len(history.events)))
    rows = stored(history.events)[:since]
    hidden = redaction(since, rows)
    redacted = [hidden.of(row) for row in rows]
    assert [(row.version, row.type, row.message_id) for row in redacted] == [(row.version, row.type, row.message_id) for row in rows]
    assert without_blocks(view(redacted)) == without_blocks(view(rows))


@UNHURRIED
@given(histories(), drawing())
def test_the_chat_as_it_was_says_what_its_redacted_events_say(history: History, draw: Any) -> None:
    since = draw.draw(integers(1, len(history.events)))
    version = draw.draw(integers(1, since))
    rows = stored(history.events)[:since]
    hidden = redaction(since, rows)
    chat, folded = view(rows[:version]), view(hidden.of(row) for row in rows[:version])
    redact_view(chat, hidden)
    expected, found = without_blocks(folded), without_blocks(chat)
    for messages in (expected["chat"]["history"]["messages"], found["chat"]["history"]["messages"]):
        for message_id in list(messages):
            messages[message_id].pop("redacted", None)
            if hidden.is_deleted(UUID(message_id)):
                messages[message_id] = {key: value for key, value in messages[message_id].items() if key in (*STRUCTURE, "content")}
    assert found["chat"]["history"] == expected["chat"]["history"]
    assert {**found["chat"], "tags": [tag for tag in found["chat"]["tags"] if tag], "messages": [], "history": None} == {
        **expected["chat"],
        "tags": [tag for tag in expected["chat"]["tags"] if tag],
        "messages": [],
        "history": None,
    }


@UNHURRIED
@given(histories())
def test_what_happened_after_the_access_began_is_shown_as_it_is(history: History) -> None:
    rows = stored(history.events)
    hidden = redaction(1, rows)
    assert all(hidden.of(row) is row for row in rows[1:])


@pytest.mark.parametrize("fact", [*sorted(OF_A_MESSAGE, key=str), Emitted], ids=lambda fact: fact.__name__)
def test_nothing_that_was_said_is_left_of_a_deleted_message(fact: type[Any]) -> None:
    full = Emitted("status", {"a key of fields": "text"}) if fact is Emitted else sample(fact, "")
    if "fields" in fact.__struct_fields__:
        force_setattr(full, "fields", {"a key of fields": "any JSON"})
    _, data = encode(without_words(full))
    said = data.decode().replace('"content":""', "").replace('"text":""', "").replace('"detail":""', "").replace('"comment":null', "")
    said = said.replace('"sha256":"e3b0c442', "").replace('"type":"text"', "")
    said = said.replace('"sha256_before":""', "").replace('"sha256_after":""', "").replace("source_sha256", "")  # of code, not of words
    assert [word for word in WORDS if word in said] == []


def test_when_a_deleted_message_was_said_is_left() -> None:
    facts = shown(
        Event(Q, MessageAdded(None, "user", "gone", fields={"timestamp": 7, "note": "gone"})),
        Event(A, MessageStarted(Q, "m", "m", Q, NODE, fields={"timestamp": 8.5})),
        Event(A, MessageEdited({"timestamp": 9, "content": "gone"})),
        Event(A, MessageDeleted()),
        Event(Q, MessageDeleted()),
    )
    assert [facts[0].fields, facts[1].fields, facts[2].fields] == [{"timestamp": 7}, {"timestamp": 8.5}, {"timestamp": 9}]


def test_a_replaced_text_is_left_out_and_the_one_that_replaced_it_is_not() -> None:
    facts = shown(
        Event(Q, MessageAdded(None, "user", "old", fields={"files": ["f"], "note": "n"})),
        Event(Q, MessageEdited({"content": "newer"})),
        Event(Q, MessageEdited({"content": "newest", "files": []})),
    )
    assert facts == [
        MessageAdded(None, "user", "", fields={"note": "n"}),
        MessageEdited({"content": ""}),
        MessageEdited({"content": "newest", "files": []}),
    ]


def test_an_edited_answer_tells_nothing_of_what_the_model_said() -> None:
    total = sha256("secret")
    end = MessageEnded("secret", [BlockSum(0, "text", total)], total, "stop", None, Timings(1.0, 2.0), 1)
    facts = shown(
        Event(A, MessageStarted(None, "m", "m", Q, NODE)),
        Event(A, BlockOpened(0, "text")),
        Event(A, MessageDelta(0, "secret")),
        Event(A, end),
        Event(A, MessageEdited({"content": "public"})),
    )
    assert "secret" not in str(facts)
    assert total not in str(facts), "a short text is found by its sum"


def test_of_filters_and_actions_from_before_the_access_no_sums_and_originals_are_shown() -> None:
    """They hold words of any message of the chat, also of deleted ones."""
    kept = {"blob": "0" * 64, "size_bytes": 3}
    applied = FilterApplied("f", "inlet", "function", 1, 1, "1" * 64, "2" * 64, kept, "3" * 64, failed="secret")
    ran = ActionRan("a", "4" * 64, 1, kept, failed="secret")
    facts = shown(Event(Q, MessageAdded(None, "user", "kept")), Event(Q, applied), Event(None, ran))
    assert facts[1:] == [FilterApplied("f", "inlet", "function", 1, 1, "", "", None, "3" * 64), ActionRan("a", "4" * 64, 1)]


def test_what_an_emitter_said_in_an_answer_is_gone_where_the_answers_end_replaced_it() -> None:
    facts = shown(
        Event(A, MessageStarted(None, "m", "m", Q, NODE)),
        Event(A, BlockOpened(0, "text")),
        Event(A, Emitted("replace", {"content": "interim"})),
        Event(A, MessageDelta(0, "said")),
        Event(A, ended("said")),
    )
    assert facts[2] == Emitted("replace", {})
    assert facts[3:] == [MessageDelta(0, "said"), ended("said")]


SENT = {"blob": "ab" * 32, "size_bytes": 9}


def test_what_a_model_was_sent_is_hidden_where_words_of_that_time_are() -> None:
    start = MessageStarted(None, "m", "m", Q, NODE, payload_sha256="ab" * 32, payload=SENT)
    asked, answered = Event(Q, MessageAdded(None, "user", "x")), Event(A, start)
    assert shown(asked, answered)[1] == start
    hidden = MessageStarted(None, "m", "m", Q, NODE)
    assert shown(asked, answered, Event(Q, MessageDeleted()))[1] == hidden
    assert shown(asked, answered, Event(Q, MessageEdited({"content": "y"})))[1] == hidden
    assert shown(asked, answered, Event(None, ChatConfigured({"params": {}})))[1] == hidden


def test_what_a_model_was_sent_after_the_access_began_is_shown() -> None:
    start = MessageStarted(None, "m", "m", Q, NODE, payload_sha256="ab" * 32, payload=SENT)
    rows = stored([Event(Q, MessageAdded(None, "user", "x")), Event(Q, MessageDeleted()), Event(A, start)])
    assert redaction(2, rows).of(rows[2]) is rows[2]


def test_of_several_comments_the_last_one_stands() -> None:
    facts = shown(Event(Q, MessageAdded(None, "user", "x")), Event(Q, MessageRated(1, "first")), Event(Q, MessageRated(-1, "second")))
    assert facts[1:] == [MessageRated(1), MessageRated(-1, "second")]


def test_all_that_emitters_change_is_known_here() -> None:
    assert set(EMITTED_KEYS) == FOLDED_NAMES
