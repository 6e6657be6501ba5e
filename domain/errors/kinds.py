"""The kinds of refusal and failure."""

from typing import ClassVar


class StenographError(Exception):
    """The root. ``code`` is the stable name of the fact on the wire."""

    code: ClassVar[str] = "internal"

    @property
    def detail(self) -> str:
        return str(self)


class Refusal(StenographError):
    code = "refused"


class ConcurrencyConflict(StenographError):
    """Nothing was written. ``current`` is -1 where it is not known."""

    code = "version_conflict"

    def __init__(self, stream: object, *, expected: int, current: int) -> None:
        self.stream, self.expected, self.current = stream, expected, current
        super().__init__(f"{stream}: expected version {expected}, the stream is at {current}")


class TooManyLostRaces(ConcurrencyConflict):
    code = "too_many_lost_races"

    def __init__(self, stream: object, attempts: int) -> None:
        self.attempts = attempts
        super().__init__(stream, expected=-1, current=-1)
        self.args = (f"{stream}: lost {attempts} races in a row against other writers",)


class Unavailable(StenographError):
    code = "unavailable"


class Overloaded(Unavailable):
    code = "overloaded"

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"{queue} is full at {limit}")
