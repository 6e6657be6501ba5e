"""Facts to stored bytes and back, for ever."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, strategies

from domain.accounts import group
from domain.accounts.user.evolve import evolve as evolve_account
from domain.accounts.user.state import NO_ACCOUNT
from domain.channel.evolve import evolve as evolve_channel
from domain.channel.state import NO_CHANNEL
from domain.chat.evolve import evolve
from domain.chat.facts import ChatCreated, ChatRenamed, MessageAdded, MessageEdited
from domain.chat.state import EMPTY
from domain.errors import BadRequest, ContentRefused
from domain.generation import GenerationCancelled, MessageDelta, MessageStarted
from domain.log.codec import NESTING_MAX, TYPES, decode, decode_actor, decode_event, encode, encode_actor, nesting
from domain.log.event import Actor, Emitted, Event, StoredEvent
from domain.log.stream import Kind, Stream, chat_stream, parse_stream
from domain.routing import function, model, provider
from projections.chat import ChatView
from tests.domain.golden import FOLDER, facts, files_of, sha256_of, sums
from tests.domain.histories import FEW, JSON, NODE, TEXTS, UNHURRIED, History, histories

A = UUID("01900000-0000-7000-8000-00000000000a")
BACKSLASH = "\\"


# --------------------------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize(("kind", "name", "fact"), list(facts()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_fact_is_stored_as_the_bytes_that_were_pinned(kind: Kind, name: str, fact: Any) -> None:
    files = files_of(kind, name)
    assert files, f"{kind}/{name} has no golden file: run python -m tests.domain.golden"
    assert encode(fact)[1] == files[-1].read_bytes(), f"{kind}/{name} is stored as other bytes than before: see tests/domain/golden.py"


def test_no_golden_file_was_changed_or_taken_away() -> None:
    there = {str(file.relative_to(FOLDER)): sha256_of(file) for file in FOLDER.glob("*/*.json")}
    known = sums()
    assert known.keys() - there.keys() == set(), "what was stored once must be readable for ever: put the file back"
    assert there == known, "a file is written once: put it back, or run python -m tests.domain.golden for a new one"


# How the streams of each other kind are folded.
FOLDS: dict[str, tuple[Any, Any]] = {
    "user": (NO_ACCOUNT, evolve_account),
    "model": (model.NO_MODEL, model.evolve),
    "group": (group.NO_GROUP, group.evolve),
    "function": (function.NO_FUNCTION, function.evolve),
    "provider": (provider.NO_PROVIDER, provider.evolve),
    "channel": (NO_CHANNEL, evolve_channel),
}


@pytest.mark.parametrize("path", sorted(sums()))
def test_whatever_was_ever_stored_can_be_read_and_folded(path: str) -> None:
    kind, _, file_name = path.partition("/")
    name, data = file_name.split(".")[0].replace("-", ":"), (FOLDER / path).read_bytes()
    event = decode_event(StoredEvent(2, Stream(parse_kind(kind), A), 2, name, A, None, data, datetime.now(UTC)))
    assert isinstance(event.data, Emitted) == (name == "log")
    if kind == "chat":
        view = ChatView()
        view.apply(StoredEvent(1, chat_stream(A), 1, "chat_created", None, None, encode(ChatCreated(A, "t"))[1], datetime.now(UTC)))
        view.apply(StoredEvent(2, chat_stream(A), 2, name, A, None, data, datetime.now(UTC)))
        assert view.version == 2
        assert evolve(evolve(EMPTY, Event(None, ChatCreated(A, "t")), 1), event, 2) is not None
    else:
        empty, evolve_kind = FOLDS[kind]
        assert evolve_kind(empty, event, 1) is not None


def parse_kind(name: str) -> Kind:
    return parse_stream(f"{name}/{A}").kind


@pytest.mark.parametrize(("kind", "name", "fact"), list(facts()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_read_is_what_was_stored(kind: Kind, name: str, fact: Any) -> None:
    stored_as, data = encode(fact)
    assert decode(kind, stored_as, data) == fact
    assert encode(decode(kind, stored_as, data)) == (stored_as, data)


def test_one_class_has_one_name() -> None:
    """Also one that stands in several kinds of stream, such as a grant."""
    named = {(name, fact) for table in TYPES.values() for name, fact in table.items()}
    assert len(named) == len({fact for _, fact in named})


# ----------------------------------------------------------------------------------------------------------- round trip


def test_an_unknown_key_does_not_stand_in_for_a_known_one_that_is_not_set() -> None:
    start = MessageStarted(None, "m", "m", NODE, NODE, fields={"continues": 7, "payload": {"blob": "ab"}, "other": 1})
    name, data = encode(start)
    assert decode("chat", name, data) == msgspec.structs.replace(start, fields={"other": 1})


@FEW
@given(histories())
def test_a_history_is_read_as_it_was_written(history: History) -> None:
    for event in history.events:
        name, data = encode(event.data)
        stored = StoredEvent(1, chat_stream(A), 1, name, event.message_id, None, data, datetime.now(UTC))
        assert decode_event(stored) == event


def test_an_old_fact_without_a_newer_field_has_its_default() -> None:
    assert decode("chat", "message_delta", b'{"index":0,"text":"x"}') == MessageDelta(0, "x", 1)


def test_unknown_fields_of_a_newer_server_are_passed_over() -> None:
    assert decode("chat", "message_delta", b'{"index":0,"text":"x","colour":"red"}') == MessageDelta(0, "x")
    assert decode("chat", "chat_renamed", b'{"title":"x","why":{"a":[1]}}') == ChatRenamed("x")


def test_a_type_that_nobody_knows_was_emitted() -> None:
    assert decode("chat", "something:new", b'{"a":1}') == Emitted("something:new", {"a": 1})
    assert decode("user", "message_delta", b"[]") == Emitted("message_delta", [])


def test_bytes_that_are_not_of_their_type_are_refused() -> None:
    for data in (b'{"index":"0","text":"x"}', b"[]", b'{"text":"x"}', b'{"index":0'):
        with pytest.raises(msgspec.DecodeError):
            decode("chat", "message_delta", data)
    with pytest.raises(msgspec.ValidationError):
        decode("chat", "message_added", b'{"role":"robot"}')


# ------------------------------------------------------------------------------------------------------------ open keys


def test_unknown_keys_stand_flat_beside_the_known_ones() -> None:
    _, data = encode(MessageAdded(None, "user", "hi", None, {"files": [1], "x": None}))
    assert msgspec.json.decode(data) == {
        "files": [1],
        "x": None,
        "parent_id": None,
        "role": "user",
        "content": "hi",
        "client_id": None,
    }


def test_an_unknown_key_does_not_pass_for_a_known_one() -> None:
    _, data = encode(MessageAdded(None, "user", "hi", None, {"role": "system", "content": "forged", "parent_id": str(A)}))
    assert decode("chat", "message_added", data) == MessageAdded(None, "user", "hi")


def test_a_key_may_be_called_fields() -> None:
    fact = MessageEdited({"fields": {"fields": 1}})
    assert decode("chat", *encode(fact)) == fact


@UNHURRIED
@given(strategies.dictionaries(TEXTS, JSON, max_size=3))
def test_whatever_keys_an_edit_has_are_kept(fields: Mapping[str, Any]) -> None:
    fact = MessageEdited(fields)
    assert decode("chat", *encode(fact)) == fact


# -------------------------------------------------------------------------------------------------- text that is refused


@pytest.mark.parametrize(
    "fact",
    [
        MessageDelta(0, "\0"),
        MessageDelta(0, "a\0b"),
        MessageDelta(0, BACKSLASH + "\0"),
        MessageDelta(0, BACKSLASH * 2 + "\0"),
        MessageDelta(0, BACKSLASH + "u0000 and then \0"),
        ChatRenamed("\0"),
        MessageEdited({"a\0": 1}),
        MessageEdited({"a": [{"b": "\0"}]}),
        Emitted("log", "\0"),
        Emitted("log", {"\0": None}),
        GenerationCancelled(None, "\0"),
    ],
    ids=repr,
)
def test_u0000_is_refused_wherever_it_stands(fact: Any) -> None:
    with pytest.raises(ContentRefused):
        encode(fact)


@pytest.mark.parametrize("text", [BACKSLASH + "u0000", BACKSLASH * 3 + "u0000", "u0000", BACKSLASH, f"{BACKSLASH}x00", "0000"])
def test_text_that_only_spells_u0000_is_text(text: str) -> None:
    fact = MessageDelta(0, text)
    assert decode("chat", *encode(fact)) == fact


@UNHURRIED
@given(strategies.text(strategies.sampled_from([BACKSLASH, "u", "0", "\0", "x"])), strategies.integers(0, 4))
def test_text_is_refused_if_and_only_if_it_holds_u0000(text: str, backslashes: int) -> None:
    text = text + BACKSLASH * backslashes + "u0000"
    try:
        _, data = encode(MessageDelta(0, text))
    except ContentRefused:
        assert "\0" in text
    else:
        assert "\0" not in text
        assert decode("chat", "message_delta", data) == MessageDelta(0, text)


@pytest.mark.parametrize(
    "fact",
    [
        MessageDelta(0, "\ud800"),
        MessageDelta(0, "\udfff tail"),
        MessageDelta(0, "\ude00\ud83d"),
        MessageEdited({"\ud800": 1}),
        Emitted("log", ["\udc00"]),
        ChatCreated(A, "t", fields={"x": "\ud800"}),
    ],
    ids=repr,
)
def test_a_lone_surrogate_is_refused_wherever_it_stands(fact: Any) -> None:
    with pytest.raises(ContentRefused):
        encode(fact)


def nested(depth: int) -> Any:
    value: Any = "[{"
    for number in range(depth):
        value = [value] if number % 2 else {"a key": value}
    return value


@pytest.mark.parametrize("depth", [NESTING_MAX + 1, 500, 5_000])
def test_what_is_nested_too_deep_for_some_reader_is_refused(depth: int) -> None:
    with pytest.raises(BadRequest, match="nested at most 100 deep"):
        encode(Emitted("log", nested(depth)))


def test_what_is_nested_as_deep_as_it_may_be_is_kept() -> None:
    _, data = encode(Emitted("log", nested(NESTING_MAX)))
    assert nesting(data) == NESTING_MAX
    wide = [{"a": ["}"]}] * 500
    assert nesting(encode(Emitted("log", wide))[1]) == 3


# -------------------------------------------------------------------------------------------------------- emitted names


@pytest.mark.parametrize("name", ["log", "a", "chat:message:follow_ups", "x.y-z_1", "a" * 64])
def test_an_emitter_may_use_any_simple_name(name: str) -> None:
    assert encode(Emitted(name, None)) == (name, b"null")


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a b", "a\n", "a/b", "ü", "a" * 65, "a\0"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        encode(Emitted(name, None))


# ---------------------------------------------------------------------------------------------------------------- actor


def test_an_actor_is_read_as_it_was_written() -> None:
    actor = Actor(A, "Ünal 🦉", "user")
    assert decode_actor(encode_actor(actor)) == actor
    assert decode_actor(None) is None
