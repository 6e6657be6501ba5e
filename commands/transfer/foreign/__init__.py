"""Exports of other chat systems, each turned into the row that Open WebUI would have exported.

``recognised`` tells by its content what a row is. What becomes of such a row, what is refused and what is put right, is said in one
place: ``commands/transfer/open_webui.py``. Keys without a meaning here stay under ``original``.
"""

from typing import Any, NamedTuple

from commands.transfer.foreign import chatgpt, claude, librechat, qwen
from commands.transfer.open_webui import SOURCE

READERS = (chatgpt, claude, librechat, qwen)


class Recognised(NamedTuple):
    source: str  # the name of the system that exported it
    row: Any


def recognised(row: Any) -> Recognised:
    """A row of any system, as Open WebUI's. One that nobody recognises comes back as it is. Raises ``ImportRefused``."""
    if isinstance(row, dict):
        for reader in READERS:
            if reader.is_row(row):
                return Recognised(reader.SOURCE, reader.open_webui_row(row))
    return Recognised(SOURCE, row)
