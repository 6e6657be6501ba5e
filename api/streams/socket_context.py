"""What all sockets of a process share. Made once by the wiring; a socket reads it and never changes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from adapters.delivery.hub import Hub
from api.request.authentication import require_approved
from api.request.scopes import READ
from api.settings import Settings
from api.streams.access import LiveConnections
from api.streams.frames import SendSignal, frame
from api.streams.signals import SignalDelivery
from api.streams.snapshot_frames import SnapshotFrames
from api.streams.snapshots import StateOf
from api.streams.socket_writer import SocketWriter
from commands.accounts.accounts import Principal
from commands.calls.call_answers import CallAnswers
from commands.channels.channels import Channels
from commands.ports import EventLog
from domain.errors import NotAuthenticated
from domain.log.stream import Stream

TRANSPORT_BUFFER_BYTES: Final = 64 * 1024  # asyncio's high-water mark: what waits for a slow client besides one frame
FRAME_OUT_BYTES_MIN: Final = 1024


def frame_bytes(settings: Settings) -> int:
    """The largest frame of events. What waits for one slow client is the transport's buffer and the frame that filled it."""
    return max(FRAME_OUT_BYTES_MIN, min(settings.frame_out_bytes, settings.outbound_buffer_bytes - TRANSPORT_BUFFER_BYTES))


@dataclass(frozen=True, slots=True)
class SocketContext:
    """``mark_read(principal, stream, version, head)`` and ``note_active(user_id)`` only gather what is written later; they do not block.

    ``clock`` gives seconds that only go forward.
    """

    settings: Settings
    epoch: UUID
    log: EventLog
    hub: Hub
    live: LiveConnections
    writer: SocketWriter
    snapshots: SnapshotFrames
    frame_bytes: int
    signals: SignalDelivery
    signal_others: Callable[[bytes], None]  # to the other processes
    mark_read: Callable[[Principal, Stream, int, int], None]
    note_active: Callable[[UUID], None]
    call_answers: CallAnswers
    channels: Channels
    clock: Callable[[], float]
    still_valid: Callable[[Principal], bool]

    async def authenticate(self, token: str) -> Principal:
        """Raises ``NotAuthenticated``, ``Forbidden`` for an account that is pending, ``ScopeMissing`` for a key that may not read."""
        if not token:
            raise NotAuthenticated
        return require_reader(await self.live.accounts.authenticate(token))

    async def redeem(self, ticket: str) -> Principal:
        """As ``authenticate``, for a ticket."""
        return require_reader(await self.live.accounts.redeem(ticket))

    def send_typing(self, principal: Principal, signal: SendSignal) -> None:
        """Tell the other subscribers of the stream, here and at the other processes, that this person types."""
        data: dict[str, Any] = {"type": "typing", "data": {"typing": signal.typing}, "message_id": signal.message_id}
        user = {"id": str(principal.user_id), "name": principal.name, "role": principal.role}
        ephemeral = frame("ephemeral", stream=str(signal.stream), user=user, data=data)
        self.signals.deliver(ephemeral)
        self.signal_others(ephemeral)


def require_reader(principal: Principal) -> Principal:
    require_approved(principal)
    principal.require_scope(READ)
    return principal


def socket_context(
    settings: Settings,
    epoch: UUID,
    log: EventLog,
    hub: Hub,
    live: LiveConnections,
    state_of: StateOf,
    signals: SignalDelivery,
    signal_others: Callable[[bytes], None],
    mark_read: Callable[[Principal, Stream, int, int], None],
    note_active: Callable[[UUID], None],
    call_answers: CallAnswers,
    channels: Channels,
    clock: Callable[[], float],
) -> SocketContext:
    """The parts that sockets share, and those that follow from the settings."""
    size = frame_bytes(settings)
    return SocketContext(
        settings=settings,
        epoch=epoch,
        log=log,
        hub=hub,
        live=live,
        writer=SocketWriter(live),
        snapshots=SnapshotFrames(state_of, size),
        frame_bytes=size,
        signals=signals,
        signal_others=signal_others,
        mark_read=mark_read,
        note_active=note_active,
        call_answers=call_answers,
        channels=channels,
        clock=clock,
        still_valid=live.accounts.still_valid,
    )
