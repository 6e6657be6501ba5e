"""Cutting a byte stream into lines, whatever the reads were."""

from typing import Final

from domain.errors import ProviderFailed

BOM: Final = b"\xef\xbb\xbf"  # a byte order mark, which some servers put in front
EVENT_BYTES_MAX: Final = 4 * 1024 * 1024  # one event of a stream; a whole answer that did not stream is one too
LINE_OVERHEAD_BYTES: Final = 64  # what a kept line costs beside its text: a million empty lines are not nothing


class LineSplitter:
    """``feed`` returns the lines that are complete, without their ends; ``finish`` the one that never was.

    LF, CRLF and CR end a line, as in the SSE standard. Raises ``ProviderFailed`` when a line is larger than
    ``bytes_max``: a peer without line ends must not fill the memory.
    """

    __slots__ = ("_after_cr", "_bytes_max", "_rest_bytes", "rest")

    def __init__(self, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.rest: list[bytes] = []  # joined only when the line is whole: joining at every read would be quadratic
        self._rest_bytes = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 10:  # the LF of a CRLF that was cut in two
                data = data[1:]
        if 13 in data:  # a CR
            self._after_cr = data[-1] == 13
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            if self.rest:
                lines[0] = b"".join((*self.rest, lines[0]))
                self.rest.clear()
            self._rest_bytes = len(rest)
        else:
            self._rest_bytes += len(rest)
        if rest:
            self.rest.append(rest)
        if self._rest_bytes > self._bytes_max or (lines and len(lines[0]) > self._bytes_max):
            raise too_large(self._bytes_max)
        return lines

    def finish(self) -> bytes:
        """What came after the last line end. Taken back, it may be fed again in front of what follows it."""
        if not self.rest:
            return b""
        rest = b"".join(self.rest)
        self.rest.clear()
        self._rest_bytes = 0
        return rest


def too_large(bytes_max: int) -> ProviderFailed:
    return ProviderFailed("provider_garbage", f"expected events of at most {bytes_max} bytes, received a larger one")
