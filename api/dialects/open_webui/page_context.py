"""What all sockets of Open WebUI's page share. Made once by the wiring."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.delivery.hub import Hub
from api.streams.access import LiveConnections
from api.streams.typing import Typing
from commands.accounts.principal import Principal
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Calls
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.chats.chat_reader import ChatReader
from commands.ports import EventLog
from domain.log.stream import Stream


@dataclass(frozen=True, slots=True)
class PageContext:
    """``mark_read`` and ``note_active`` only gather what is written later. ``signed_in(socket)``: it is nobody's no longer."""

    log: EventLog
    hub: Hub
    live: LiveConnections
    epoch: UUID
    chat_reader: ChatReader
    channels: Channels
    channel_reader: ChannelReader
    typing: Typing
    calls: Calls
    call_answers: CallAnswers
    mark_read: Callable[[Principal, Stream, int, int], None]
    note_active: Callable[[UUID], None]
    signed_in: Callable[[Any], None] = lambda _: None
