"""What all sockets of a process share. Made once by the wiring; a socket reads it and never changes it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from adapters.delivery.hub import Hub
from api.request.authentication import require_approved
from api.request.scopes import READ
from api.settings import Settings
from api.streams.access import LiveConnections
from api.streams.frames import SendSignal
from api.streams.snapshot_frames import SnapshotFrames
from api.streams.snapshots import StateOf
from api.streams.socket_writer import SocketWriter
from api.streams.typing import Typing
from commands.accounts.principal import Principal
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
    typing: Typing
    mark_read: Callable[[Principal, Stream, int, int], None]
    note_active: Callable[[UUID], None]
    call_answers: CallAnswers
    channels: Channels
    clock: Callable[[], float]
    still_valid: Callable[[Principal], bool]
    closed: Counter[int] = field(default_factory=Counter)  # sockets that this process has closed, by close code

    async def authenticate(self, token: str) -> Principal:
        """Raises ``NotAuthenticated``, ``Forbidden`` for an account that is pending, ``ScopeMissing`` for a key that may not read."""
        if not token:
            raise NotAuthenticated
        return require_reader(await self.live.authentication.authenticate(token))

    async def redeem(self, ticket: str) -> Principal:
        """As ``authenticate``, for a ticket."""
        return require_reader(await self.live.authentication.redeem(ticket))

    def send_typing(self, origin: object, principal: Principal, signal: SendSignal) -> None:
        """Tell the other subscribers of the stream, here and at the other processes, that this person types."""
        user = {"id": str(principal.user_id), "name": principal.name, "role": principal.role}
        self.typing.say(origin, signal.stream, user, signal.message_id, typing=signal.typing)


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
    typing: Typing,
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
        typing=typing,
        mark_read=mark_read,
        note_active=note_active,
        call_answers=call_answers,
        channels=channels,
        clock=clock,
        still_valid=live.authentication.still_valid,
    )
