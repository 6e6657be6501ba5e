"""The items of a JSON file that is larger than memory: those of its array, or the members of its object, one after the other.

The decoder itself says where a value ends: given more than one, it names the byte at which the next thing begins; given less,
it says that its input ends. So a value is looked through once, at the decoder's own speed, and no more than the largest is held.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from domain.log.codec import UNREADABLE

READ_BYTES: Final = 1024 * 1024
ITEM_BYTES_MAX: Final = 512 * 1024 * 1024  # of one item; a chat is held whole
SPACE: Final = b" \t\r\n"
TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")
AT_BYTE: Final = re.compile(r" \(byte (\d+)\)")
TRUNCATED: Final = "truncated"
# An object that holds the chats beside a few plain members, as some systems export them. Looked for in its first bytes.
WRAPPED: Final = re.compile(
    rb'\{(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|true|false|null|[-+.\deE]+)\s*,)*\s*"(?:chats|data|conversations)"\s*:\s*(?=\[)'
)
WRAPPING_BYTES_MAX: Final = 4096
SCALAR_END: Final = re.compile(rb"[,\]}\s]")
TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)  # a quote alone: the string goes on

_raw = msgspec.json.Decoder(msgspec.Raw)


class Item(NamedTuple):
    key: str | None  # of a member
    raw: bytes
    offset: int  # in the file, of its first byte
    end: int


class NotJson(Exception):
    """From ``offset`` on this is no JSON, or too large; ``item_offset`` is where the item begins that it is found in."""

    def __init__(self, offset: int, item_offset: int, reason: str) -> None:
        self.offset, self.item_offset, self.reason = offset, item_offset, reason
        super().__init__(f"{reason}, at byte {offset:,}")


class Window:
    """What is read of a file and not yet used. ``at`` is an index into ``data``."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.data = b""
        self.at = 0
        self.before = 0  # bytes of the file before ``data``
        self.is_over = False

    @property
    def offset(self) -> int:
        return self.before + self.at

    def more(self, size: int = READ_BYTES) -> bool:
        """False at the end of the file."""
        piece = b"" if self.is_over else self._read(size)
        if not piece:
            self.is_over = True
            return False
        self.before += self.at
        self.data = self.data[self.at :] + piece
        self.at = 0
        return True

    def peek(self) -> bytes:
        """The next byte that is no space; empty at the end of the file."""
        while True:
            while self.at < len(self.data):
                byte = self.data[self.at : self.at + 1]
                if byte not in SPACE:
                    return byte
                self.at += 1
            if not self.more():
                return b""

    def value(self) -> bytes:
        """The next value, of which nothing is known but where it ends: it may be no JSON inside. Raises ``NotJson``."""
        if self.peek() not in (b"{", b"[", b'"'):  # a number may go on where the window ends
            while SCALAR_END.search(self.data, self.at) is None and self.more():
                pass
        while True:
            with memoryview(self.data) as view, view[self.at :] as rest:
                size, error = end_of(rest)
            if error is not None and not self.is_over and TRUNCATED in error:
                held = len(self.data) - self.at
                if held > ITEM_BYTES_MAX:
                    raise NotJson(self.offset, self.offset, f"one item has more than {ITEM_BYTES_MAX:,} bytes")
                self.more(max(READ_BYTES, held))  # twice as much each time: what is looked through again stays in proportion
                continue
            if error is not None:
                size = self._balanced(error)
            found = self.data[self.at : self.at + size]
            self.at += size
            return found

    def _balanced(self, error: str) -> int:
        """The size of an item that is no JSON inside, by its brackets: those who come after it are not to suffer for it."""
        at = AT_BYTE.search(error)
        where = self.offset + (int(at[1]) if at is not None else 0)
        reason = AT_BYTE.sub("", error).removeprefix("JSON is malformed: ")
        if self.data[self.at : self.at + 1] not in (b"{", b"["):
            if TRUNCATED in error:
                raise NotJson(self.before + len(self.data), self.offset, "the file ends before it is complete")
            raise NotJson(where, self.offset, f"this is no JSON: {reason}")
        depth, looked = 0, self.at
        while True:
            for token in TOKEN.finditer(self.data, looked):
                if token[0] == b'"':
                    looked = token.start()
                    break
                looked = token.end()
                depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
                if depth == 0:
                    return looked - self.at
            held, looked = len(self.data) - self.at, looked - self.at
            if held > ITEM_BYTES_MAX or not self.more(max(READ_BYTES, held)):
                if TRUNCATED in error:
                    raise NotJson(self.before + len(self.data), self.offset, "the file ends in the middle of an item")
                raise NotJson(where, self.offset, f"this is no JSON: {reason}; and the file ends in the middle of this item")

    def expect(self, wanted: bytes) -> bytes:
        """One of these bytes is next: it is passed over."""
        found = self.peek()
        if not found:
            raise NotJson(self.offset, self.offset, "the file ends before it is complete")
        if found not in wanted:
            raise NotJson(self.offset, self.offset, f"this is no JSON: expected {' or '.join(map(chr, wanted))}, found {found!r}"[:200])
        self.at += 1
        return found


def end_of(data: memoryview) -> tuple[int, str | None]:
    """The size of the value that ``data`` begins with, or what is wrong with it."""
    try:
        _raw.decode(data)
    except RecursionError:
        return 0, "it is nested too deeply"
    except msgspec.DecodeError as error:
        trailing = TRAILING.search(str(error))
        if trailing is None:
            return 0, str(error)
        # It counts the byte that it stumbles over, or not: what it then takes as a whole is right.
        for size in (int(trailing[1]) - 1, int(trailing[1])):
            with contextlib.suppress(msgspec.DecodeError), data[:size] as found:
                _raw.decode(found)
                return len(bytes(found).rstrip()), None
        return 0, str(error)
    return len(bytes(data).rstrip()), None


def items(read: Callable[[int], bytes], *, members: bool = False) -> Iterator[Item]:
    """The elements of an array, also of ``{"chats": […]}``; of another object its members, or with ``members`` False the object itself, and
    those that follow it.

    ``read(n)`` gives some of the next bytes of the file, empty at its end. Raises ``NotJson`` where the file is cut off or no
    JSON: what came before is whole.
    """
    window = Window(read)
    first = window.peek()
    if first == b"\xef":  # a byte order mark, as some editors leave it
        while len(window.data) < 3 and window.more():
            pass
        window.at += 3
        first = window.peek()
    if first == b"":
        raise NotJson(0, 0, "the file is empty")
    wrapped = wrapping(window) if first == b"{" and not members else None
    if wrapped is not None:
        window.at = wrapped.end()
        yield from inside(window, is_object=False)
        skip_members(window)
    elif first == b"{" and not members:
        while window.peek():  # newer servers write a chat a line
            yield whole(window)
    elif first in (b"[", b"{"):
        yield from inside(window, is_object=first == b"{")
    else:
        raise NotJson(window.offset, window.offset, f"expected an array or an object, found {first!r}")
    if window.peek():
        raise NotJson(window.offset, window.offset, "there is something after the end")


def wrapping(window: Window) -> re.Match[bytes] | None:
    while len(window.data) - window.at < WRAPPING_BYTES_MAX and window.more():
        pass
    return WRAPPED.match(window.data, window.at)


def skip_members(window: Window) -> None:
    """To the end of the object that the items stood in."""
    while window.expect(b",}") == b",":
        window.peek()
        window.value()
        window.expect(b":")
        window.peek()
        window.value()


def whole(window: Window) -> Item:
    offset = window.offset
    raw = window.value()
    return Item(None, raw, offset, offset + len(raw))


def inside(window: Window, *, is_object: bool) -> Iterator[Item]:
    closing = b"}" if is_object else b"]"
    window.at += 1
    if window.peek() == closing:
        window.at += 1
        return
    while True:
        key = None
        if is_object:
            window.peek()
            at, raw_key = window.offset, window.value()
            if not raw_key.startswith(b'"'):
                raise NotJson(at, at, "this is no JSON: expected the name of a member")
            key = decoded_key(raw_key)
            window.expect(b":")
        window.peek()
        offset = window.offset
        raw = window.value()
        yield Item(key, raw, offset, offset + len(raw))
        if window.expect(b"," + closing) == closing:
            return


def decoded_key(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        return raw[1:-1].decode(errors="replace")
