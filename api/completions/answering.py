"""A turn's answer to the one who asked over HTTP: streamed, or whole once it has ended. Both read the log."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from uuid import UUID

from litestar import Request, Response
from litestar.response import Stream as StreamResponse

from adapters.delivery.hub import Batch
from api.completions.chunks import Failure, Frames, completion_of
from api.request.errors import headers_of_provider, problem, status_of_provider
from api.streams.sse import PING, SSE_HEADERS
from commands.generation.turn import StartedTurn
from domain.log.event import StoredEvent

DONE: Final = b"data: [DONE]\n\n"
REFERENCE_PATHS: Final = "/api/"  # of the reference's own routes; below the others only what OpenAI's clients can read


class AnswerFrames(Protocol):
    """A dialect's form of an answer: feed it the chat's events in order, and it gives frames."""

    @property
    def has_content(self) -> bool:
        """Whether any model has said something yet."""
        ...

    @property
    def over(self) -> bool: ...

    @property
    def failure(self) -> Failure | None: ...

    def of(self, stored: StoredEvent) -> bytes: ...

    def replace_text(self, message_id: UUID, text: str) -> None:
        """A filter has replaced the text of the whole answer."""
        ...


Replaced = Callable[[], Awaitable[Mapping[UUID, str]]]  # once outlets are over: the texts that they have made, by the answer's message


async def answer(
    request: Request[Any, Any, Any],
    started: StartedTurn,
    data: Mapping[str, Any],
    events: AsyncGenerator[Batch, None],
    epoch: UUID,
    replaced: Replaced,
) -> Response[Any]:
    """The answer of every model that was asked, in OpenAI's form. See ``answer_with``."""
    include_usage = bool((data.get("stream_options") or {}).get("include_usage"))
    pick_first = request.url.path.startswith(REFERENCE_PATHS)
    frames = Frames(epoch, started.message_ids, include_usage=include_usage, pick_first=pick_first)
    stream = bool(data.get("stream"))
    return await answer_with(
        request, started, frames, lambda: completion_of(frames, started.chat_id), events, replaced, stream=stream, end=DONE
    )


async def answer_with(
    request: Request[Any, Any, Any],
    started: StartedTurn,
    frames: AnswerFrames,
    whole: Callable[[], Mapping[str, Any]],
    events: AsyncGenerator[Batch, None],
    replaced: Replaced,
    *,
    stream: bool,
    end: bytes = b"",
) -> Response[Any]:
    """The answer as ``frames``, or ``whole`` once it has ended. ``events``: the chat's from ``started.version`` on; they are closed here.

    A whole answer has the text that outlets have made of it; frames have the model's.
    The status waits for the first thing that a model says, or ``PING_S``: where the provider refuses instead, the refusal is the answer.
    """
    frames_to_come = chunks(frames, events)
    if not stream:
        async for _ in frames_to_come:
            pass
        if frames.failure is not None:
            return refused(request, frames.failure)
        for message_id, text in (await replaced()).items():
            frames.replace_text(message_id, text)
        return Response(whole())
    first = b""
    async for chunk in frames_to_come:
        first += chunk
        if frames.has_content or frames.over or chunk == PING:
            break
    if frames.failure is not None and not frames.has_content:
        await frames_to_come.aclose()
        return refused(request, frames.failure)
    headers = {**SSE_HEADERS, "x-chat-id": str(started.chat_id)}
    return StreamResponse(streamed(first, frames_to_come, end=end), media_type="text/event-stream", headers=headers)


def refused(request: Request[Any, Any, Any], failure: Failure) -> Response[Any]:
    """A provider's refusal as the answer, in the shape of the request's dialect."""
    said = failure.provider
    more = {"provider": said} if said else {}
    return problem(request, status_of_provider(said), failure.code, failure.detail, more, headers_of_provider(said))


async def chunks(frames: AnswerFrames, events: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    """The frames of each batch of events, and ``PING`` where nothing happens. Ends when all answers are over."""
    try:
        async for batch in events:
            chunk = b"".join(frames.of(event.stored) for event in batch.events)
            if chunk or not batch.events:
                yield chunk or PING
            if frames.over:
                break
    finally:
        await events.aclose()


async def streamed(first: bytes, frames_to_come: AsyncGenerator[bytes, None], *, end: bytes = DONE) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for chunk in frames_to_come:
            yield chunk
    finally:
        await frames_to_come.aclose()
    yield end
