"""The golden files: for each (kind, type) the very bytes that one fact is stored as, in ``tests/golden/KIND/TYPE.N.json``.

A log is for ever, so a file is written once and never changed. After a new type, or a new field of an old one::

    python -m tests.domain.golden

adds what is missing and prints it: ``TYPE.1.json`` for a new type, the next number where a fact of today is stored as other bytes
than the newest file. The older files stay, and stay readable. ``tests/golden/SHA256SUMS`` names all there ever were: a line of it is
never changed or taken out, so that a file which is changed or gone is seen.
"""

import hashlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Union
from uuid import UUID

from domain.log.codec import TYPES, encode
from domain.log.event import Emitted

FOLDER = Path(__file__).parents[1] / "golden"
SUMS = FOLDER / "SHA256SUMS"


def facts() -> Iterator[tuple[str, str, Any]]:
    """``(kind, type, a fact)`` of everything that is written today, each field filled in."""
    for kind, table in TYPES.items():
        for name, fact in table.items():
            yield kind, name.replace(":", "-"), sample(fact, "")
    yield "chat", "log", Emitted("log", {"anything": [1, 2.5, None, "ü"]})


def sample(annotation: Any, name: str) -> Any:
    """A value of this type, the same at every call. ``name`` is that of the field."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return sample(arguments[0], name)
    if origin is Literal:
        return arguments[0]
    if origin is Sequence:
        return [sample(arguments[0], name)]
    if origin is Mapping:
        return {f"a key of {name}": {"nested": True} if arguments[1] is Any else sample(arguments[1], name)}
    if hasattr(annotation, "__struct_fields__"):
        hints = typing.get_type_hints(annotation)
        return annotation(**{field: sample(hints[field], field) for field in annotation.__struct_fields__})
    known: dict[Any, Any] = {
        UUID: UUID("01900000-0000-7000-8000-00000000000a"),
        str: f"{name} “ü” \\ 🦉",
        int: 7,
        bool: True,
        float: 1.5,
        datetime: datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),
    }
    return known.get(annotation, [{"type": "text", "text": "any JSON"}])


def files_of(kind: str, name: str) -> list[Path]:
    """The oldest first."""
    return sorted((FOLDER / kind).glob(f"{name}.*.json"), key=lambda path: int(path.name.split(".")[-2]))


def sums() -> dict[str, str]:
    """The sha256 of each file there ever was, by its path."""
    return {path: sha256 for sha256, path in (line.split("  ") for line in SUMS.read_text().splitlines())}


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    for kind, name, fact in facts():
        files = files_of(kind, name)
        _, data = encode(fact)
        if not files or files[-1].read_bytes() != data:
            added = FOLDER / kind / f"{name}.{len(files) + 1}.json"
            added.parent.mkdir(parents=True, exist_ok=True)
            added.write_bytes(data)
            print(added.relative_to(FOLDER.parents[1]))  # noqa: T201  # a command says what it did
    known = sums()
    for file in FOLDER.glob("*/*.json"):
        known.setdefault(str(file.relative_to(FOLDER)), sha256_of(file))
    SUMS.write_text("".join(f"{known[path]}  {path}\n" for path in sorted(known)))


if __name__ == "__main__":
    main()
