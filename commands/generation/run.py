"""One generation, from the provider to the log. Detached from the request that began it: it goes on when the caller leaves.

A single coroutine: what one read of the provider brings is appended in one request, and the next read waits for the commit.
So a provider that is faster than the log is slowed by its own socket, and nothing piles up here. What piles up there comes
with the next read: above ``DELTAS_PER_APPEND_MAX`` pieces, adjacent ones of one block are joined.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from commands.content.large_values import reference
from commands.generation.answer_builder import AnswerBuilder, joined
from commands.generation.answer_streams import AnswerStreams
from commands.generation.filtering import Filtering
from commands.generation.reasoning_tags import splitter_for
from commands.generation.run_figures import Outcome, RunReport
from commands.ports import Blobs
from commands.providers.provider import (
    Part,
    Provider,
    ProviderRequest,
)
from commands.tracing import CURRENT, GenerationSpan
from domain.errors import ChatNotFound, GenerationNotOpen, ProviderFailed, RateReached, Refusal, Unavailable
from domain.generation import (
    AppendParts,
    BlockOpened,
    EndGeneration,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    GenerationOver,
    MessageDelta,
    MessageEnded,
    Timings,
)
from domain.log.event import Emitted
from domain.log.stream import Stream
from domain.values.storable import storable_text
from projections.figures.usage import tokens_of

logger = structlog.get_logger("run")
DELTAS_PER_APPEND_MAX: Final = 16
CONTENT_BYTES_MAX: Final = 128 * 1024  # above it the content is a blob, and the event refers to it
DETAIL_CHARACTERS_MAX: Final = 4000
FILE_BYTES_MAX: Final = 8 * 1024  # of the address of a file; above it is a blob: it holds the file itself
APPEND_RETRY_S: Final = 0.25
APPEND_HOLD_S: Final = 40.0  # how long a run waits for the log before it ends with an error
CLOSE_RETRY_S: Final = 1.0
PROVIDER_CLOSE_S: Final = 10.0
PROVIDER_RAISED: Final = "provider_failed"


class Run:
    """One generation that this process runs. ``clock`` gives seconds that only go forward.

    ``spend`` counts for the account what was appended; it raises ``RateReached`` once the account has written as much as it may: then
    the answer ends with that error. ``filtering``: the filters of this answer, if it has any; ``provider`` is then behind them.
    ``text_so_far`` is what the answer that this one continues had said: its first block. ``model`` is the public id of the model that
    answers, ``owned_by`` the kind of its provider: for figures alone.
    """

    def __init__(
        self,
        streams: AnswerStreams,
        blobs: Blobs,
        provider: Provider,
        ask: ProviderRequest,
        *,
        stream: Stream,
        message_id: UUID,
        task_id: UUID,
        node_id: UUID,
        user_id: UUID,
        started_position: int,
        clock: Callable[[], float],
        spend: Callable[[UUID, int], None] = lambda _user_id, _bytes: None,
        filtering: Filtering | None = None,
        text_so_far: str = "",
        is_background: bool = False,
        model: str = "",
        owned_by: str = "",
    ) -> None:
        self.stream = stream
        self.message_id = message_id
        self.task_id = task_id
        self.user_id = user_id
        self.model = model
        self.owned_by = owned_by
        self.started_position = started_position
        self._node_id = node_id
        self._streams = streams
        self._blobs = blobs
        self._provider = provider
        self._ask = ask
        self._clock = clock
        self._spend = spend
        self._filtering = filtering
        self._outlet: asyncio.Task[None] | None = None
        self._text_so_far = text_so_far
        self.is_background = is_background  # no user waits for it
        self._started_s = clock()
        self._first_token_s: float | None = None
        self._ended_s: float | None = None
        self._provider_error: str | None = None
        self._answer = AnswerBuilder()
        self._tags = splitter_for(ask.reasoning_tags)
        self._task: asyncio.Task[None] | None = None
        self._span: GenerationSpan | None = None  # where its request is traced
        self._reading = False
        self._ending: GenerationOver | None = None  # asked for from outside, before its content is known
        self._over_elsewhere = False
        self.appended_chunks = 0
        self.outcome: GenerationOver | None = None  # once its end is written by this run

    def start(self, done: Callable[["Run"], None]) -> None:
        request = CURRENT.get()
        if request is not None:
            self._span = request.begin_generation(self.model, self.owned_by)
        self._task = asyncio.create_task(self._go(), name=f"run {self.task_id}")
        self._task.add_done_callback(lambda _: self._over(done))

    def _over(self, done: Callable[["Run"], None]) -> None:
        if self._span is not None:
            self._span.end(self.report())
        done(self)

    async def wait(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def stop(self, by: UUID | None) -> None:
        """A user stops it, or the server where ``by`` is None: it ends as ``cancelled``, with the text so far."""
        self._end_with(GenerationCancelled(by))

    def interrupt(self) -> None:
        """This server is going away: it ends as ``interrupted``, with the text so far."""
        self._end_with(GenerationInterrupted(self._node_id))

    def ended_elsewhere(self) -> None:
        """The log says that it is over: nothing more is to be written."""
        self._over_elsewhere = True
        self._break_off_reading()

    def _end_with(self, ending: GenerationOver) -> None:
        if self._ending is None:
            self._ending = ending
            self._break_off_reading()
        if self._outlet is not None:
            self._outlet.cancel()

    def _break_off_reading(self) -> None:
        # Only the wait for the provider is broken off. An append on its way is let through: its outcome must be known.
        if self._reading and self._task is not None:
            self._task.cancel()

    @property
    def _asked_to_end(self) -> bool:
        return self._ending is not None or self._over_elsewhere

    async def _go(self) -> None:
        if self._span is not None:
            self._span.detach()
        try:
            outcome = await self._generate()
            self._ended_s = self._clock()
            if not self._over_elsewhere:
                self.outcome = await self._close(outcome)
                if self._filtering is not None and isinstance(outcome, MessageEnded):
                    await self._filter_whole(self._filtering, outcome)
        except GenerationNotOpen:
            logger.info("generation_ended_elsewhere", stream=str(self.stream), message_id=str(self.message_id))
        except ChatNotFound:
            logger.info("chat_gone", stream=str(self.stream), message_id=str(self.message_id))

    async def _generate(self) -> GenerationOver:
        stream = self._provider.stream(self._ask)
        outcome: GenerationOver | None = None
        try:
            if self._text_so_far:
                await self._append_facts(self._answer.begin_with(self._text_so_far))
            while self._ending is None and not self._over_elsewhere:
                parts = await self._read(stream)
                if parts is None:
                    break
                await self._append(parts)
        except (GenerationNotOpen, ChatNotFound):
            raise
        except ProviderFailed as error:
            self._provider_error = error.code
            logger.warning(
                "provider_failed", stream=str(self.stream), message_id=str(self.message_id), code=error.code, detail=error.private
            )
            outcome = failed(error.code, str(error), error.said)
        except (Unavailable, RateReached) as error:
            outcome = failed(error.code, str(error))
        except Exception as error:
            # A provider may be a function of others: an error of any kind ends this answer with that error, and nothing else.
            logger.exception("provider_raised", stream=str(self.stream), message_id=str(self.message_id))
            self._provider_error = PROVIDER_RAISED
            outcome = failed(PROVIDER_RAISED, f"{type(error).__name__}: the server's log says more")
        finally:
            await self._leave(stream)
        await self._append_rest()
        # A stop counts above an error: some providers raise one when their request is broken off.
        return self._ending or outcome or self._whole()

    async def _leave(self, stream: AsyncGenerator[list[Part], None]) -> None:
        """End the request to the provider. That it fails at this too, or takes for ever, must not keep the answer open."""
        try:
            async with asyncio.timeout(PROVIDER_CLOSE_S):
                await stream.aclose()
        except Exception:
            logger.exception("provider_not_left", stream=str(self.stream), message_id=str(self.message_id))

    async def _read(self, stream: AsyncGenerator[list[Part], None]) -> list[Part] | None:
        """The next parts, or None at the end of the answer or when this run was asked to end."""
        self._reading = True
        try:
            return await anext(stream)  # with a default it would cost a wrapper for every token
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._asked_to_end or task is None:
                raise
            task.uncancel()
            return None
        finally:
            self._reading = False

    async def _append(self, parts: list[Part]) -> None:
        facts = self._answer.add(parts if self._tags is None else self._tags.split(parts))
        if facts:
            if self._first_token_s is None:
                self._first_token_s = self._clock()
                with self._traced():
                    await self._append_facts(facts)
            else:
                await self._append_facts(facts)
        if self._answer.waiting is not None:
            waiting, self._answer.waiting = self._answer.waiting, None
            await self._show(f"{waiting.refusal}. Asked again in {waiting.wait_s:g} s")

    @contextlib.contextmanager
    def _traced(self) -> Iterator[None]:
        """What is appended within is part of the request's trace: the first token and the end are, the other tokens are not."""
        if self._span is None:
            yield
            return
        self._span.attach()
        try:
            yield
        finally:
            self._span.detach()

    async def _show(self, description: str) -> None:
        """A status of the message. That it cannot be written ends nothing."""
        status = {"description": storable_text(description)[:DETAIL_CHARACTERS_MAX], "done": True}
        try:
            await self._streams.emit_by_server(self.stream.id, self.message_id, "status", status)
        except (GenerationNotOpen, ChatNotFound):
            raise
        except (Unavailable, Refusal) as error:
            logger.warning("status_not_written", message_id=str(self.message_id), error=str(error))

    async def _append_rest(self) -> None:
        """What was held until more of it was known. The end of the answer has it in any case."""
        if self._over_elsewhere:
            return
        try:
            await self._append_facts([*self._answer.add(self._tags.flush() if self._tags is not None else []), *self._answer.finish()])
        except (GenerationNotOpen, ChatNotFound):
            raise
        except (Unavailable, Refusal) as error:
            logger.warning("rest_not_written", message_id=str(self.message_id), error=str(error))

    async def _append_facts(self, said: Sequence[BlockOpened | MessageDelta]) -> None:
        seq = self._answer.deltas
        facts = joined(said, DELTAS_PER_APPEND_MAX)
        if not facts:
            return
        characters = 0
        for fact in facts:
            if isinstance(fact, MessageDelta):
                self._answer.deltas += 1
                self.appended_chunks += fact.chunks
                characters += len(fact.text)
        command = AppendParts(stream_id=self.stream.id, message_id=self.message_id, seq=seq, parts=facts)
        deadline_s = self._clock() + APPEND_HOLD_S
        while True:
            try:
                # Other people's events in the same chat are lost races, not defeats: while the generation is open it goes on.
                await self._streams.handle(command, attempts_max=None)
                break
            except Unavailable as error:
                # It may have been written: ``seq`` sees to it that it is not written twice.
                if self._asked_to_end or self._clock() > deadline_s:
                    raise
                logger.warning("append_waits", message_id=str(self.message_id), error=str(error))
                await asyncio.sleep(APPEND_RETRY_S)
        # In Python a character of a token is at least a byte of the log; what stands around it is not counted.
        self._spend(self.user_id, characters)

    def _whole(self) -> MessageEnded:
        now_s = self._clock()
        content = self._answer.content
        first_ms = None if self._first_token_s is None else round((self._first_token_s - self._started_s) * 1000, 3)
        return MessageEnded(
            content,
            self._answer.sums(),
            hashlib.sha256(content.encode()).hexdigest(),
            self._answer.finish_reason or "stop",
            self._answer.usage,
            Timings(first_ms, round((now_s - self._started_s) * 1000, 3)),
            self._answer.deltas,
            self._answer.extras or UNSET,
        )

    def report(self) -> RunReport:
        """What it came to, once it is over."""
        ended_s = self._clock() if self._ended_s is None else self._ended_s
        return RunReport(
            outcome=outcome_of(self.outcome),
            model=self.model,
            owned_by=self.owned_by,
            duration_s=ended_s - self._started_s,
            first_token_s=None if self._first_token_s is None else self._first_token_s - self._started_s,
            tokens=tokens_of(self._answer.usage),
            chunks=self.appended_chunks,
            finish_reason=self._answer.finish_reason,
            error_code=self.outcome.code if isinstance(self.outcome, GenerationFailed) else None,
            provider_error=self._provider_error,
        )

    async def _close(self, outcome: GenerationOver) -> GenerationOver:
        """Write the end, trying again for as long as Postgres is away: no generation may stay open, unless this server dies first.

        Returns the end that was written.
        """
        is_refused = False
        if self._answer.unknown:
            logger.info("answer_not_wholly_understood", message_id=str(self.message_id), parts=list(self._answer.unknown))
        while True:
            try:
                ended = await with_content(outcome, self._answer.content, self._blobs, self.stream)
                emitted = () if is_refused else await self._emitted()
                end = EndGeneration(stream_id=self.stream.id, message_id=self.message_id, outcome=ended, emitted=emitted)
                with self._traced():
                    await self._streams.handle(end, attempts_max=None)
                return outcome
            except Unavailable as error:
                logger.warning("end_not_written_yet", message_id=str(self.message_id), error=str(error))
                await asyncio.sleep(CLOSE_RETRY_S)
            except (GenerationNotOpen, ChatNotFound):
                raise
            except Refusal as error:
                # Something that the provider put in can't be stored, or is too large. The text can: it is clean, and by reference.
                if is_refused:
                    raise
                is_refused, outcome = True, failed(error.code, f"the answer's end could not be stored: {error}")

    async def _emitted(self) -> list[Emitted | FilterApplied]:
        """The answer's files and sources, and what its filters did. What a file itself stands in is kept as a blob, and its address
        refers to it.
        """
        files = [await self._with_blob(file) for file in self._answer.files]
        made: list[Emitted | FilterApplied] = [Emitted("files", {"files": files})] if files else []
        made += [Emitted("source", source) for source in self._answer.sources]
        return made if self._filtering is None else [*made, *await self._filtering.traces()]

    async def _filter_whole(self, filtering: Filtering, ended: MessageEnded) -> None:
        """The outlet, in a task of its own, which stopping this run cancels. The answer is written already: a failure is only logged."""
        self._outlet = asyncio.create_task(filtering.outlet(ended), name=f"outlet {self.task_id}")
        await asyncio.wait([self._outlet])
        if self._outlet.cancelled():
            logger.info("outlet_stopped", stream=str(self.stream), message_id=str(self.message_id))
        elif (error := self._outlet.exception()) is not None:
            logger.error("outlet_failed", stream=str(self.stream), message_id=str(self.message_id), exc_info=error)

    async def _with_blob(self, file: Mapping[str, Any]) -> Mapping[str, Any]:
        encoded = str(file.get("url", "")).encode()
        if len(encoded) <= FILE_BYTES_MAX:
            return file
        return {**file, "url": {"blob": await self._blobs.put(self.stream, encoded), "size_bytes": len(encoded)}}


def outcome_of(ended: GenerationOver | None) -> Outcome:
    match ended:
        case MessageEnded():
            return "completed"
        case GenerationFailed():
            return "failed"
        case GenerationCancelled():
            return "cancelled"
        case GenerationInterrupted():
            return "interrupted"
        case None:
            return "elsewhere"


def failed(code: str, detail: str, provider: Mapping[str, Any] | None = None) -> GenerationFailed:
    return GenerationFailed(code, storable_text(detail)[:DETAIL_CHARACTERS_MAX], provider=provider or UNSET)


async def with_content(outcome: GenerationOver, content: str, blobs: Blobs, stream: Stream) -> GenerationOver:
    """The outcome with the text so far, by reference where an event could not hold it."""
    encoded = content.encode()
    kept: Any = content
    if len(encoded) > CONTENT_BYTES_MAX:
        kept = await reference(blobs, stream, content)
    match outcome:
        case MessageEnded():
            return replace(outcome, content=kept)
        case GenerationFailed():
            return replace(outcome, content=kept)
        case GenerationCancelled(by):
            return GenerationCancelled(by, kept)
        case GenerationInterrupted(node_id):
            return GenerationInterrupted(node_id, kept)
