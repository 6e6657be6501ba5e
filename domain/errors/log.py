"""Streams, cursors, lines of exports, and a log that does not answer."""

from uuid import UUID

from domain.errors.kinds import Refusal, Unavailable


class BadStreamName(Refusal):
    code = "bad_stream_name"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"expected a stream as kind/uuid, received {name[:100]!r}")


class BadCursor(Refusal):
    code = "bad_cursor"

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(f"expected a cursor as epoch:number, start or now, received {cursor[:100]!r}")


class StreamNotFound(Refusal):
    """No such stream, or not for this user."""

    code = "stream_not_found"

    def __init__(self, stream: object) -> None:
        self.stream = stream
        super().__init__(f"no stream {stream} that you may read")


class ClaimTaken(Refusal):
    code = "claim_taken"

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        super().__init__(f"this {kind} is taken already")  # never the key: it may be an e-mail address


class CursorGone(Refusal):
    code = "cursor_gone"

    def __init__(self, cursor: str, *, epoch: UUID, head: int) -> None:
        self.cursor, self.epoch, self.head = cursor, epoch, head
        if cursor.startswith(f"{epoch}:"):
            super().__init__(f"cursor {cursor[:100]!r} is above the head, {epoch}:{head}")
        else:
            super().__init__(f"cursor {cursor[:100]!r} is of another epoch than this log, which is at {epoch}:{head}")


class BeforeFirstEvent(Refusal):
    code = "before_first_event"

    def __init__(self, stream: object, at: object) -> None:
        self.stream, self.at = stream, at
        super().__init__(f"expected a time at which {stream} was there, received {at}, before its first event")


class BadLine(Refusal):
    """Its text says which key is wrong. ``where`` says where the line stands, once that is known."""

    code = "bad_line"

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason, self.where = reason, where
        super().__init__(f"{where}: {reason}" if where else reason)


class LogUnavailable(Unavailable):
    """Postgres was silent. What was sent may have been written: repeat it with the same command id."""

    code = "log_unavailable"

    @property
    def detail(self) -> str:
        """Without the driver's words: they name hosts and paths, and are for our own log."""
        return "the log does not answer now; what was sent may have been written: repeat it with the same Idempotency-Key"


class ProjectionBehind(Unavailable):
    code = "projection_behind"

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(f"lists and searches do not hold position {position} yet; is the projection paused? steno projections list")
