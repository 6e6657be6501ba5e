"""Packets of Engine.IO and Socket.IO: those that a page sends are understood, all others refused."""

from typing import Any

import pytest

from api.dialects.open_webui.packets import (
    Ack,
    Connect,
    Disconnect,
    Event,
    OtherNamespace,
    Ping,
    Pong,
    acknowledged,
    connected,
    encoded,
    event,
    opening,
    parse,
    pieces_of_event,
    refused,
)
from domain.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("2", Ping("")),
        ("2probe", Ping("probe")),
        ("3", Pong()),
        ("1", Disconnect()),
        ("41", Disconnect()),
        ("40", Connect(None)),
        ('40{"token":"t"}', Connect({"token": "t"})),
        ('40/admin,{"token":"t"}', OtherNamespace("/admin")),
        ('42["user-join",{"auth":{"token":"t"}}]', Event("user-join", {"auth": {"token": "t"}}, None)),
        ('4217["events:chat",{"chat_id":"c"}]', Event("events:chat", {"chat_id": "c"}, 17)),
        ('42["heartbeat"]', Event("heartbeat", None, None)),
        ("430[true]", Ack(0, True)),
        ("4312[]", Ack(12, None)),
    ],
)
def test_what_a_page_sends_is_understood(text: str, packet: Any) -> None:
    assert parse(text) == packet


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "5",
        "6",
        "4",
        "49",
        "44",
        '42{"a":1}',
        "42[]",
        "42[1]",
        "42[",
        "43[1]",
        "43x[1]",
        "450-[]",
        "46[]",
        '42/admin,["x"]',
        "40{",
        "4" * 40 + "[]",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse(text)


def test_nested_beyond_the_stack_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse('42["x",' + "[" * 100_000 + "]" * 100_000 + "]")


def test_what_the_server_sends_is_what_the_client_reads() -> None:
    assert opening("s", 25.0, 20.0, 1000) == b'0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}'
    assert connected("s", "p") == b'40{"sid":"s","pid":"p"}'
    assert event("events", {"a": 1}) == b'42["events",{"a":1}]'
    assert event("events", None, 7) == b'427["events",null]'
    assert b"".join(pieces_of_event(b"x", encoded([1]))) == b'42["x",[1]]'
    assert b"".join(pieces_of_event(b"x", encoded([1]), b"o")) == b'42["x",[1],"o"]'
    assert acknowledged(7, True) == b"437[true]"
    assert refused("/admin") == b'44/admin,{"message":"Invalid namespace"}'
