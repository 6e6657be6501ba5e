"""What an answer refers to, in the form in which messages hold it."""

from collections.abc import Mapping
from typing import Any


def sources_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sources among ``citations``, ``search_results`` and ``annotations`` of a chunk or a message."""
    found: list[dict[str, Any]] = []
    results = [*_listed(said, "search_results")]
    # Where a provider gives both, its citations are the addresses of the results.
    for entry in (*results, *(() if results else _listed(said, "citations")), *_listed(said, "annotations")):
        match entry:
            case str() if entry:
                found.append({"source": {"name": entry, "url": entry}})
            case {"url_citation": {"url": str() as url, **rest}} | {"url": str() as url, **rest}:
                title = rest.get("title") or rest.get("name")
                source: dict[str, Any] = {"source": {"name": title if isinstance(title, str) else url, "url": url}}
                places = {name: rest[name] for name in ("start_index", "end_index") if isinstance(rest.get(name), int)}
                for text in ("content", "snippet"):
                    if isinstance(rest.get(text), str) and rest[text]:
                        source["document"] = [rest[text]]
                        break
                if places:
                    source["metadata"] = [{"source": url, **places}]
                found.append(source)
            case dict():
                found.append({"source": {"name": str(entry.get("title") or entry.get("type") or "source")}, "metadata": [entry]})
            case _:
                pass
    return found


def _listed(said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name)
    return value if isinstance(value, list) else []
