"""One generation, from the provider to the log. Detached from whoever asked: it goes on when the caller leaves.

A single coroutine: what one read of the provider brings is appended in one request, and the next read waits for the commit.
So a provider that is faster than the log is slowed by its own socket, and nothing piles up here. What piles up there comes
with the next read: above ``DELTAS_PER_APPEND_MAX`` pieces, adjacent ones of one block are joined.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET
from msgspec.structs import replace

from commands.content.large_values import reference
from commands.generation.answer_streams import AnswerStreams
from commands.generation.filtering import Filtering
from commands.generation.reasoning_tags import splitter_for
from commands.ports import Blobs
from commands.providers.provider import (
    Audio,
    Extras,
    File,
    Finish,
    LeftOut,
    Logprobs,
    Part,
    Provider,
    ProviderRequest,
    Reasoning,
    RefusalText,
    Skipped,
    Source,
    Text,
    ToolCall,
    Usage,
    Waiting,
)
from domain.errors import ChatNotFound, GenerationNotOpen, ProviderFailed, RateReached, Refusal, Unavailable
from domain.generation import (
    CONTINUED,
    REFUSAL,
    AppendParts,
    BlockOpened,
    BlockSum,
    BlockType,
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

logger = structlog.get_logger("run")

DELTAS_PER_APPEND_MAX: Final = 16
DELTA_CHARACTERS_MAX: Final = 32 * 1024  # at most 6 bytes each in JSON: below what an event may hold
CONTENT_BYTES_MAX: Final = 128 * 1024  # above it the content is a blob, and the event refers to it
DETAIL_CHARACTERS_MAX: Final = 4000
LEFT_OUT_CHARACTERS_MAX: Final = 8 * 1024  # before one block: tags without end must not outgrow an event
LOGPROBS_BYTES_MAX: Final = 32 * 1024  # of one piece of text; with it, the text still fits into an event
FILE_BYTES_MAX: Final = 8 * 1024  # of the address of a file; above it is a blob: it holds the file itself
APPEND_RETRY_S: Final = 0.25
APPEND_HOLD_S: Final = 40.0  # how long a run waits for the log before it ends with an error
CLOSE_RETRY_S: Final = 1.0
PROVIDER_CLOSE_S: Final = 10.0


class Block:
    """One block of the answer, as it grows."""

    __slots__ = ("index", "name", "text", "type")

    def __init__(self, index: int, type_: BlockType, name: str | None) -> None:
        self.index = index
        self.type = type_
        self.name = name
        self.text: list[str] = []

    def sum(self) -> BlockSum:
        return BlockSum(self.index, self.type, hashlib.sha256("".join(self.text).encode()).hexdigest())


class AnswerBuilder:
    """What was said so far: turns a provider's parts into the facts of the log."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.deltas = 0
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.files: list[Mapping[str, Any]] = []
        self.sources: list[Mapping[str, Any]] = []
        self.extras: Mapping[str, Any] = {}
        self.unknown: Sequence[str] = ()
        self._tool_calls: dict[int, Block] = {}
        self.waiting: Waiting | None = None  # to be shown
        self._left_out = ""  # since the last block

    def add(self, parts: Sequence[Part]) -> list[BlockOpened | MessageDelta]:
        facts: list[BlockOpened | MessageDelta] = []
        for part in parts:
            if isinstance(part, Text):  # nearly every part; a class pattern costs three times as much
                self._say(facts, self._flowing("text", facts), part.text)
                continue
            match part:
                case Reasoning(text):
                    self._say(facts, self._flowing("reasoning", facts), text)
                case RefusalText(text):
                    self._say(facts, self._flowing("text", facts, REFUSAL), text)
                case ToolCall():
                    block = self._tool_calls.get(part.index)
                    if block is None:
                        block = self._tool_calls[part.index] = self._open("tool_call", facts, part.name, part.id)
                    if part.arguments:
                        self._say(facts, block, part.arguments)
                case Audio(data, audio_id):
                    self._say(facts, self._flowing("audio", facts, call_id=audio_id), data)
                case Logprobs(logprobs):
                    self._add_logprobs(facts, logprobs)
                case File(file):
                    self.files.append(file)
                case Source(source):
                    self.sources.append(source)
                case Extras(fields, unknown):
                    self.extras, self.unknown = {**fields, **self.extras}, unknown
                case LeftOut(text):
                    self._left_out += storable_text(text)
                    if len(self._left_out) > LEFT_OUT_CHARACTERS_MAX:
                        facts += self.finish()
                case Finish(reason):
                    self.finish_reason = reason
                    facts += self.finish()
                case Usage(usage):
                    self.usage = usage
                case Waiting():
                    self.waiting = part
                case Skipped(reason):
                    logger.info("provider_chunk_skipped", reason=reason)
        return facts

    def begin_with(self, text: str) -> list[BlockOpened | MessageDelta]:
        """The text of the continued answer as a block of its own, so that a reader can tell it from what is new."""
        facts: list[BlockOpened | MessageDelta] = []
        self._say(facts, self._open("text", facts, CONTINUED, None), text)
        return facts

    def _flowing(
        self, type_: BlockType, facts: list[BlockOpened | MessageDelta], name: str | None = None, call_id: str | None = None
    ) -> Block:
        """The block that text of this type goes on in: the last one, if it is of this type and name and nothing was left out since."""
        if self.blocks and not self._left_out and self.blocks[-1].type == type_ and self.blocks[-1].name == name:
            return self.blocks[-1]
        return self._open(type_, facts, name, call_id)

    def _add_logprobs(self, facts: list[BlockOpened | MessageDelta], logprobs: Mapping[str, Any]) -> None:
        last = facts[-1] if facts else None
        size_bytes = len(msgspec.json.encode(logprobs))
        if isinstance(last, MessageDelta) and last.logprobs is UNSET and size_bytes <= LOGPROBS_BYTES_MAX:
            facts[-1] = replace(last, logprobs=logprobs)
        else:
            logger.info("logprobs_left_out", reason="no text stands before them" if last is None else f"{size_bytes} bytes of one piece")

    def _open(self, type_: BlockType, facts: list[BlockOpened | MessageDelta], name: str | None, call_id: str | None) -> Block:
        block = Block(len(self.blocks), type_, name)
        self.blocks.append(block)
        facts.append(BlockOpened(block.index, type_, name, call_id, self._left_out or UNSET))
        self._left_out = ""
        return block

    def finish(self) -> list[BlockOpened | MessageDelta]:
        """Nothing follows. What was left out after the last block stands before an empty one, so that it is in the log."""
        facts: list[BlockOpened | MessageDelta] = []
        if self._left_out:
            self._open("text", facts, None, None)
        return facts

    def _say(self, facts: list[BlockOpened | MessageDelta], block: Block, text: str) -> None:
        text = storable_text(text)
        block.text.append(text)
        if 0 < len(text) <= DELTA_CHARACTERS_MAX:
            facts.append(MessageDelta(block.index, text))
            return
        starts = range(0, len(text), DELTA_CHARACTERS_MAX)
        facts += [MessageDelta(block.index, text[at : at + DELTA_CHARACTERS_MAX]) for at in starts]

    @property
    def content(self) -> str:
        return "".join("".join(block.text) for block in self.blocks if block.type == "text")

    def sums(self) -> list[BlockSum]:
        return [block.sum() for block in self.blocks]


def joined(facts: Sequence[BlockOpened | MessageDelta], deltas_max: int) -> Sequence[BlockOpened | MessageDelta]:
    """The same with at most about ``deltas_max`` deltas: adjacent ones of one block become one that says how many it holds."""
    if len(facts) <= deltas_max:
        return facts
    count = sum(type(fact) is MessageDelta for fact in facts)
    if count <= deltas_max:
        return facts
    each = -(-count // deltas_max)
    made: list[BlockOpened | MessageDelta] = []
    waiting: list[str] = []
    logprobs: list[Mapping[str, Any]] = []
    index = size = 0

    def flush() -> None:
        nonlocal size
        if waiting:
            made.append(MessageDelta(index, "".join(waiting), len(waiting), with_all(logprobs) if logprobs else UNSET))
            waiting.clear()
            logprobs.clear()
            size = 0

    for fact in facts:
        if isinstance(fact, BlockOpened):
            flush()
            made.append(fact)
            continue
        if waiting and (fact.index != index or len(waiting) == each or size + len(fact.text) > DELTA_CHARACTERS_MAX):
            flush()
        index = fact.index
        size += len(fact.text)
        waiting.append(fact.text)
        if fact.logprobs is not UNSET:
            logprobs.append(fact.logprobs)
    flush()
    return made


def with_all(logprobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The log probabilities of several pieces as those of one: their lists joined."""
    made: dict[str, Any] = {}
    for one in logprobs:
        for name, value in one.items():
            known = made.get(name)
            made[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value if value is not None else known
    return made


class Run:
    """One generation that this process runs. ``clock`` gives seconds that only go forward.

    ``spend`` counts for the account what was appended; it raises ``RateReached`` once the account has written as much as it may: then
    the answer ends with that error. ``filtering``: the filters of this answer, if it has any; ``provider`` is then behind them.
    ``text_so_far`` is what the answer that this one continues had said: its first block.
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
    ) -> None:
        self.stream = stream
        self.message_id = message_id
        self.task_id = task_id
        self.user_id = user_id
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
        self._answer = AnswerBuilder()
        self._tags = splitter_for(ask.reasoning_tags)
        self._task: asyncio.Task[None] | None = None
        self._reading = False
        self._ending: GenerationOver | None = None  # asked for from outside, before its content is known
        self._over_elsewhere = False
        self.appended_chunks = 0
        self.outcome: GenerationOver | None = None  # once its end is written by this run

    def start(self, done: Callable[["Run"], None]) -> None:
        self._task = asyncio.create_task(self._go(), name=f"run {self.task_id}")
        self._task.add_done_callback(lambda _: done(self))

    async def wait(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def stop(self, by: UUID | None) -> None:
        """Someone stops it: it ends as ``cancelled``, with the text so far."""
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
        try:
            outcome = await self._generate()
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
            logger.warning(
                "provider_failed", stream=str(self.stream), message_id=str(self.message_id), code=error.code, detail=error.private
            )
            outcome = failed(error.code, str(error), error.said)
        except (Unavailable, RateReached) as error:
            outcome = failed(error.code, str(error))
        except Exception as error:
            # A provider is somebody else's code: whatever it raises ends this answer, and says so, but nothing else.
            logger.exception("provider_raised", stream=str(self.stream), message_id=str(self.message_id))
            outcome = failed("provider_failed", f"{type(error).__name__}: the server's log says more")
        finally:
            await self._leave(stream)
        await self._append_rest()
        # Whoever asked for the end gets that end, also from a provider that answers being broken off with an error.
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
            await self._append_facts(facts)
        if self._answer.waiting is not None:
            waiting, self._answer.waiting = self._answer.waiting, None
            await self._show(f"{waiting.refusal}. Asked again in {waiting.wait_s:g} s")

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
        for fact in facts:
            if isinstance(fact, MessageDelta):
                self._answer.deltas += 1
                self.appended_chunks += fact.chunks
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
        self._spend(self.user_id, sum([len(fact.text) for fact in facts if isinstance(fact, MessageDelta)]))

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

    async def _close(self, outcome: GenerationOver) -> GenerationOver:
        """Nothing is ever running for ever: the end is written, however long Postgres is away, or this server dies first.

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
        """The outlet, in a task of its own: whoever stops this run breaks it off. The answer is done, whatever happens there."""
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
