"""Questions of functions to the one for whom a model answers in a channel. Only they see what to answer to, and only they may."""

from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from api.channels.callers_channel import CallersChannel, provide_channel
from api.chats.calls import AnsweredOut, AnswerIn, CallOut, answered_out, call_out
from api.request.bodies import FIELDS_BYTES
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Call, Calls, bound_session
from domain.errors import CallNotFound
from domain.log.stream import channel_stream


class ChannelCallsController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/calls"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def open_calls(
        self, channel: NamedDependency[CallersChannel], calls: NamedDependency[Calls], call_answers: NamedDependency[CallAnswers]
    ) -> list[CallOut]:
        """The calls to the caller in this channel that wait for an answer, the oldest first."""
        found = await calls.open_calls(channel.caller.actor, channel_stream(channel.id))
        return [call_out(call, await call_answers.question(call)) for call in found]

    @get("/{call_id:uuid}")
    async def call(
        self,
        call_id: FromPath[UUID],
        channel: NamedDependency[CallersChannel],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> CallOut:
        """One call to the caller, which may have ended."""
        call = await found_in(calls, channel, call_id)
        return call_out(call, await call_answers.question(call))

    @post("/{call_id:uuid}/answer", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def answer(
        self,
        call_id: FromPath[UUID],
        data: JSONBody[AnswerIn],
        channel: NamedDependency[CallersChannel],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> AnsweredOut:
        """Answer an open call. The first answer counts; it goes to the function alone, and not into the log that all members read."""
        call, session_id = await found_in(calls, channel, call_id), bound_session(data.session_id)
        caller = channel.caller
        appended = await call_answers.answer(caller.actor, call_id, data.data, session_id=session_id, key=caller.key)
        return answered_out(call, appended)


async def found_in(calls: Calls, channel: CallersChannel, call_id: UUID) -> Call:
    """Raises ``CallNotFound`` unless the caller was asked, in this channel."""
    call = await calls.find(channel.caller.actor, call_id)
    if call.stream != channel_stream(channel.id):
        raise CallNotFound(call_id)
    return call
