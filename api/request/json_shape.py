"""How deep a JSON text is nested and how many values it has, told while it comes in, without decoding it.

A body of 15 MB with nothing but ``{}`` takes 400 MB once decoded, and seconds: its size alone bounds neither.
"""

from typing import Final

from domain.errors import BadRequest, BodyTooLarge

DEPTH_MAX: Final = 200
CONTAINERS_MAX: Final = 100_000  # objects and arrays
VALUES_MAX: Final = 250_000
COLLAPSED: Final = 4  # how often the innermost pairs are removed before brackets are looked at one by one
VALUE_BYTES: Final = 64  # of memory, for one decoded value: an empty object

_BRACKETS: Final = b"[]{}"
_ALL_BUT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(_BRACKETS)))
_OPENING: Final = frozenset(b"[{")


def deepest_and_end(brackets: bytes, depth: int) -> tuple[int, int]:
    """The greatest depth and the last one, of brackets that begin at ``depth``. It looks no further once that is too much."""
    deepest = depth
    for bracket in brackets:
        if bracket in _OPENING:
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > DEPTH_MAX:
                    break
        else:
            depth -= 1
    return deepest, depth


def depth_after(brackets: bytes, depth: int) -> int:
    """The depth after brackets that begin at ``depth``. Raises ``BadRequest`` when one of them is too deep."""
    # Without the innermost pairs, which are most of it, the rest is short. What is left is less deep by two for each time.
    short = brackets
    for _ in range(COLLAPSED):
        short = short.replace(b"{}", b"").replace(b"[]", b"")
    deepest, end = deepest_and_end(short, depth)
    if deepest > DEPTH_MAX - 2 * COLLAPSED:
        deepest, end = deepest_and_end(brackets, depth)
    if deepest > DEPTH_MAX:
        raise BadRequest(f"expected JSON that is nested at most {DEPTH_MAX} deep")
    return end


class JsonShape:
    """Fed with the pieces of one text. ``values`` counts what was seen: containers, and commas outside strings.

    It need not notice what is no JSON: the decoder does, and until then what it decodes is counted here.
    """

    __slots__ = ("_containers", "_depth", "_in_string", "_rest", "values")

    def __init__(self) -> None:
        self.values = 0
        self._containers = 0
        self._depth = 0
        self._in_string = False
        self._rest = b""  # a backslash whose second character is in the next piece

    def feed(self, piece: bytes) -> None:
        """Raises ``BadRequest`` when the text is nested too deeply, ``BodyTooLarge`` when it has too many values."""
        outside = self._outside_strings(piece)
        opened = outside.count(b"[") + outside.count(b"{")
        self._containers += opened
        self.values += opened + outside.count(b",")
        if self._depth + opened <= DEPTH_MAX:
            self._depth += opened - outside.count(b"]") - outside.count(b"}")
        else:
            self._depth = depth_after(outside.translate(None, _ALL_BUT_BRACKETS), self._depth)
        if self._containers > CONTAINERS_MAX:
            raise BodyTooLarge(f"expected a body of at most {CONTAINERS_MAX} objects and arrays")
        if self.values > VALUES_MAX:
            raise BodyTooLarge(f"expected a body of at most {VALUES_MAX} values")

    def _outside_strings(self, piece: bytes) -> bytes:
        """The piece without its strings. Escapes are removed first: then every quote that is left begins or ends a string."""
        if self._rest or b"\\" in piece:
            piece = self._rest + piece
            self._rest = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
            if self._rest:
                piece = piece[:-1]
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[self._in_string :: 2])
        self._in_string ^= len(parts) % 2 == 0
        return outside
