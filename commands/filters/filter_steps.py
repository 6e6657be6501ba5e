"""One filter at one stage of one answer: it is called, and what it did is written down."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog
from msgspec.structs import replace

from commands.filters.filtered_body import Body, Seen, replaced
from commands.filters.filtered_stream import Chunk, Said, parts_of, sha256_of
from commands.filters.pipelines import Pipeline, Pipelines
from commands.functions.functions import Bound, Function
from commands.providers.provider import Part
from domain.errors import FunctionFailed, PipelineFailed
from domain.generation import FilterApplied

logger = structlog.get_logger("filters")

FAILURES_MAX: Final = 10  # in a row: then a stream filter sees no more of this answer
FAILED_CHARACTERS_MAX: Final = 500

WholeStage = Literal["inlet", "outlet"]
Keep = Callable[[bytes], Awaitable[Any]]  # stores an original, and returns the reference to it

encode_chunk: Final = msgspec.json.Encoder().encode
decode_chunk: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Step(Protocol):
    """One filter at one stage."""

    @property
    def id(self) -> str: ...

    async def call(self, body: Body) -> Any: ...

    def failed(self, problem: str) -> FunctionFailed | PipelineFailed: ...

    def trace(self, before: Seen, after: Seen, *, model: str | None = None, failed: str | None = None) -> FilterApplied: ...


class FunctionStep:
    def __init__(self, function: Function, stage: WholeStage, bound: Bound) -> None:
        self.id = function.id
        self._function = function
        self._stage: WholeStage = stage
        self._bound = bound

    async def call(self, body: Body) -> Any:
        given = await self._bound({"body": body})
        if self._stage == "inlet" and self._function.handles_files and isinstance(given, dict):
            given = {name: value for name, value in given.items() if name != "files"}
            if isinstance(given.get("metadata"), dict):
                given["metadata"] = {name: value for name, value in given["metadata"].items() if name != "files"}
        return given

    def failed(self, problem: str) -> FunctionFailed:
        return FunctionFailed(self.id, f"{self._stage} {problem}")

    def trace(self, before: Seen, after: Seen, *, model: str | None = None, failed: str | None = None) -> FilterApplied:
        sha256 = self._function.sha256
        return trace_of(self.id, self._stage, "function", before, after, source_sha256=sha256, model=model, failed=failed)


class PipelineStep:
    def __init__(self, pipelines: Pipelines, pipeline: Pipeline, stage: WholeStage, user: Mapping[str, Any]) -> None:
        self.id = pipeline.id
        self._pipelines = pipelines
        self._pipeline = pipeline
        self._stage: WholeStage = stage
        self._user = user

    async def call(self, body: Body) -> Any:
        return await self._pipelines.call(self._pipeline, self._stage, body, self._user)

    def failed(self, problem: str) -> PipelineFailed:
        return PipelineFailed(self.id, f"{self._stage} {problem}")

    def trace(self, before: Seen, after: Seen, *, model: str | None = None, failed: str | None = None) -> FilterApplied:
        return trace_of(self.id, self._stage, "pipeline", before, after, model=model, failed=failed)


class StreamStep:
    """One function that sees an answer's chunks. One that fails lets the chunk pass as it is."""

    def __init__(self, function: Function, bound: Bound) -> None:
        self.said = Said()  # before it
        self.is_off = False
        self._function = function
        self._bound = bound
        self._chunks = 0
        self._changed = 0
        self._failed: str | None = None
        self._failed_in_a_row = 0

    async def filtered(self, chunk: Chunk, parts: list[Part]) -> tuple[list[Part], Chunk | None]:
        """The parts and the chunk after it; no chunk where it was dropped."""
        self._chunks += 1
        before = encode_chunk(chunk)
        try:
            given = await self._bound({"event": chunk})
            if not given:
                self._changed += 1
                self._failed_in_a_row = 0
                return [], None
            if not isinstance(given, dict):
                raise FunctionFailed(self._function.id, f"stream returned {type(given).__name__}, expected the chunk")
            try:
                after = encode_chunk(given)
            except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
                raise FunctionFailed(self._function.id, f"stream returned a chunk that is not JSON: {error}") from None
        except FunctionFailed as error:
            self._fail(error)
            return parts, decode_chunk(before)
        self._failed_in_a_row = 0
        if after == before or given == decode_chunk(before):  # the order of keys says nothing
            return parts, given
        self._changed += 1
        return parts_of(given), given

    def _fail(self, error: FunctionFailed) -> None:
        self._failed_in_a_row += 1
        self.is_off = error.reason != "raised" or self._failed_in_a_row >= FAILURES_MAX
        if self._failed is None or self.is_off:
            logger.warning("filter_failed", filter=self._function.id, stage="stream", error=str(error), is_off=self.is_off)
        self._failed = str(error)[:FAILED_CHARACTERS_MAX]

    async def trace(self, before: bytes, after: bytes, keep: Keep) -> FilterApplied:
        is_changed = before != after
        return FilterApplied(
            filter_id=self._function.id,
            stage="stream",
            by="function",
            chunks=self._chunks,
            changed=self._changed,
            sha256_before=sha256_of(before),
            sha256_after=sha256_of(after),
            original=await keep(before) if is_changed else None,
            source_sha256=self._function.sha256,
            failed=self._failed,
        )


def trace_of(
    filter_id: str,
    stage: WholeStage,
    by: Literal["function", "pipeline"],
    before: Seen,
    after: Seen,
    *,
    source_sha256: str | None = None,
    model: str | None = None,
    failed: str | None = None,
) -> FilterApplied:
    changed = before.encoded != after.encoded
    sha256 = before.sha256
    return FilterApplied(
        filter_id=filter_id,
        stage=stage,
        by=by,
        chunks=1,
        changed=int(changed),
        sha256_before=sha256,
        sha256_after=after.sha256 if changed else sha256,
        source_sha256=source_sha256,
        model=model,
        failed=failed and failed[:FAILED_CHARACTERS_MAX],
    )


async def with_original(trace: FilterApplied, before: Seen, after: Seen, keep: Keep) -> FilterApplied:
    if not trace.changed:
        return trace
    return replace(trace, original=await keep(msgspec.json.encode(replaced(before, after))))
