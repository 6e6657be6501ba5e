"""An immutable mapping from uuid to something, cheap to extend; and one of which only some entries are loaded.

A state is never changed in place, and copying a dict of ten thousand messages for each new one would make a long chat
slower than a short one. So the entries stand in 256 small dicts by the last byte of the uuid: adding one copies a 256th of
them and the spine. Who makes many entries that nobody looks at in between takes a thawed one, which is changed in place.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar
from uuid import UUID

Value = TypeVar("Value")
BUCKETS = 256


class NotLoaded(Exception):
    """A partial state was asked for entries that are not loaded. The caller loads them and asks again.

    ``keys`` names the entries. With ``generations`` all open generations of a chat are missing (``Chat.require_generations``), with
    ``calls`` all open calls to users (``Chat.require_calls``).
    """

    def __init__(self, keys: Collection[UUID], *, generations: bool = False, calls: bool = False) -> None:
        super().__init__(f"{len(keys)} entries are not loaded")
        self.keys = keys
        self.generations = generations
        self.calls = calls


class NeedsWhole(Exception):
    """The whole stream has to be folded: that costs less than to load so much of it, or only that is exact."""


class UnusualHistory(NeedsWhole):
    """The stream's events are in an order that ``decide`` never led to: some of them do not tell what the fold of all does."""


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
        """A ``PartialMap`` raises ``NotLoaded`` for an entry that it does not hold."""
        return self._buckets[key.int & 0xFF].get(key)

    def is_loaded(self, key: UUID) -> bool:
        """Whether ``get`` can tell. Only a ``PartialMap`` says no."""
        return True

    def require(self, keys: Iterable[UUID]) -> None:
        """Raises ``NotLoaded`` with all of ``keys`` that ``get`` cannot tell of, so that they are loaded together."""

    def loaded_count(self) -> int:
        return self._size

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


class PartialMap(IdMap[Value]):
    """Some entries of a mapping. An entry is there, is known to be absent, or is not loaded: to ask for that raises ``NotLoaded``.

    It is one dict, since its holder keeps it small: adding an entry copies all that are loaded. It cannot be iterated and
    has no length.
    """

    __slots__ = ("_loaded",)

    def __init__(self, loaded: Mapping[UUID, Value | None] = {}) -> None:
        """None for a key means that the mapping has no such entry."""
        self._loaded: dict[UUID, Value | None] = dict(loaded)
        self._thawed = False

    def thawed(self) -> "PartialMap[Value]":
        made = PartialMap(self._loaded)
        made._thawed = True
        return made

    def frozen(self) -> "PartialMap[Value]":
        return PartialMap(self._loaded)

    def with_(self, key: UUID, value: Value) -> "PartialMap[Value]":
        if self._thawed:
            self._loaded[key] = value
            return self
        return PartialMap({**self._loaded, key: value})

    def with_loaded(self, entries: Mapping[UUID, Value | None]) -> "PartialMap[Value]":
        return PartialMap({**self._loaded, **entries})

    def get(self, key: UUID) -> Value | None:
        try:
            return self._loaded[key]
        except KeyError:
            raise NotLoaded([key]) from None

    def is_loaded(self, key: UUID) -> bool:
        return key in self._loaded

    def require(self, keys: Iterable[UUID]) -> None:
        missing = [key for key in keys if key not in self._loaded]
        if missing:
            raise NotLoaded(missing)

    def loaded_count(self) -> int:
        return len(self._loaded)

    def __contains__(self, key: UUID) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[UUID]:
        raise TypeError("a partial mapping cannot be iterated: not all entries are loaded")

    def __len__(self) -> int:
        raise TypeError("a partial mapping has no length: not all entries are loaded")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartialMap) and self._loaded == other._loaded

    __hash__ = None
