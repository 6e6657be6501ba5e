"""What all sockets of Open WebUI's page share. Made once by the wiring."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.delivery.hub import Hub
from api.streams.access import LiveConnections
from commands.accounts.accounts import Principal
from commands.chats.chat_reader import ChatReader
from commands.ports import EventLog
from domain.log.stream import Stream


@dataclass(frozen=True, slots=True)
class PageContext:
    """``mark_read`` and ``note_active`` only gather what is written later. ``signed_in(socket)``: it is nobody's no longer."""

    log: EventLog
    hub: Hub
    live: LiveConnections
    chat_reader: ChatReader
    mark_read: Callable[[Principal, Stream, int, int], None]
    note_active: Callable[[UUID], None]
    signed_in: Callable[[Any], None] = lambda _: None
