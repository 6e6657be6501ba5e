"""A question and its answers: the turn that a completion request begins, and the runs that answer it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import msgspec

from commands.chats import Chats
from commands.generation.context import (
    MESSAGES_MAX,
    SYSTEM_ROLES,
    branch_of,
    is_only_a_question,
    sendable,
    with_branch,
    without_stored_keys,
)
from commands.generation.model_settings import NO_SETTINGS, ModelSettings, asked, with_systems
from commands.generation.run import Run
from commands.generation.runs import Runs
from commands.large_values import large_values, with_references
from commands.ports import Appended, Blobs, CommandKey, EventLog, RunSlots
from commands.providers import ProviderRequest
from commands.routing.route import Routed
from domain.chat.commands import AddMessage, ChatCommand, CreateChat, StartGeneration
from domain.chat.state import Chat
from domain.codec import decode_event
from domain.errors import BadRequest, ChatNotFound, ConcurrencyConflict, LogUnavailable, ProviderFailed, RateReached, Refusal
from domain.event import Actor
from domain.stream import chat_stream
from projections.ports import ChatQueries

ANSWERS_MAX: Final = 16  # models asked side by side in one turn
RUNS_RETRY_S: Final = 5  # when an account with too many runs may ask again: one has ended by then, or will soon


class Routes(Protocol):
    """Who answers for a model: ``commands/routing/router.py``."""

    async def route(self, model: str, actor: Actor) -> Routed:
        """Raises ``ModelNotFound``, ``ArenaEmpty``, ``ProviderFailed``."""
        ...


class Question(msgspec.Struct, frozen=True):
    """The user's message. ``id`` None: the server chooses it."""

    content: Any
    id: UUID | None = None
    parent_id: UUID | None = None
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class Answerer(msgspec.Struct, frozen=True):
    model: str
    message_id: UUID
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One completion request. Without ``chat_id`` the turn gets an unlisted chat of its own."""

    chat_id: UUID | None
    question: Question | None  # None: a regeneration; the answers are children of ``parent_id``
    parent_id: UUID | None
    answerers: Sequence[Answerer]
    messages: Sequence[Mapping[str, Any]]  # as the caller sent them: the whole context, or the question alone
    params: Mapping[str, Any]  # keys that go to the provider as they are
    settings: Mapping[str, Any] = {}  # the request's ``params``, as in ``model_settings.py``
    context_chat_id: UUID | None = None  # the chat that the context is from, where the turn is not stored in it


class StartedTurn(msgspec.Struct, frozen=True):
    """The result of ``begin``; a repeated request gets the same. ``version`` is the chat's version before the turn."""

    chat_id: UUID
    message_ids: Sequence[UUID]
    task_ids: Sequence[UUID]
    version: int
    position: int = 0


class Completions:
    """``runs_max`` says how many runs an account may have at once. ``clock`` gives seconds that only go forward.
    ``spend`` as in ``Run``.
    """

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        chats: Chats,
        chat_queries: ChatQueries,
        runs: Runs,
        routes: Routes,
        slots: RunSlots,
        runs_max: Callable[[UUID], Awaitable[int]],
        *,
        node_id: UUID,
        clock: Callable[[], float],
        spend: Callable[[UUID, int], None] = lambda _user_id, _bytes: None,
        model_settings: ModelSettings = NO_SETTINGS,
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._chats = chats
        self._chat_queries = chat_queries
        self._model_settings = model_settings
        self._runs = runs
        self._routes = routes
        self._slots = slots
        self._runs_max = runs_max
        self._node_id = node_id
        self._clock = clock
        self._spend = spend
        self._beginning: set[asyncio.Task[StartedTurn]] = set()

    async def begin(self, turn: Turn, actor: Actor, key: CommandKey | None = None) -> StartedTurn:
        """Append the turn and start its runs. Returns once the start is committed; the runs go on without the caller.

        Raises what ``Routes.route`` raises, ``BadRequest``, ``RateReached``, and what ``decide`` refuses: nothing was written then.
        """
        # In a task of its own: a caller that is cancelled between the commit and the start would leave a generation without a run.
        task = asyncio.create_task(self._begin(turn, actor, key))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return await asyncio.shield(task)

    async def _begin(self, turn: Turn, actor: Actor, key: CommandKey | None) -> StartedTurn:
        if self._runs.closing:
            raise LogUnavailable("the server is going away; nothing was written")
        if not 1 <= len(turn.answerers) <= ANSWERS_MAX:
            raise BadRequest(f"expected 1 to {ANSWERS_MAX} models, received {len(turn.answerers)}")
        try:
            routes = [await self._routes.route(answerer.model, actor) for answerer in turn.answerers]
        except (Refusal, ProviderFailed):
            known = await self._log.find_command(key.actor_id, key.key) if key is not None else None
            if key is None or known is None or known.request_hash != key.request_hash:
                raise
            return stored_start(known.appended)  # what was begun once gets its first answer, whatever has become of the model since
        made = turn.chat_id is None
        chat_id = turn.chat_id or uuid4()
        chat = Chat()
        if turn.context_chat_id is not None:
            _, source = await self._chats.state(turn.context_chat_id)
            if not source.may_write(actor.id):
                raise ChatNotFound(turn.context_chat_id)
        if not made:
            # Fresh: the version check detects a stale fold, but not that the turn's parent is no longer the newest message.
            _, chat = await self._chats.state(chat_id)
            if not chat.may_write(actor.id):
                raise ChatNotFound(chat_id)
            named = [turn.parent_id, *(answerer.message_id for answerer in turn.answerers)]
            _, chat = await self._chats.state(chat_id, fresh=False, messages=[*named, turn.question.id if turn.question else None])
        commands: list[ChatCommand] = []
        if made:
            commands.append(CreateChat(chat_id=chat_id, by=actor.id, title="", listed=False))
        parent_id, added = await self._asked(chat_id, chat, turn, actor)
        commands.extend(added)
        messages, chat_params = await self._context(chat, turn, parent_id, added)
        tasks = [uuid4() for _ in turn.answerers]
        commands.extend(
            StartGeneration(
                chat_id=chat_id,
                by=actor.id,
                message_id=answerer.message_id,
                parent_id=parent_id,
                model=route.model,
                requested_model=route.requested_model,
                selected_model_id=route.selected_model_id,
                base_model_id=route.base_model_id if route.base_model_id is not None else msgspec.UNSET,
                task_id=task_id,
                node_id=self._node_id,
                client_id=answerer.client_id,
                fields=answerer.fields,
            )
            for answerer, task_id, route in zip(turn.answerers, tasks, routes, strict=True)
        )
        started = StartedTurn(chat_id, [answerer.message_id for answerer in turn.answerers], tasks, 0)
        if key is not None:
            key = msgspec.structs.replace(key, answer=msgspec.json.encode(StartedAnswer(started, len(commands))))
        await self._take_slots(actor.id, chat_id, dict(zip(tasks, started.message_ids, strict=True)), key)
        with self._runs.starting():
            try:
                appended = await self._chats.handle_all(commands, actor=actor, key=key)
            except (Refusal, ConcurrencyConflict):  # otherwise it may have been written
                await self._slots.give_back(tasks)
                raise
            if appended.repeated:
                await self._slots.give_back(tasks)
                return stored_start(appended)
            for answerer, task_id, route in zip(turn.answerers, tasks, routes, strict=True):
                settings = asked(
                    self._model_settings,
                    route.model,
                    chat_params,
                    turn.settings,
                    base_model_id=route.base_model_id,
                    entry=route.settings,
                )
                ask = ProviderRequest(
                    model=route.upstream,
                    messages=with_systems(settings.systems, messages),
                    params={**settings.custom, **turn.params},
                    options=settings.options,
                )
                self._runs.start(
                    Run(
                        self._chats,
                        self._blobs,
                        route.provider,
                        ask,
                        chat_id=chat_id,
                        message_id=answerer.message_id,
                        task_id=task_id,
                        node_id=self._node_id,
                        user_id=actor.id,
                        started_position=appended.position - len(turn.answerers) + 1,
                        clock=self._clock,
                        spend=self._spend,
                    )
                )
        before = appended.versions[0] - len(commands)
        return msgspec.structs.replace(started, version=before, position=appended.position)

    async def _take_slots(self, user_id: UUID, chat_id: UUID, message_ids: Mapping[UUID, UUID], key: CommandKey | None) -> None:
        """Raises ``RateReached``; not for a request that is repeated, which begins nothing."""
        runs_max = await self._runs_max(user_id)
        held = await self._slots.take(user_id, self._node_id, chat_id, message_ids, runs_max=runs_max)
        if held is None or (key is not None and await self._log.find_command(key.actor_id, key.key) is not None):
            return
        raise RateReached("runs", used=held, limit=runs_max, retry_after_s=RUNS_RETRY_S)

    async def _context(
        self, chat: Chat, turn: Turn, parent_id: UUID | None, added: Sequence[AddMessage]
    ) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
        """What the model is sent, and the params of the chat that it is from. ``parent_id`` is the parent of the answers.

        A caller that sends only the question, or nothing, gets the stored branch above it; one that sends a history is believed.
        """
        chat_id = turn.chat_id or turn.context_chat_id
        if chat_id is None:
            return sendable(turn.messages), {}
        sent, question = without_stored_keys(turn.messages), turn.question
        if not is_only_a_question(sent):
            _, params = await branch_of(self._chat_queries, self._blobs, chat_id, None, messages_max=1)
            return sendable(sent), params
        if question is not None and all(message["role"] in SYSTEM_ROLES for message in sent):
            sent.append({"role": "user", "content": question.content})
        if turn.chat_id is None:
            leaf_id, is_first = None, False  # the branch that is looked at
        elif question is None:
            leaf_id, is_first = parent_id, False
        else:  # the question may be stored: the branch ends above it
            node = chat.messages.get(parent_id) if parent_id is not None else None
            leaf_id = added[0].parent_id if added else node.parent_id if node is not None else None
            is_first = leaf_id is None
        branch, params = await branch_of(self._chat_queries, self._blobs, chat_id, leaf_id, messages_max=1 if is_first else MESSAGES_MAX)
        if turn.chat_id is None and branch[-1:] == sent[-1:]:
            del branch[-1:]  # the caller has stored the question itself
        messages = sendable(with_branch(sent, [] if is_first else branch))
        if all(message["role"] in SYSTEM_ROLES for message in messages):
            raise BadRequest("expected messages, or a chat that holds some")
        return messages, params

    async def _asked(self, chat_id: UUID, chat: Chat, turn: Turn, actor: Actor) -> tuple[UUID | None, list[AddMessage]]:
        """The parent of the answers, and the command that adds the user's message unless the chat has it.

        ``parent_id`` of a request is the message that is answered, or the parent of the new message, whichever exists. If no such
        message exists, it is the id of the new message.
        """
        question = turn.question
        parent = chat.messages.get(turn.parent_id) if turn.parent_id is not None else None
        if question is None or (question.id is None and parent is not None and parent.role == "user"):
            return turn.parent_id if turn.parent_id is not None else chat.current_id, []
        if question.id is not None and question.id in chat.messages:
            return question.id, []
        question = await self._kept(chat_id, question, actor)
        above_id = question.parent_id
        if above_id is None:
            above_id = turn.parent_id if parent is not None else chat.current_id
        if question.id is None and turn.parent_id is None and await self._is_asked(chat_id, chat, question):
            return chat.current_id, []
        message_id = question.id or (turn.parent_id if turn.parent_id is not None and parent is None else uuid4())
        add = AddMessage(
            chat_id=chat_id,
            by=actor.id,
            message_id=message_id,
            parent_id=above_id,
            role="user",
            content=question.content,
            client_id=question.client_id,
            fields=question.fields,
        )
        return message_id, [add]

    async def _kept(self, chat_id: UUID, question: Question, actor: Actor) -> Question:
        """As it is stored: so that it is known again where its content is a reference."""
        if not large_values(question):
            return question
        await self._log.require_account(actor.id)
        return await with_references(question, self._blobs, chat_stream(chat_id))

    async def _is_asked(self, chat_id: UUID, chat: Chat, question: Question) -> bool:
        """Whether the current message is this question and has no answer."""
        node = chat.messages.get(chat.current_id) if chat.current_id is not None else None
        if chat.current_id is None or node is None or node.role != "user" or node.children or node.deleted:
            return False
        for stored in await self._log.read_message(chat_stream(chat_id), chat.current_id, after=0):
            if stored.type == "message_added":
                return bool(decode_event(stored).data.content == question.content)
        return False


class StartedAnswer(msgspec.Struct, frozen=True):
    """Stored with the idempotency key, for a repeated request. Each command of a turn is one event, so ``turn_events`` gives the version
    before the turn.
    """

    started: StartedTurn
    turn_events: int


def stored_start(appended: Appended) -> StartedTurn:
    """The first request's result, from what was stored with its key."""
    kept = msgspec.json.decode(appended.answer, type=StartedAnswer)
    before = appended.versions[0] - kept.turn_events
    return msgspec.structs.replace(kept.started, version=before, position=appended.position)
