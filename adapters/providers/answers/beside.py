"""What a provider says beside text and calls, collected over one answer: files, sources, and parts that this server does not know."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.providers.answers.text import bounded_json
from commands.providers.provider import Extras, File, Part, Source
from domain.errors import ProviderFailed

EXTRAS_BYTES_MAX: Final = 32 * 1024  # of JSON that is stored; of the rest only the names are logged
SOURCES_MAX: Final = 1_000  # of one answer
SOURCE_BYTES_MAX: Final = 64 * 1024
FILES_MAX: Final = 64
UNKNOWN_MAX: Final = 50  # names

_encode: Final = msgspec.json.Encoder().encode


class Collector:
    """``extras`` is kept below ``EXTRAS_BYTES_MAX`` at all times."""

    def __init__(self) -> None:
        self.unknown: dict[str, None] = {}  # names in the order in which they came
        self.files = 0
        self._sources: set[bytes] = set()
        self._files: set[str] = set()
        self._fields: dict[str, dict[str, Any]] = {}
        self._room_bytes = EXTRAS_BYTES_MAX

    def add_unknown(self, names: list[str]) -> None:
        for name in names:
            if len(self.unknown) < UNKNOWN_MAX:
                self.unknown[name[:100]] = None

    def add_fields(self, where: str, fields: Mapping[str, Any]) -> None:
        """A text goes on where it was, a list too; of anything else the last one counts."""
        if not fields:
            return
        kept = self._fields.setdefault(where, {})
        for name, value in bounded_json(dict(fields)).items():
            known = kept.get(name)
            goes_on = where == "message" and type(value) is type(known) and isinstance(value, str | list)
            if value == known and not goes_on:
                continue
            self._room_bytes -= len(_encode({name: value}))
            if self._room_bytes < 0:
                self.add_unknown([f"{where}.{name} (too large to keep)"])
            elif goes_on:
                kept[name] = known + value
            else:
                kept[name] = value

    def add_files(self, files: list[dict[str, Any]], parts: list[Part]) -> None:
        for file in files:
            if file["url"] not in self._files and self.files < FILES_MAX:
                self._files.add(file["url"])
                self.files += 1
                parts.append(File(bounded_json(file)))

    def add_sources(self, sources: list[dict[str, Any]], parts: list[Part]) -> None:
        """Providers repeat their sources with every chunk: each counts once."""
        for source in map(bounded_json, sources):
            key = _encode(source)
            if key not in self._sources and len(self._sources) < SOURCES_MAX and len(key) <= SOURCE_BYTES_MAX:
                self._sources.add(key)
                parts.append(Source(source))

    def nothing_understood(self) -> ProviderFailed | None:
        """Why an answer of which nothing else came is none: it held only what is not understood."""
        unknown = [name for name in self.unknown if not name.startswith(("chunk.", "choice."))]
        if not unknown:
            return None
        return ProviderFailed("provider_garbage", f"expected an answer, received only what is not understood: {', '.join(unknown)}")

    def extras(self) -> Extras | None:
        fields = {where: kept for where, kept in self._fields.items() if kept}
        return Extras(fields, list(self.unknown)) if fields or self.unknown else None
