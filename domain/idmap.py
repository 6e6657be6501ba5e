"""An immutable mapping from uuid to something, cheap to extend.

A state is never changed in place, and copying a dict of ten thousand messages for each new one would make a long chat
slower than a short one. So the entries stand in 256 small dicts by the last byte of the uuid: adding one copies a 256th of
them and the spine.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar
from uuid import UUID

Value = TypeVar("Value")
BUCKETS = 256


class IdMap(Generic[Value]):
    __slots__ = ("_buckets", "_size")

    def __init__(self) -> None:
        self._buckets: tuple[dict[UUID, Value], ...] = ({},) * BUCKETS
        self._size = 0

    def with_(self, key: UUID, value: Value) -> "IdMap[Value]":
        """The same mapping with ``key`` set."""
        at = key.int & 0xFF
        bucket = self._buckets[at]
        made: IdMap[Value] = IdMap.__new__(IdMap)
        made._buckets = (*self._buckets[:at], {**bucket, key: value}, *self._buckets[at + 1 :])
        made._size = self._size + (key not in bucket)
        return made

    def get(self, key: UUID) -> Value | None:
        return self._buckets[key.int & 0xFF].get(key)

    def __contains__(self, key: UUID) -> bool:
        return key in self._buckets[key.int & 0xFF]

    def __iter__(self) -> Iterator[UUID]:
        for bucket in self._buckets:
            yield from bucket

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self._buckets == other._buckets

    __hash__ = None  # type: ignore[assignment]  # compared by value, like a dict
