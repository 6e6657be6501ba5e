"""Work after an answer: a task model is asked for a title, tags, and questions to go on with.

Each question to it is a run of its own, in a chat that is in nobody's list: the log shows which model was asked what, and what came of it.
The work belongs to this process. A restart drops it, a shutdown does not wait for it, and stopping a chat's answers has nothing to do
with it. It takes none of the account's run slots; what it writes counts against the account's bytes of the day.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import structlog

from commands.background.prompts import MESSAGES_SHOWN, prompt_for, words_of
from commands.background.reading import first_line, read_follow_ups, read_tags, read_title
from commands.chats.chats import Chats
from commands.generation.completion import Completions
from commands.generation.context import Message, branch_of
from commands.generation.run import Run
from commands.generation.runs import Runs
from commands.generation.turn import Answerer, Question, TaskKind, Turn
from commands.ports import Blobs
from domain.chat.commands import ChatCommand, Emit, RenameChat, TagChat
from domain.errors import StenographError
from domain.generation import MessageEnded
from domain.log.event import Actor
from projections.chat import text_of
from projections.ports import ChatQueries

logger = structlog.get_logger("background")

CURRENT_MODEL: Final = "current"  # as a setting: the model that has answered
WAITING_MAX: Final = 500  # answers of which work is under way or waits; above it, work is dropped
ANSWER_S: Final = 120.0  # for one question to the task model
CLOSE_S: Final = 5.0
KINDS: Final[Sequence[TaskKind]] = ("follow_ups", "title", "tags")  # in this order


class BackgroundSettings(msgspec.Struct, frozen=True):
    """``model`` None: no model is asked. ``kinds``: which tasks a model is asked for, where the request wants them."""

    model: str | None = None
    kinds: frozenset[TaskKind] = frozenset(KINDS)
    prompts: Mapping[TaskKind, str] = {}  # instead of the built-in ones
    runs_max: int = 4  # at once, in this process


class TaskModelSlow(Exception):
    """The task model did not answer within ``ANSWER_S``."""


class Finished(NamedTuple):
    """One answer whose end is followed by work."""

    chat_id: UUID
    message_id: UUID
    model: str
    wanted: Mapping[TaskKind, bool]  # as the request says; false: without a model
    actor: Actor


class TaskAnswer(NamedTuple):
    """What the task model has said, and in which chat. ``text`` None: it was not asked, or did not end its answer."""

    text: str | None
    chat_id: UUID | None


NO_ANSWER: Final = TaskAnswer(None, None)


class Background:
    def __init__(
        self, completions: Completions, chats: Chats, chat_queries: ChatQueries, blobs: Blobs, runs: Runs, settings: BackgroundSettings
    ) -> None:
        self._completions = completions
        self._chats = chats
        self._chat_queries = chat_queries
        self._blobs = blobs
        self._runs = runs
        self._settings = settings
        self._at_once = asyncio.Semaphore(settings.runs_max)
        self._working: set[asyncio.Task[None]] = set()
        self.dropped = 0  # tasks that came to nothing

    def __len__(self) -> int:
        """Answers of which work is under way or waits."""
        return len(self._working)

    def follow(self, run: Run, turn: Turn, index: int, actor: Actor) -> None:
        """The run of one answer of a turn has started. A chat has one title: only the turn's first answer names it and tags it."""
        if not turn.is_saved or turn.task is not None:
            return
        wanted = {kind: is_wanted for kind, is_wanted in turn.background.items() if index == 0 or kind == "follow_ups"}
        if not wanted:
            return
        finished = Finished(run.stream.id, run.message_id, turn.answerers[index].model, wanted, actor)
        if len(self._working) >= WAITING_MAX:
            self._drop(finished, None, "too much is waiting")
            return
        task = asyncio.create_task(self._after(run, finished), name=f"after {run.task_id}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def close(self) -> None:
        """Drop everything. The runs that are under way end as ``interrupted``, with those of the process."""
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working, timeout=CLOSE_S)

    async def _after(self, run: Run, finished: Finished) -> None:
        await run.wait()
        if not isinstance(run.outcome, MessageEnded):
            return  # stopped, failed or lost: there is nothing to name, and who stops an answer wants no more work
        async with self._at_once:
            try:
                await self._work(finished)
            except StenographError as error:
                self._drop(finished, None, str(error))  # such as: the chat was deleted meanwhile, the database is away
            except Exception:
                logger.exception("background_failed", chat_id=str(finished.chat_id), message_id=str(finished.message_id))

    async def _work(self, finished: Finished) -> None:
        _, chat = await self._chats.state(finished.chat_id)
        if chat.deleted or not chat.listed:
            return  # a temporary chat, or one of a completion: nobody sees its title
        messages, _ = await branch_of(self._chat_queries, self._blobs, finished.chat_id, finished.message_id, messages_max=MESSAGES_SHOWN)
        questions = [message for message in messages if message["role"] == "user"]
        is_slow = False
        for kind in KINDS:
            if kind not in finished.wanted or (kind == "title" and (len(questions) != 1 or chat.renamed)):
                continue
            answer = NO_ANSWER
            try:
                if finished.wanted[kind] and not is_slow:
                    answer = await self._ask(kind, finished, messages)
            except TaskModelSlow as error:
                is_slow = True  # nothing more is asked of it after this answer
                self._drop(finished, kind, str(error))
            except StenographError as error:
                self._drop(finished, kind, str(error))  # such as: there is no such model
            commands = self._commands(kind, finished, questions, answer)
            try:
                if commands:
                    await self._chats.handle_all(commands, actor=None)
            except StenographError as error:
                self._drop(finished, kind, str(error))

    def _commands(self, kind: TaskKind, finished: Finished, questions: Sequence[Message], answer: TaskAnswer) -> Sequence[ChatCommand]:
        """What the task comes to; nothing where the model's answer is no use."""
        chat_id, message_id, made_in = finished.chat_id, finished.message_id, answer.chat_id
        match kind:
            case "title":
                read = self._read(kind, finished, answer, read_title)
                title = read or first_line(words_of(questions[0]))
                rename = RenameChat(chat_id=chat_id, by=None, title=title, task_chat_id=made_in if read else None, unless_renamed=True)
                return [rename] if title else []
            case "tags":
                tags = self._read(kind, finished, answer, read_tags) or ()
                return [TagChat(chat_id=chat_id, by=None, name=tag, present=True, task_chat_id=made_in) for tag in tags]
            case "follow_ups":
                follow_ups = self._read(kind, finished, answer, read_follow_ups)
                data = {"follow_ups": follow_ups, "task_chat_id": str(made_in)}
                return [Emit(chat_id=chat_id, by=None, message_id=message_id, name=kind, data=data)] if follow_ups else []

    def _read(self, kind: TaskKind, finished: Finished, answer: TaskAnswer, read: Callable[[str], Any]) -> Any:
        if answer.text is None:
            return None
        found = read(answer.text)
        if not found:
            self._drop(finished, kind, f"nothing could be read out of an answer of {len(answer.text)} characters")
        return found

    async def _ask(self, kind: TaskKind, finished: Finished, messages: Sequence[Message]) -> TaskAnswer:
        """Raises ``TaskModelSlow``, and what ``Completions.begin`` raises."""
        model = finished.model if self._settings.model == CURRENT_MODEL else self._settings.model
        if model is None or kind not in self._settings.kinds:
            return NO_ANSWER
        prompt, answerer = prompt_for(kind, messages, self._settings.prompts), Answerer(model, uuid4())
        task = {"kind": kind, "chat_id": str(finished.chat_id), "message_id": str(finished.message_id)}
        logger.debug("background_asks", model=model, **task)
        turn = Turn(
            chat_id=None,
            question=Question(prompt),
            parent_id=None,
            answerers=[answerer],
            messages=[{"role": "user", "content": prompt}],
            params={},
            task=task,
        )
        started = await self._completions.begin(turn, finished.actor)
        run = self._runs.get(started.task_ids[0])
        if run is not None:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await run.wait()
            except TimeoutError:
                run.stop(None)
                await run.wait()
                raise TaskModelSlow(f"{model} did not answer within {ANSWER_S:.0f} s") from None
            except asyncio.CancelledError:
                run.interrupt()
                raise
        view, _ = await self._chat_queries.branch(started.chat_id, leaf=answerer.message_id, limit=1)
        message = view.messages[str(answerer.message_id)]
        if message.get("state") != "done":
            self._drop(finished, kind, f"the answer of {model} was not ended: {message.get('state')}")
            return NO_ANSWER
        said = text_of(message)
        return TaskAnswer(said if isinstance(said, str) else "", started.chat_id)

    def _drop(self, finished: Finished, kind: TaskKind | None, reason: str) -> None:
        self.dropped += 1
        ids = {"chat_id": str(finished.chat_id), "message_id": str(finished.message_id)}
        logger.info("background_dropped", task=kind or list(finished.wanted), reason=reason, **ids)
