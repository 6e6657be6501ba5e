"""How many events one response holds."""

from collections.abc import Sequence
from typing import Final

from domain.log.event import StoredEvent

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024


def bounded(page: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    """The first events of the page whose data fits one response, but at least one; the rest belongs to the next page."""
    size = 0
    for count, event in enumerate(page):
        size += len(event.data)
        if count > 0 and size > PAGE_BYTES_MAX:
            return page[:count]
    return page
