"""The runs of this process, and how a generation is ended that another process runs."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from commands.generation.answer_streams import AnswerStreams, StreamsByKind
from commands.generation.run import Run, with_content
from commands.generation.run_figures import RunFigures, RunReport
from commands.metrics import MetricFigure
from commands.ports import Blobs
from domain.errors import ChatNotFound, ConcurrencyConflict, GenerationNotOpen, TooManyLostRaces
from domain.generation import EndGeneration, GenerationCancelled, GenerationOver
from domain.log.event import StoredEvent
from domain.log.stream import Stream

ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})
DEACTIVATED: Final = "user_deactivated"
CLOSE_ATTEMPTS_MAX: Final = 200


class Runs:
    """All runs of this process. ``observe`` must see every event of the log but deltas."""

    def __init__(self, streams: StreamsByKind, blobs: Blobs) -> None:
        self._streams = streams
        self._blobs = blobs
        self._floor = 0  # the position of this node's last heartbeat: every later start is above it
        self._starting: list[int] = []
        self._by_task: dict[UUID, Run] = {}
        self._by_message: dict[UUID, Run] = {}
        self._deactivated: set[UUID] = set()  # accounts, since this process started: an account is never active again
        self._figures = RunFigures()
        self.on_over: Callable[[RunReport], None] | None = None  # told of each run that is over
        self.closing = False

    def __len__(self) -> int:
        return len(self._by_task)

    @contextlib.contextmanager
    def starting(self) -> Iterator[int]:
        """Encloses the append of a ``message_start`` and ``start``: between the two only the log knows the run.

        Gives a position below that of the start.
        """
        floor = self._floor
        self._starting.append(floor)
        try:
            yield floor
        finally:
            self._starting.remove(floor)

    def start(self, run: Run) -> None:
        self._by_task[run.task_id] = run
        self._by_message[run.message_id] = run
        run.start(self._done)
        if self.closing:
            run.interrupt()
        elif run.user_id in self._deactivated:
            run.stop(None)  # it ended between the request's authentication and here

    def _done(self, run: Run) -> None:
        self._by_task.pop(run.task_id, None)
        self._by_message.pop(run.message_id, None)
        report = run.report()
        self._figures.count(report)
        if self.on_over is not None:
            self.on_over(report)

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of generations (``commands/metrics.py``)."""
        yield "gauge", "stenograph_runs_open", "Generations that this process runs.", len(self)
        yield from self._figures.figures()

    def all(self) -> list[Run]:
        return list(self._by_task.values())

    def get(self, task_id: UUID) -> Run | None:
        return self._by_task.get(task_id)

    def of_stream(self, stream: Stream) -> list[Run]:
        return [run for run in self._by_task.values() if run.stream == stream]

    def open_since(self, head: int) -> int:
        """A position below every generation that is open in this process. ``head`` was read before the call."""
        self._floor = min([head, *self._starting, *(run.started_position - 1 for run in self._by_task.values())])
        return self._floor

    def observe(self, stored: StoredEvent) -> None:
        """Stop the run of a generation that was ended by another process, also while the run waits for its provider; and all runs of
        an account that was deactivated."""
        if stored.type == DEACTIVATED:
            self._deactivated.add(stored.stream.id)
            for one in self.all():
                if one.user_id == stored.stream.id:
                    one.stop(None)
        elif stored.type in ENDS and stored.message_id is not None:
            run = self._by_message.get(stored.message_id)
            if run is not None:
                run.ended_elsewhere()

    async def drain(self, within_s: float) -> None:
        """Wait for the runs to finish, and close those that have not after ``within_s`` as ``interrupted``. Those that no user waits for
        are closed at once.
        """
        self.closing = True
        for run in self.all():
            if run.is_background:
                run.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(run.wait() for run in self.all()))
        for run in self.all():
            run.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(run.wait() for run in self.all()))

    async def stop(self, stream: Stream, message_id: UUID, by: UUID | None) -> bool:
        """End one generation as ``cancelled``, wherever it runs. False: it had ended already.

        A run of this process ends itself, since it holds the newest text. Otherwise the end is appended here; the server that runs the
        generation finds it in the stream and stops.
        """
        run = self._by_message.get(message_id)
        if run is not None:
            run.stop(by)
            await run.wait()
            return True
        return await close_generation(self._streams[stream.kind], self._blobs, stream, message_id, GenerationCancelled(by))


async def close_generation(streams: AnswerStreams, blobs: Blobs, stream: Stream, message_id: UUID, outcome: GenerationOver) -> bool:
    """Append the end of a generation that another process ran, with the text so far. False: it had ended already."""
    for _ in range(CLOSE_ATTEMPTS_MAX):
        version, generation = await streams.open_generation(stream.id, message_id)
        if generation is None:
            return False
        content = await streams.text_so_far(stream.id, message_id, generation)
        ended = await with_content(outcome, content, blobs, stream)
        try:
            end = EndGeneration(stream_id=stream.id, message_id=message_id, outcome=ended)
            await streams.handle(end, expected_version=version, attempts_max=1)
        except (GenerationNotOpen, ChatNotFound):
            return False
        except ConcurrencyConflict:
            continue  # a token was appended in between: the text must include it
        return True
    raise TooManyLostRaces(stream, CLOSE_ATTEMPTS_MAX)
