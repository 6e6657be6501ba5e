"""The items of a file, however it is cut into pieces; what is broken names the byte, and what came before it is whole."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, strategies

from adapters.files import json_items
from adapters.files.json_items import Item, NotJson, items
from tests.domain.histories import FEW, JSON


def reader(data: bytes, piece: int) -> Any:
    file = io.BytesIO(data)
    return lambda size: file.read(min(size, piece))


def read(data: bytes, piece: int = 1 << 20, *, members: bool = False) -> list[Item]:
    return list(items(reader(data, piece), members=members))


def broken(data: bytes, *, members: bool = False) -> tuple[list[bytes], NotJson]:
    whole: list[bytes] = []
    with pytest.raises(NotJson) as error:
        whole.extend(item.raw for item in items(reader(data, 3), members=members))
    return whole, error.value


@FEW
@given(strategies.lists(JSON, max_size=5), strategies.integers(1, 40), strategies.sampled_from([None, 1, "\t"]))
def test_an_array_gives_its_elements_wherever_it_is_cut(values: list[Any], piece: int, indent: Any) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=piece % 2 == 0).encode()
    found = read(data, piece)
    assert [json.loads(item.raw) for item in found] == values
    assert [data[item.offset : item.end] for item in found] == [item.raw for item in found]


@FEW
@given(strategies.dictionaries(strategies.text(max_size=5), JSON, max_size=5), strategies.integers(1, 40))
def test_an_object_gives_its_members_or_itself(values: dict[str, Any], piece: int) -> None:
    data = json.dumps(values).encode()
    assert {item.key: json.loads(item.raw) for item in read(data, piece, members=True)} == values
    assert [json.loads(item.raw) for item in read(data, piece)] == [values]


@FEW
@given(strategies.lists(strategies.dictionaries(strategies.text(max_size=3), JSON, max_size=3), min_size=1, max_size=4), strategies.data())
def test_half_a_file_gives_what_is_whole_and_says_where_it_ends(values: list[Any], data: strategies.DataObject) -> None:
    text = json.dumps(values).encode()
    cut = data.draw(strategies.integers(1, len(text) - 1))
    whole, error = broken(text[:cut])
    assert [json.loads(one) for one in whole] == values[: len(whole)]
    assert len(whole) >= sum(item.end < cut for item in read(text))
    assert "ends" in error.reason
    assert error.offset <= cut


def test_a_broken_item_does_not_take_its_neighbours_along() -> None:
    for middle in (b'{"a" 1, "b": "]}"}', b'{"a": "\\ud800"}', b'{"a": nope}', b'{"a": 01}', b"{'a': 1}"):
        assert [item.raw for item in read(b'[{"a":1},' + middle + b',{"c":3}]', 2)] == [b'{"a":1}', middle, b'{"c":3}']


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"", "empty", 0),
        (b"   ", "empty", 0),
        (b"nope", "expected an array or an object", 0),
        (b"[1 2]", "expected , or ]", 3),
        (b"[1,]", "no JSON", 3),
        (b"[1]x", "something after the end", 3),
        (b'[{"a":1},nope]', "no JSON", 10),
        (b'[{"a":1}', "ends", 8),
    ],
)
def test_what_is_no_json_is_named_by_its_byte(data: bytes, reason: str, offset: int) -> None:
    _, error = broken(data)
    assert reason in str(error)
    assert error.offset == offset


def test_a_member_without_a_name_or_a_colon_is_refused() -> None:
    assert broken(b"{1:2}", members=True)[1].offset == 1
    assert broken(b'{"a" 2}', members=True)[1].offset == 5


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf[1]", 2)[0].raw == b"1"


def test_no_more_is_held_than_the_largest_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "ITEM_BYTES_MAX", 1 << 12)
    monkeypatch.setattr(json_items, "READ_BYTES", 1 << 8)
    assert len(read(b"[" + b",".join([b'"' + b"x" * 1000 + b'"'] * 50) + b"]", 1 << 8)) == 50
    _, error = broken(b'[["' + b"x" * 100_000 + b'"]]')
    assert "more than 4,096 bytes" in str(error)


def test_objects_one_after_the_other_are_an_item_each() -> None:
    assert [item.raw for item in read(b'{"a":1}\n{"b":2}\n', 2)] == [b'{"a":1}', b'{"b":2}']
    assert broken(b'{"a":1}\n{"b":')[0] == [b'{"a":1}']


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("before", ["", '"success": true, "request_id": "x", "n": 1.5, "z": null,'])
@pytest.mark.parametrize("after", ["", ', "more": {"a": [1]}, "x": 2'])
@pytest.mark.parametrize("name", ["chats", "data", "conversations"])
def test_an_array_in_an_object_gives_its_elements(name: str, before: str, after: str, piece: int) -> None:
    data = f'{{ {before} "{name}" : [ {{"a": 1}}, {{"b": 2}} ]{after} }} '.encode()
    assert [json.loads(item.raw) for item in read(data, piece)] == [{"a": 1}, {"b": 2}]


def test_an_object_that_only_has_such_a_member_further_down_is_one_item() -> None:
    data = b'{"chat": {"history": {}}, "data": [1, 2]}'
    assert [item.raw for item in read(data)] == [data]


def test_an_array_in_an_object_that_is_cut_off_is_told_so() -> None:
    whole, error = broken(b'{"chats": [{"a": 1}, {"b": 2}]')
    assert (whole, "ends before it is complete" in str(error)) == ([b'{"a": 1}', b'{"b": 2}'], True)
