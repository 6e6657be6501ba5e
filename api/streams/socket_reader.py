"""The reading half of one socket of ``/ws``: its client's frames go into the ``ProtocolState``, and the effects are carried out.

The other half is ``Socket`` (``api/streams/socket.py``): its subscriptions, and what goes out.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from api.request.errors import error_status, members
from api.request.scopes import CHAT
from api.request.security_log import record_socket
from api.streams.frames import (
    AnswerUserCall,
    Authenticate,
    Close,
    Effect,
    EndSubscription,
    MarkRead,
    MarkThreadRead,
    NoteActive,
    RelayChunk,
    SendFrame,
    SendSignal,
    StartFollow,
    StartSubscription,
    error_frame,
    frame,
)
from api.streams.socket import Socket
from commands.accounts.principal import Principal, actor_of
from commands.ids import bound_id
from domain.channel.own import ReadThread
from domain.errors import BadRequest, Forbidden, MessageNotFound, NotAThread, NotAuthenticated, StenographError
from domain.log.stream import Stream, user_stream

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

HELLO_TIMEOUT_S: Final = 5.0


class SocketReader:
    """Reads one frame after the other, from the ``hello`` to the end of the connection."""

    __slots__ = ("_context", "_protocol", "_receive", "socket")

    def __init__(self, socket: Socket, receive: Receive) -> None:
        self.socket = socket
        self._context = socket.context
        self._protocol = socket.protocol
        self._receive = receive

    async def hello(self) -> Principal | None:
        """Return the principal that ``hello`` names, or None once the connection is over. Any other first frame closes it."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                text = await self._next()
                if text is None:
                    return None
                for effect in self._protocol.receive(text, self._context.clock()):
                    if isinstance(effect, Authenticate):
                        return await self._context.authenticate(effect.token)
                    if isinstance(effect, SendFrame):
                        self.socket.send_reply(effect.frame)
            self.socket.close(Close(4408, "expected hello first"))
        except TimeoutError:
            self.socket.close(Close(4408, f"no hello within {HELLO_TIMEOUT_S:g} s"))
        return None

    async def run(self, principal: Principal) -> None:
        """From the welcome until either side ends the connection."""
        try:
            if await self._welcome(principal):
                while (text := await self._next()) is not None:
                    for effect in self._protocol.receive(text, self._context.clock()):
                        await self._do(effect)
                    await self.socket.room()
        finally:
            self.socket.leave_all()

    async def _welcome(self, principal: Principal) -> bool:
        live = self._context.live
        connections_max = live.connections_max(principal)
        if live.count(principal.user_id) >= connections_max:
            self.socket.close(Close(4409, f"an account has at most {connections_max} connections"))
            return False
        self.socket.admit(principal)
        self._context.note_active(principal.user_id)
        self.socket.send_reply(self._welcome_frame(principal))
        await self._do(StartSubscription(None, user_stream(principal.user_id), "now", False))
        return True

    def _welcome_frame(self, who: Principal) -> bytes:
        settings = self._context.settings
        return frame(
            "welcome",
            session_id=self.socket.session_id,
            user={"id": who.user_id, "name": who.name, "role": who.role},
            epoch=self._context.epoch,
            heartbeat_s=settings.ping_interval_s,
            expires_at=who.expires_at,
            limits={
                "frame_in_bytes": settings.frame_in_bytes,
                "frame_out_bytes": settings.frame_out_bytes,
                "subscriptions": settings.subscriptions_max,
            },
        )

    async def _next(self) -> str | None:
        """The next frame's text; None once the connection is over."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect" or self.socket.is_closing:
            return None
        text = message.get("text")
        if text is None:
            self.socket.close(Close(1003, "expected text frames"))
            return None
        return str(text)

    # ------------------------------------------------------------------------------------------------- what a frame asks for

    async def _do(self, effect: Effect) -> None:
        """A refusal is answered; it ends nothing."""
        socket = self.socket
        try:
            match effect:
                case SendFrame(frame=reply):
                    socket.send_reply(reply)
                case Close():
                    socket.close(effect)
                case Authenticate(token=token):
                    await self._authenticate_again(token)
                case StartSubscription():
                    await socket.join(effect)
                case StartFollow():
                    await socket.follow(effect)
                case EndSubscription():
                    socket.leave(effect)
                case SendSignal():
                    self._send_signal(effect)
                case MarkRead(stream=stream, version=version):
                    socket.principal.require_scope(CHAT)
                    self._context.mark_read(socket.principal, stream, version, await self._head_for(stream, version))
                case MarkThreadRead():
                    await self._mark_thread_read(effect)
                case AnswerUserCall(call_id=call_id, data=data):
                    writer = self._writer()
                    await self._context.call_answers.answer(actor_of(writer), call_id, data, session_id=str(socket.session_id))
                    socket.send_reply(frame("answer_ok", call_id=call_id))
                case RelayChunk(call_id=call_id, seq=seq, data=data):
                    writer = self._writer()
                    await self._context.call_answers.chunk(actor_of(writer), call_id, seq, data, session_id=str(socket.session_id))
                    socket.send_reply(frame("chunk_ok", call_id=call_id, seq=seq))
                case NoteActive():
                    self._context.note_active(socket.principal.user_id)
        except StenographError as error:
            self._refuse(effect, error)

    def _refuse(self, effect: Effect, error: StenographError) -> None:
        about = effect.id if isinstance(effect, StartSubscription | StartFollow) else None
        more: dict[str, Any] = {}
        if isinstance(effect, AnswerUserCall | RelayChunk):
            more = {"call_id": effect.call_id, **({"seq": effect.seq} if isinstance(effect, RelayChunk) else {}), **members(error)}
        if isinstance(effect, StartSubscription):
            self._protocol.left(effect.stream)
        record_socket(error, self.socket.principal.user_id)
        self.socket.send_reply(error_frame(error, about, **more))

    async def _authenticate_again(self, token: str) -> None:
        """A fresh token before the old one ends. It must be the same person's."""
        socket = self.socket
        try:
            principal = await self._context.authenticate(token)
        except StenographError as error:
            record_socket(error, socket.principal.user_id)
            socket.close(Close(error_status(error).close, error.detail))
            return
        if principal.user_id != socket.principal.user_id:
            socket.close(Close(4403, "the token is another person's"))
            return
        socket.principal = principal
        socket.send_reply(self._welcome_frame(principal))

    def _writer(self) -> Principal:
        """The socket's principal, who may write now. Raises ``NotAuthenticated`` and ``ScopeMissing``."""
        principal = self.socket.principal
        if not self._context.still_valid(principal) or self._context.live.expired(principal):
            raise NotAuthenticated("the account or the session has changed: sign in again")
        principal.require_scope(CHAT)
        return principal

    def _send_signal(self, signal: SendSignal) -> None:
        principal = self.socket.principal
        principal.require_scope(CHAT)
        joined = self.socket.readable(signal.stream)
        if joined is None:
            return
        if signal.stream.kind == "channel" and not joined.may_write:
            raise Forbidden("who may not write in a channel does not type there")
        self._context.send_typing(self.socket, principal, signal)

    async def _head_for(self, stream: Stream, version: int) -> int:
        head = self._context.hub.head(stream)
        if version > head:  # what another process wrote may not have passed here yet
            head = max(head, await self._context.log.version(stream))
        return head

    async def _mark_thread_read(self, read: MarkThreadRead) -> None:
        """Raises ``BadRequest`` for a version that the channel does not have, ``MessageNotFound``, ``NotAThread``, ``ScopeMissing``."""
        principal, channels = self.socket.principal, self._context.channels
        principal.require_scope(CHAT)
        if self.socket.readable(read.stream) is None:
            return
        head = await self._head_for(read.stream, read.version)
        if not 0 < read.version <= head:
            raise BadRequest(f"expected a version from 1 to {head}, received {read.version}")
        user_id, channel_id = principal.user_id, read.stream.id
        message_id, _ = bound_id(user_id, read.message_id)
        _, channel = await channels.state(channel_id, messages=[message_id])
        node = channel.messages.get(message_id)
        if node is None or node.deleted:
            raise MessageNotFound(message_id)
        if node.parent_id is not None:
            raise NotAThread(message_id)
        command = ReadThread(user_id=user_id, channel_id=channel_id, message_id=message_id, version=read.version)
        await channels.set_own(command, actor=actor_of(principal))
