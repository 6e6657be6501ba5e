"""A stream's name: ``kind/uuid``, and nothing that only looks like it."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given, strategies

from domain.errors import BadStreamName
from domain.log.stream import KINDS, Stream, parse_stream
from tests.domain.histories import UNHURRIED

A = UUID("01900000-0000-7000-8000-00000000000a")


@UNHURRIED
@given(strategies.sampled_from(KINDS), strategies.uuids())
def test_a_name_names_its_stream(kind: str, stream_id: UUID) -> None:
    assert str(parse_stream(f"{kind}/{stream_id}")) == f"{kind}/{stream_id}"


def test_a_uuid_in_capitals_is_the_same_stream() -> None:
    assert parse_stream(f"chat/{str(A).upper()}") == Stream("chat", A)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "chat",
        "chat/",
        f"/{A}",
        f"Chat/{A}",
        f"folder/{A}",
        f"chat/{A}/",
        f"chat/{A} ",
        f" chat/{A}",
        f"chat//{A}",
        f"chat/{A.hex}",
        f"chat/{{{A}}}",
        f"chat/urn:uuid:{A}",
        "chat/01900000-0000-7000-8000-00000000000g",
        "chat/\ud800",
    ],
)
def test_any_other_spelling_is_refused(name: str) -> None:
    with pytest.raises(BadStreamName):
        parse_stream(name)


@UNHURRIED
@given(strategies.text())
def test_whatever_is_asked_for_is_a_stream_or_refused(name: str) -> None:
    try:
        stream = parse_stream(name)
    except BadStreamName as refused:
        assert refused.name == name
    else:
        assert str(stream) == name.lower()


def test_streams_of_two_kinds_are_two_streams() -> None:
    stream_id = uuid4()
    assert Stream("chat", stream_id) != Stream("user", stream_id)
