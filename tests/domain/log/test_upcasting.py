"""Old facts become today's while they are read, by a table of upcasts: one that a test makes, since nothing has changed its meaning yet."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.chat.facts import MessageAdded, MessageRated
from domain.generation import MessageDelta
from domain.log.codec import DECODER, TYPES, Decoder
from domain.log.event import Emitted, Event, StoredEvent
from domain.log.stream import Kind, Stream
from domain.log.upcasting import UPCASTS, EndlessUpcast, Upcast, Upcasts, chain

A = UUID("01900000-0000-7000-8000-00000000000a")
# A message was once `said` in one text; then `written`, with the role beside it; today it is added below its parent.
TABLE: Upcasts = {
    ("chat", "said"): Upcast(
        "written", lambda old: {"text": old["text"], "by": "user", **({"mood": old["mood"]} if "mood" in old else {})}
    ),
    ("chat", "written"): Upcast(
        "message_added",
        lambda old: {"parent_id": None, "role": old["by"], "content": old["text"]} | {k: v for k, v in old.items() if k == "mood"},
    ),
    ("chat", "token"): Upcast("message_delta", lambda old: {"index": old["block"], "text": old["token"]}),
    ("chat", "thumb"): Upcast("message_rated", lambda old: {"rating": 1 if old else -1}),
    ("chat", "noise"): Upcast("log", lambda old: {"was": old}),
}
# Names that SQL itself chooses by (an index, queries): these are for ever, in every log that there is.
KNOWN_TO_SQL = {"message_start", "message_delta", "content_block", "message_end", "error", "cancelled", "interrupted"}
KNOWN_TO_SQL |= {"message_added", "message_deleted", "chat_branch_selected", "chat_configured"}
KNOWN_TO_SQL |= {"call", "call_answered", "call_expired"}
KNOWN_TO_SQL |= {"chat_imported"}


def stored(name: str, data: bytes, kind: Kind = "chat") -> StoredEvent:
    return StoredEvent(1, Stream(kind, A), 1, name, A, None, data, datetime.now(UTC))


def test_an_old_type_becomes_the_new_event_while_it_is_read() -> None:
    old = stored("token", b'{"block":2,"token":"Hi"}')
    assert Decoder(TABLE).decode_event(old) == Event(A, MessageDelta(2, "Hi"))
    assert (old.type, old.data) == ("token", b'{"block":2,"token":"Hi"}'), "the stored bytes are as they were"


def test_a_fact_that_is_two_changes_old_goes_through_both() -> None:
    decoder = Decoder(TABLE)
    assert decoder.decode("chat", "said", b'{"text":"Hi"}') == MessageAdded(None, "user", "Hi")
    assert decoder.decode("chat", "written", b'{"text":"Hi","by":"assistant"}') == MessageAdded(None, "assistant", "Hi")
    assert decoder.decode("chat", "message_added", b'{"parent_id":null,"role":"user","content":"Hi"}') == MessageAdded(None, "user", "Hi")


def test_keys_that_nobody_knows_are_carried_along() -> None:
    assert Decoder(TABLE).decode("chat", "said", b'{"text":"Hi","mood":"gay"}') == MessageAdded(None, "user", "Hi", None, {"mood": "gay"})


def test_data_may_be_any_json_before_and_emitted_after() -> None:
    assert Decoder(TABLE).decode("chat", "thumb", b"false") == MessageRated(-1)
    assert Decoder(TABLE).decode("chat", "noise", b"[1]") == Emitted("log", {"was": [1]})


def test_it_is_of_its_kind_only() -> None:
    assert Decoder(TABLE).decode("user", "token", b"1") == Emitted("token", 1)


def test_what_does_not_become_a_fact_of_today_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Decoder(TABLE).decode("chat", "token", b'{"block":"2","token":"Hi"}')


@pytest.mark.parametrize(
    ("name", "data"), [("said", b'{"text":"Hi","mood":"gay"}'), ("token", b'{"block":0,"token":"x"}'), ("noise", b"[1]"), ("log", b"{}")]
)
def test_whoever_chooses_by_names_first_is_given_those_of_today(name: str, data: bytes) -> None:
    decoder, old = Decoder(TABLE), stored(name, data)
    new = decoder.today(old)
    assert new.type == chain(TABLE, "chat", name)[0]
    assert Decoder({}).decode_event(new) == decoder.decode_event(old)
    assert msgspec.structs.replace(new, type=old.type, data=old.data) == old


def test_upcasts_that_lead_nowhere_are_found_at_once() -> None:
    same: Any = lambda old: old  # noqa: E731
    with pytest.raises(EndlessUpcast, match="chat/a"):
        Decoder({("chat", "a"): Upcast("b", same), ("chat", "b"): Upcast("a", same)})


def test_todays_upcasts_lead_to_types_of_today_and_from_none_of_them() -> None:
    for kind, name in UPCASTS:
        assert chain(UPCASTS, kind, name)[0] in TYPES[kind]
        assert name not in TYPES[kind], f"{kind}/{name} has a class and an upcast"
    assert DECODER.decode("chat", "message_delta", b'{"index":0,"text":"x"}') == MessageDelta(0, "x")


def test_what_sql_chooses_by_is_never_renamed() -> None:
    assert TYPES["chat"].keys() >= KNOWN_TO_SQL
    assert not KNOWN_TO_SQL & {name for kind, name in UPCASTS if kind == "chat"}
    folder = Path(__file__).parents[3] / "sql"
    said = "".join(file.read_text() for name in ("migrations", "functions", "queries") for file in (folder / name).glob("*.sql"))
    assert {name for name in TYPES["chat"] if f"'{name}'" in said} <= KNOWN_TO_SQL
