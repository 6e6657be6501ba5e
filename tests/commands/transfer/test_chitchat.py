"""Conversations of the data set as whole chats."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies

from commands.transfer.chitchat import whole_chat, words
from domain.chat.facts import MessageAdded
from domain.chat.whole_chat import steps_of
from domain.errors import ImportRefused
from domain.generation import MessageDelta, MessageEnded, MessageStarted
from tests.domain.histories import OWNER, UNHURRIED


def utterance(text: str, sender: str, second: int) -> dict[str, str]:
    return {"text": text, "sender": sender, "timestamp": f"2018-05-02T19:38:{second:02}Z"}


TURNS = [
    [utterance("Hello", "a", 1), utterance("How are you?", "a", 2)],
    [utterance("I am  fine, thanks ", "b", 9)],
    [utterance("ok", "a", 11)],
]
RAW = json.dumps({"messages": TURNS, "ratings": {"witty": "1"}, "start": "x"}).encode()


def facts(*, streams: bool) -> list[Any]:
    return [step.event.data for step in steps_of(whole_chat("one", RAW, OWNER, streams=streams))]


def test_the_first_speaker_asks_and_the_second_answers() -> None:
    added = [fact for fact in facts(streams=False) if isinstance(fact, MessageAdded)]
    assert [(one.role, one.content) for one in added] == [
        ("user", "Hello"),
        ("user", "How are you?"),
        ("assistant", "I am  fine, thanks "),
        ("user", "ok"),
    ]
    assert added[2].fields["timestamp"] == int(datetime(2018, 5, 2, 19, 38, 9, tzinfo=UTC).timestamp())


def test_each_stands_below_the_one_before() -> None:
    messages = whole_chat("one", RAW, OWNER, streams=True).messages
    assert [one.parent_id for one in messages] == [None, *[one.message_id for one in messages[:-1]]]


def test_answers_can_come_word_by_word() -> None:
    made = facts(streams=True)
    assert [fact.text for fact in made if isinstance(fact, MessageDelta)] == ["I", " am", "  fine,", " thanks "]
    [start] = [fact for fact in made if isinstance(fact, MessageStarted)]
    [end] = [fact for fact in made if isinstance(fact, MessageEnded)]
    assert start.fields["timestamp"] == int(datetime(2018, 5, 2, 19, 38, 9, tzinfo=UTC).timestamp())
    assert (end.content, end.deltas) == ("I am  fine, thanks ", 4)
    assert end.sha256 == hashlib.sha256(b"I am  fine, thanks ").hexdigest()


def test_its_times_and_its_other_keys_are_kept() -> None:
    chat = whole_chat("one", RAW, OWNER, streams=False)
    assert (chat.origin.created_at, chat.origin.updated_at) == tuple(datetime(2018, 5, 2, 19, 38, second, tzinfo=UTC) for second in (1, 11))
    assert chat.fields == {"models": ["chitchat"], "ratings": {"witty": "1"}, "start": "x"}
    assert chat.title == "Hello"


def test_it_is_the_same_each_time() -> None:
    assert whole_chat("one", RAW, OWNER, streams=True) == whole_chat("one", RAW, OWNER, streams=True)
    assert whole_chat("two", RAW, OWNER, streams=True).chat_id != whole_chat("one", RAW, OWNER, streams=True).chat_id


@UNHURRIED
@given(strategies.text())
def test_words_join_to_their_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert all(words(text))


@pytest.mark.parametrize(
    ("conversation", "key"),
    [
        ({}, "messages"),
        ({"messages": 7}, "messages"),
        ({"messages": [[{"text": 1, "sender": "a", "timestamp": "2018-05-02T19:38:00Z"}]]}, "messages[0][0].text"),
        ({"messages": [[{"text": "x", "sender": "a", "timestamp": "yesterday"}]]}, "messages[0][0].timestamp"),
    ],
)
def test_what_is_no_conversation_is_refused_by_its_name_and_key(conversation: Any, key: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        whole_chat("one", json.dumps(conversation).encode(), OWNER, streams=False)
    assert (refused.value.chat, refused.value.key) == ("one", key)
