"""An immutable mapping from uuid to something, cheap to extend.

A state is never changed in place, and copying a dict of ten thousand messages for each new one would make a long chat
slower than a short one. So the entries stand in 256 small dicts by the last byte of the uuid: adding one copies a 256th of
them and the spine. Who makes many entries that nobody looks at in between takes a thawed one, which is changed in place.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar
from uuid import UUID

Value = TypeVar("Value")
BUCKETS = 256


class IdMap(Generic[Value]):
    __slots__ = ("_buckets", "_size", "_thawed")

    def __init__(self) -> None:
        self._buckets: tuple[dict[UUID, Value], ...] = ({},) * BUCKETS
        self._size = 0
        self._thawed = False

    def thawed(self) -> "IdMap[Value]":
        """A copy whose ``with_`` changes itself. Only for who folds, and hands on nothing but the ``frozen`` one."""
        return self._made(tuple([dict(bucket) for bucket in self._buckets]), self._size, True)

    def frozen(self) -> "IdMap[Value]":
        """What a thawed one has become. The thawed one must not be used any more."""
        return self._made(self._buckets, self._size, False)

    @classmethod
    def _made(cls, buckets: tuple[dict[UUID, Value], ...], size: int, thawed: bool) -> "IdMap[Value]":
        made: IdMap[Value] = cls.__new__(cls)
        made._buckets, made._size, made._thawed = buckets, size, thawed
        return made

    def with_(self, key: UUID, value: Value) -> "IdMap[Value]":
        """The same mapping with ``key`` set."""
        at = key.int & 0xFF
        bucket = self._buckets[at]
        if self._thawed:
            self._size += key not in bucket
            bucket[key] = value
            return self
        buckets = (*self._buckets[:at], {**bucket, key: value}, *self._buckets[at + 1 :])
        return self._made(buckets, self._size + (key not in bucket), False)

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
