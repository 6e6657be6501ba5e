"""What a log may not hold, without a database: whole logs pass, and each damage is named where it stands."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, strategies
from msgspec.structs import replace

from domain.accounts.user.facts import UserCreated
from domain.chat.facts import ChatCreated, MessageAdded, MessageEdited
from domain.generation import (
    ActionRan,
    BlockOpened,
    BlockSum,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
    Timings,
)
from domain.log.codec import Decoder, encode, encode_actor
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import Kind
from domain.log.upcasting import Upcast
from domain.routing.function import FunctionChanged, FunctionCreated, SourceRef
from domain.verify.blobs import StoredBlob
from domain.verify.finding import Finding, LogRow, RowHeader, Rows
from domain.verify.log import LISTED_MAX, Report, Verification
from tests.domain.histories import FEW, NODE, OWNER, History, histories, sha256

A, B, Q, M = (UUID(int=number) for number in (0xA, 0xB, 1, 2))


def entry(
    position: int,
    version: int,
    event: Event[Any],
    *,
    stream: UUID = A,
    kind: Kind = "chat",
    at_us: int | None = None,
    actor: bytes | None = None,
) -> LogRow:
    name, data = encode(event.data)
    message_id = event.message_id.bytes if event.message_id is not None else None
    return LogRow(position, version, stream.bytes, position * 1000 if at_us is None else at_us, kind, message_id, actor, name, data)


def log_of(*events: Event[Any]) -> list[LogRow]:
    return [entry(number, number, event) for number, event in enumerate(events, 1)]


def ended(text: str, *blocks: tuple[Any, str], deltas: int, content: Any = None) -> MessageEnded:
    sums = [BlockSum(index, type_, sha256(said)) for index, (type_, said) in enumerate(blocks)]
    return MessageEnded(text if content is None else content, sums, sha256(text), "stop", None, Timings(1, 2), deltas)


START = Event(M, MessageStarted(Q, "demo", "demo", M, NODE))
ANSWER: list[Event[Any]] = [
    Event(None, ChatCreated(OWNER, "t")),
    Event(Q, MessageAdded(None, "user", "Hi")),
    START,
    Event(M, BlockOpened(0, "reasoning")),
    Event(M, MessageDelta(0, "Hm")),
    Event(M, BlockOpened(1, "text")),
    Event(M, MessageDelta(1, "Hel")),
    Event(M, MessageDelta(1, "lo 🦉", 3)),
    Event(M, ended("Hello 🦉", ("reasoning", "Hm"), ("text", "Hello 🦉"), deltas=3)),
]


def rows_of(entries: Sequence[LogRow]) -> Rows:
    """As they are read: those with the same head are one run."""
    runs: list[tuple[RowHeader, int, int]] = []
    for at, one in enumerate(entries):
        head = RowHeader(one.stream_id, one.kind, one.message_id, one.type, one.actor)
        begin = runs.pop()[1] if runs and runs[-1][0] == head else at
        runs.append((head, begin, at + 1))
    positions, versions, times_us, data = zip(*((one.position, one.version, one.at_us, one.data) for one in entries), strict=True)
    return Rows(positions, versions, times_us, data, runs)


def verified(
    entries: Sequence[LogRow], *, size: int = 3, first: int = 1, of_stream: bool = False, blobs: Sequence[StoredBlob] = (), **more: Any
) -> Report:
    verifying = Verification(first=first, of_stream=of_stream, **more)
    for at in range(0, len(entries), size):
        verifying.add_rows(rows_of(entries[at : at + size]))
    for blob in blobs:
        verifying.add(verifying.blobs.compare(blob))
    verifying.add(verifying.blobs.left())
    return verifying.report(entries[-1].position if entries else 0)


def named(report: Report) -> list[tuple[str, int | None]]:
    return [(finding.check, finding.position) for finding in report.findings]


def changed(entries: Sequence[LogRow], position: int, **fields: Any) -> list[LogRow]:
    return [replace(one, **fields) if one.position == position else one for one in entries]


# ---------------------------------------------------------------------------------------------------------------- whole


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_log_as_it_was_written_is_whole(size: int) -> None:
    report = verified(log_of(*ANSWER), size=size)
    assert (report.is_whole, report.events, report.findings, report.open_answers) == (True, 9, [], 0)


def test_an_answer_that_is_still_streamed_is_no_damage() -> None:
    report = verified(log_of(*ANSWER[:-1]))
    assert (report.is_whole, report.open_answers) == (True, 1)


@pytest.mark.parametrize(
    "end", [GenerationFailed("x", "y"), GenerationCancelled(None), GenerationInterrupted(NODE)], ids=lambda end: type(end).__name__
)
def test_an_answer_that_was_cut_off_says_the_text_so_far(end: Any) -> None:
    assert verified(log_of(*ANSWER[:-1], Event(M, replace(end, content="Hello 🦉")))).is_whole
    assert verified(log_of(*ANSWER[:-1], Event(M, replace(end, content="Hello 🦉 and what the log did not take")))).is_whole
    assert named(verified(log_of(*ANSWER[:-1], Event(M, replace(end, content="Hello"))))) == [("answers", 9)]
    assert named(verified(log_of(*ANSWER[:-1], Event(M, replace(end, content=None))))) == [("answers", 9)]


def test_types_that_nobody_knows_are_tolerated_in_chats_only() -> None:
    assert verified(log_of(*ANSWER[:2], Event(Q, Emitted("something:new", [1])))).is_whole
    in_user = [entry(1, 1, Event(None, UserCreated("n", "e", "user")), kind="user"), entry(2, 2, Event(None, Emitted("x", 1)), kind="user")]
    assert named(verified(in_user)) == [("facts", 2)]


@FEW
@given(histories())
def test_random_histories_are_whole(history: History) -> None:
    report = verified(log_of(*history.events), size=7)
    assert report.findings == []
    assert report.open_answers == len(history.state.open_generations)


@FEW
@given(histories(), strategies.data())
def test_a_byte_that_is_changed_in_what_the_hashes_cover_is_found(history: History, data: strategies.DataObject) -> None:
    entries = log_of(*history.events)
    whole = {event.message_id for event in history.events if isinstance(event.data, MessageEnded)}
    texts = [
        one
        for one, event in zip(entries, history.events, strict=True)
        if isinstance(event.data, MessageDelta) and event.message_id in whole
    ]
    if not texts:
        return
    chosen = data.draw(strategies.sampled_from(texts))
    text = msgspec.json.decode(chosen.data)["text"]
    begin = chosen.data.index(b'"text":') + len(b'"text":"')
    at = data.draw(strategies.integers(begin, begin + len(msgspec.json.encode(text)) - 3))
    byte = data.draw(strategies.integers(0, 255).filter(lambda byte: byte != chosen.data[at]))
    forged = chosen.data[:at] + bytes([byte]) + chosen.data[at + 1 :]
    try:
        if msgspec.json.decode(forged)["text"] == text:
            return  # the same text, spelled in another way: nothing that was said is another thing
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        pass
    report = verified(changed(entries, chosen.position, data=forged))
    assert report.first_bad_position is not None
    assert report.first_bad_position >= chosen.position
    assert {finding.message_id for finding in report.findings} == {UUID(bytes=chosen.message_id or b"")}


DAMAGES: list[dict[str, Any]] = [
    {"version": 900},
    {"at_us": 1},
    {"kind": None},
    {"kind": "user"},
    {"message_id": None},
    {"message_id": B.bytes},
    {"stream_id": B.bytes},
    {"actor": b"{}"},
    {"actor": encode_actor(Actor(OWNER, "Ada", "user"))},
    {"type": "message_delta"},
    {"type": "no such type"},
    {"data": b"{"},
    {"data": b'{"index":7,"text":"x"}'},
    {"data": b'{"index":-1,"text":"x"}'},
    {"data": b'{"content":{"blob":"x","size_bytes":1}}'},
]


@FEW
@given(histories(), strategies.data())
def test_what_is_found_does_not_hang_on_how_much_is_read_at_once(history: History, data: strategies.DataObject) -> None:
    entries = log_of(*history.events)
    for _ in range(data.draw(strategies.integers(0, 4))):
        at = data.draw(strategies.integers(0, len(entries) - 1))
        entries[at] = replace(entries[at], **data.draw(strategies.sampled_from(DAMAGES)))
        if len(entries) > 1 and data.draw(strategies.booleans()):
            del entries[data.draw(strategies.integers(0, len(entries) - 1))]
    one_by_one = verified(entries, size=1)
    assert one_by_one == verified(entries, size=3) == verified(entries, size=len(entries))
    assert one_by_one.first_bad_position == min(
        (finding.position for finding in one_by_one.findings if finding.position is not None), default=None
    )


# ---------------------------------------------------------------------------------------------------------------- order


def test_rows_that_are_missing_are_named() -> None:
    entries = log_of(*ANSWER)
    one = verified([*entries[:6], *entries[7:]])
    assert named(one) == [("positions", 7), ("versions", 8), ("answers", 9), ("answers", 9), ("answers", 9)]
    assert one.findings[0].text == "position 7 is missing"
    assert one.first_bad_position == 7
    assert verified([*entries[:1], *entries[4:]]).findings[0].text == "positions 2 to 4 are missing"
    assert verified(entries[1:]).findings[0].text == "position 1 is missing"


def test_rows_that_changed_places_are_named() -> None:
    entries = log_of(*ANSWER)
    six, seven = entries[6], entries[7]
    swapped = [*entries[:6], replace(seven, position=7), replace(six, position=8), entries[8]]
    assert named(verified(swapped))[:3] == [("versions", 7), ("versions", 8), ("times", 8)]
    data_only = [*entries[:6], replace(six, data=seven.data), replace(seven, data=six.data), entries[8]]
    assert {position for _, position in named(verified(data_only))} == {9}


def test_time_that_runs_backwards_is_named() -> None:
    report = verified(changed(log_of(*ANSWER), 5, at_us=1))
    assert named(report) == [("times", 5)]
    assert verified(changed(log_of(*ANSWER), 5, at_us=4000)).is_whole, "the same time is no earlier one"


def test_streams_are_counted_each_for_itself() -> None:
    made = ChatCreated(OWNER, "t")
    entries = [entry(1, 1, Event(None, made)), entry(2, 1, Event(None, made), stream=B), entry(3, 3, Event(None, made), stream=B)]
    report = verified(entries)
    assert named(report) == [("versions", 3)]
    assert report.findings[0].text == f"expected version 2 of chat/{B}, found 3"


def test_a_part_is_checked_as_far_as_it_goes() -> None:
    entries = log_of(*ANSWER)
    for first in range(1, 10):
        assert verified(entries[first - 1 :], first=first).is_whole, first
    assert named(verified([*entries[4:6], *entries[7:]], first=5)) == [("positions", 7), ("versions", 8)]


def test_one_stream_has_gaps_in_the_log_but_none_of_its_own() -> None:
    entries = [replace(one, position=one.position * 10) for one in log_of(*ANSWER)]
    assert verified(entries, of_stream=True).is_whole
    swapped = [replace(one, position={50: 60, 60: 50}.get(one.position, one.position)) for one in entries]
    assert named(verified(swapped, of_stream=True)) == [("positions", 50)]


# ---------------------------------------------------------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("position", "fields", "said"),
    [
        (2, {"data": b'{"role":"robot"}'}, "expected the data of a message_added: "),
        (2, {"data": b"{"}, "expected the data of a message_added: "),
        (2, {"type": "Message Added"}, "expected a type of a chat stream, found 'Message Added'"),
        (2, {"message_id": None}, "expected the message that a message_added is about, found none"),
        (1, {"kind": None}, f"expected a stream {A}, found none"),
        (1, {"actor": b'{"id":1}'}, "expected an actor: "),
        (5, {"data": b'{"index":0}'}, "expected the data of a message_delta: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_row_that_says_nothing_is_named(position: int, fields: dict[str, Any], said: str) -> None:
    report = verified(changed(log_of(*ANSWER), position, **fields))
    assert (report.findings[0].check, report.findings[0].position) == ("facts", position)
    assert report.findings[0].text.startswith(said)


def test_who_did_it_is_read_too() -> None:
    assert verified([entry(1, 1, ANSWER[0], actor=encode_actor(Actor(OWNER, "Ada", "user")))]).is_whole


def test_old_types_are_read_with_their_upcasts() -> None:
    decoder = Decoder({("chat", "token"): Upcast("message_delta", lambda old: {"index": old[0], "text": old[1]})})
    entries = changed(log_of(*ANSWER), 7, type="token", data=b'[1,"Hel"]')
    assert verified(entries, decoder=decoder).is_whole
    assert named(verified(changed(entries, 7, data=b"[1]"), decoder=decoder)) == [("facts", 7)]


# -------------------------------------------------------------------------------------------------------------- answers


def test_an_answer_whose_text_was_changed_is_named() -> None:
    report = verified(changed(log_of(*ANSWER), 7, data=encode(MessageDelta(1, "Hal"))[1]))
    assert set(named(report)) == {("answers", 9)}
    assert report.findings[0].message_id == M
    assert sha256("Hello 🦉") in report.findings[0].text
    assert sha256("Hallo 🦉") in report.findings[0].text


def test_what_was_thought_is_covered_too() -> None:
    report = verified(changed(log_of(*ANSWER), 5, data=encode(MessageDelta(0, "Ha"))[1]))
    assert [finding.text.partition(" with")[0] for finding in report.findings] == ["expected block 0 (reasoning)"]


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda end: replace(end, content="Hallo"), "expected a content with sha256"),
        (lambda end: replace(end, content=["Hello"]), "expected a content with sha256"),
        (lambda end: replace(end, sha256="0" * 64), "expected a text with sha256 000"),
        (lambda end: replace(end, deltas=4), "expected 4 deltas, found 3"),
        (lambda end: replace(end, blocks=end.blocks[1:]), "expected the blocks 1 text, found 0 reasoning, 1 text"),
    ],
)
def test_an_end_that_says_something_else_is_named(forge: Callable[[Any], Any], said: str) -> None:
    report = verified(log_of(*ANSWER[:-1], Event(M, forge(ANSWER[-1].data))))
    assert set(named(report)) == {("answers", 9)}
    assert report.findings[0].text.startswith(said)


def test_what_is_streamed_outside_of_its_answer_is_named() -> None:
    late = Event(M, MessageDelta(1, "!"))
    assert named(verified(log_of(*ANSWER, late))) == [("answers", 10)]
    assert named(verified(log_of(*ANSWER, ANSWER[-1]))) == [("answers", 10)]
    assert named(verified(log_of(*ANSWER[:2], late))) == [("answers", 3)]
    assert named(verified(log_of(*ANSWER[:4], START))) == [("answers", 5)]
    assert named(verified(log_of(*ANSWER[:3], late))) == [("answers", 4)]
    assert named(verified(log_of(*ANSWER[:3], Event(M, BlockOpened(1, "text"))))) == [("answers", 4)]


def test_blocks_may_be_streamed_at_once() -> None:
    both = [MessageDelta(0, "a"), MessageDelta(1, "b"), MessageDelta(0, "c"), MessageDelta(1, "d")]
    log = [*ANSWER[:4], Event(M, BlockOpened(1, "text")), *(Event(M, one) for one in both)]
    end = Event(M, ended("bd", ("reasoning", "ac"), ("text", "bd"), deltas=4))
    assert verified(log_of(*log, end), size=100).is_whole


@pytest.mark.parametrize("index", [2, -1])
def test_one_token_in_the_middle_that_goes_nowhere_is_named_alone(index: int) -> None:
    text = [Event(M, MessageDelta(1, "x")) for _ in range(5)]
    log = log_of(*ANSWER[:6], *text, Event(M, MessageDelta(index, "?")), *text, Event(M, ended("Hel" + "x" * 10, deltas=0)))
    report = verified(log, size=100)
    assert named(report) == [("answers", 12)]
    assert report.findings[0].text == f"expected a block below 2, found a delta of block {index}"


def test_one_token_in_the_middle_that_can_not_be_read_is_named_alone() -> None:
    text = [Event(M, MessageDelta(1, "x")) for _ in range(5)]
    report = verified(changed(log_of(*ANSWER[:6], *text, ANSWER[-1]), 9, data=b'{"index":1}'), size=100)
    assert named(report) == [("facts", 9)]


# ---------------------------------------------------------------------------------------------------------------- blobs


def test_large_content_is_where_the_event_says() -> None:
    said = "Hello 🦉".encode()
    digest = bytes.fromhex(sha256("Hello 🦉"))
    reference = {"blob": digest.hex(), "size_bytes": len(said)}
    log = log_of(*ANSWER[:-1], Event(M, replace(ANSWER[-1].data, content=reference)))
    assert verified(log, blobs=[StoredBlob(A.bytes, digest, digest, len(said))]).is_whole
    missing = verified(log)
    assert named(missing) == [("blobs", 9)]
    assert missing.findings[0].text == f"expected a blob {digest.hex()}, found none"
    broken = verified(log, blobs=[StoredBlob(A.bytes, digest, bytes(32), len(said))])
    assert named(broken) == [("blobs", 9)]
    elsewhere = verified(log, blobs=[StoredBlob(B.bytes, digest, digest, len(said))])
    assert named(elsewhere) == [("blobs", 9)]
    of_another_answer = log_of(*ANSWER[:-1], Event(M, replace(ANSWER[-1].data, content={"blob": "00" * 32, "size_bytes": len(said)})))
    assert ("answers", 9) in named(verified(of_another_answer, blobs=[StoredBlob(A.bytes, bytes(32), bytes(32), len(said))]))


def test_what_a_filter_has_changed_and_an_action_returned_is_where_the_event_says() -> None:
    digest = bytes.fromhex(sha256("x"))
    reference = {"blob": digest.hex(), "size_bytes": 1}
    for fact in (
        FilterApplied("f", "stream", "function", 1, 1, digest.hex(), sha256("y"), reference),
        ActionRan("a", "0" * 64, 0, reference),
    ):
        log = log_of(*ANSWER, Event(M, fact))
        assert verified(log, blobs=[StoredBlob(A.bytes, digest, digest, 1)]).is_whole
        missing = verified(log)
        assert [text.text for text in missing.findings] == [f"expected a blob {digest.hex()}, found none"]
        assert named(verified(log, blobs=[StoredBlob(A.bytes, digest, digest, 2)])) == named(missing)


def test_an_answer_that_an_outlet_has_changed_is_whole() -> None:
    assert verified(log_of(*ANSWER, Event(M, MessageEdited({"content": "changed", "originalContent": "Hello 🦉"})))).is_whole


def test_the_source_of_a_function_is_a_blob_that_has_to_be_there() -> None:
    source = b"class Filter: pass"
    digest = hashlib.sha256(source).digest()
    made = FunctionCreated("f", "filter", "F", SourceRef(digest.hex(), len(source)))
    log = [entry(1, 1, Event(None, made), kind="function"), entry(2, 2, Event(None, FunctionChanged(name="G")), kind="function")]
    assert verified(log, blobs=[StoredBlob(A.bytes, digest, digest, len(source))]).is_whole
    assert named(verified(log)) == [("blobs", 1)]
    assert named(verified(log, blobs=[StoredBlob(A.bytes, digest, bytes(32), len(source))])) == [("blobs", 1)]


def test_a_blob_that_nobody_refers_to_is_checked_and_allowed() -> None:
    assert verified(log_of(*ANSWER), blobs=[StoredBlob(A.bytes, bytes(32), bytes(32), 1)]).is_whole
    assert named(verified(log_of(*ANSWER), blobs=[StoredBlob(A.bytes, bytes(32), b"\1" * 32, 1)])) == [("blobs", None)]


@pytest.mark.parametrize("content", [{"blob": "00" * 32, "size_bytes": 5}, {"blob": "nonsense", "size_bytes": 5}, {"blob": 7}])
def test_a_person_may_write_what_only_looks_like_a_reference(content: Any) -> None:
    assert verified(log_of(ANSWER[0], Event(Q, MessageAdded(None, "user", content)))).is_whole


# --------------------------------------------------------------------------------------------------------------- report


def test_every_damage_is_counted_and_the_first_ones_are_listed() -> None:
    entries = [entry(number, 1, ANSWER[0], stream=A) for number in range(1, 101)]
    report = verified(entries)
    assert report.counts == {"versions": 99}
    assert (len(report.findings), report.first_bad_position) == (LISTED_MAX, 2)


def test_what_stands_at_no_position_comes_last() -> None:
    verifying = Verification()
    verifying.add([Finding(check="x", position=None, text=""), Finding(check="y", position=3, text="")])
    assert named(verifying.report(3)) == [("y", 3), ("x", None)]
