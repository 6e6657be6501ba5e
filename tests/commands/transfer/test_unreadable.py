"""Files from elsewhere that no decoder can read: nested beyond its stack, or no UTF-8. Each is refused by its name."""

import io
from collections.abc import Callable
from uuid import UUID

import pytest

from adapters.files.json_items import items
from api.cli.chat.replay import event_of
from commands.transfer import chitchat, open_webui
from domain.errors import BadLine, ImportRefused, StenographError
from domain.log.jsonlines import parse_line

OWNER = UUID(int=7)
UNREADABLE = {
    "arrays": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "no UTF-8": b'"\xff"',
}
LINE = b'{"stream":"chat/00000000-0000-0000-0000-000000000007","version":1,"at":"2026-01-01T00:00:00Z","type":"x","user":null,"data":%b}'

READERS: dict[str, tuple[Callable[[bytes], object], type[StenographError]]] = {
    "exported chat": (lambda raw: open_webui.decoded(raw, "x"), ImportRefused),
    "exported message": (lambda raw: open_webui.decoded(b'{"chat":{"history":{"messages":{"a":%b}}}}' % raw, "x"), ImportRefused),
    "conversation": (lambda raw: chitchat.whole_chat("x", b'{"messages":[],"ratings":%b}' % raw, OWNER, streams=False), ImportRefused),
    "line": (parse_line, BadLine),
    "event of a line": (lambda raw: parse_line(LINE % raw), BadLine),
    "line of a replay": (event_of, BadLine),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_refused_by_its_name(reader: str, what: str) -> None:
    read, refusal = READERS[reader]
    with pytest.raises(refusal):
        read(UNREADABLE[what])


@pytest.mark.parametrize("what", UNREADABLE)
def test_an_item_that_cannot_be_read_does_not_hide_the_next(what: str) -> None:
    found = list(items(io.BytesIO(b"[%b,{}]" % UNREADABLE[what]).read))
    assert len(found) == 2
    with pytest.raises(ImportRefused):
        open_webui.decoded(bytes(found[0].raw), "x")
    assert bytes(found[1].raw) == b"{}"
