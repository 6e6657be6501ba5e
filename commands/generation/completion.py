"""Begins turns: what is appended for one, what each model is sent, and the runs that answer it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from commands.calls.direct import DirectTabs, no_direct_tabs
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.content.large_values import large_values, with_references
from commands.functions.call_context import CallContext
from commands.generation.answer_context import answer_context
from commands.generation.chat_answer import ChatAnswer
from commands.generation.context import (
    MESSAGES_MAX,
    SYSTEM_ROLES,
    branch_of,
    is_only_a_question,
    sendable,
    with_branch,
    without_stored_keys,
)
from commands.generation.continuing import continued_messages, continued_node
from commands.generation.files import with_files
from commands.generation.filling import fill
from commands.generation.filtering import Filtering
from commands.generation.model_settings import NO_SETTINGS, Asked, asked, with_other_settings, with_systems, with_variables
from commands.generation.payload import payload_of
from commands.generation.run import Run
from commands.generation.starting import AnswerServices, AnswerStarts, Beginning
from commands.generation.turn import ANSWERS_MAX, Answerer, Question, StartedTurn, Turn
from commands.ports import Appended, CommandKey
from commands.providers.provider import ProviderRequest
from commands.routing.route import Route, Routed
from domain.chat.commands import AddMessage, ChatCommand, CreateChat, ExpectUnchanged
from domain.chat.state import Chat
from domain.errors import BadRequest, ChatNotFound, CommandMismatch, MessageExists, ProviderFailed, Refusal
from domain.log.codec import decode_event
from domain.log.event import Actor
from domain.log.stream import Stream, chat_stream
from projections.ports import ChatQueries

REASONING_TAGS: Final = "reasoning_tags"  # beside the messages, too: it is for this server, not for the provider


class Placement(msgspec.Struct, frozen=True):
    """Where the answers of a turn stand, and what their models are sent."""

    parent_id: UUID | None
    messages: Sequence[Mapping[str, Any]]
    chat_params: Mapping[str, Any]
    added: Sequence[AddMessage] = ()  # the question, where the chat does not have it yet
    unchanged: ExpectUnchanged | None = None  # refuses the turn if a message has changed that it goes on from, or fills
    fills: Collection[UUID] = ()
    text_so_far: str = ""  # what the answers begin with


class Completions:
    """``direct_tabs`` makes the provider that asks a tab of the asker's."""

    def __init__(
        self,
        services: AnswerServices,
        chats: Chats,
        chat_queries: ChatQueries,
        *,
        direct_tabs: DirectTabs = no_direct_tabs,
        folders: FolderTrees | None = None,
    ) -> None:
        self._log = services.log
        self._blobs = services.blobs
        self._chats = chats
        self._chat_queries = chat_queries
        self._model_settings = services.model_settings
        self._filters = services.filters
        self._asking = services.asking
        self._direct_tabs = direct_tabs
        self._folders = folders
        self._routes = services.routes
        self._starts = AnswerStarts(services, chats)
        self.on_started: Callable[[Run, Turn, int, Actor], None] = lambda _run, _turn, _index, _actor: None  # of each answer, by its index
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
        self._starts.require_open()
        if not 1 <= len(turn.answerers) <= ANSWERS_MAX:
            raise BadRequest(f"expected 1 to {ANSWERS_MAX} models, received {len(turn.answerers)}")
        chat_id = turn.chat_id or uuid4()
        try:
            routes = [await self._route(turn, answerer, chat_id, actor) for answerer in turn.answerers]
        except (Refusal, ProviderFailed):
            with suppress(CommandMismatch):
                repeated = await self._repeated(key)
                if repeated is not None:
                    return repeated  # what was begun once gets its first answer, also where the model is gone since
            raise
        source = await self._context_chat(turn, actor)
        version, chat = await self._current_chat(turn, actor)
        making = await self._making(turn, chat_id, actor, key)
        if turn.chat_id is not None:
            source = chat
        elif turn.new_chat is not None:
            source = Chat(owner_id=actor.id, folder_id=turn.new_chat.folder_id)
        fills = {one.message_id for one in turn.answerers if one.message_id in chat.messages} if turn.continues is None else set()
        if turn.continues is not None:
            placed = await self._continuing(turn.continues, turn, chat_id, version, chat, actor)
        elif fills:
            repeated = await self._repeated(key)
            if repeated is not None:
                return repeated  # its answer is there, and would be refused
            placed = await self._filling(fills, turn, chat_id, version, chat, actor)
        else:
            parent_id, added = await self._asked(chat_id, chat, turn, actor)
            messages, chat_params = await self._context(chat, turn, parent_id, added)
            placed = Placement(parent_id, messages, chat_params, added)
        folder_prompt = await self._folder_prompt(source, actor)
        begun = [
            await self._prepared(turn, answerer, route, chat_id, placed, folder_prompt, actor)
            for answerer, route in zip(turn.answerers, routes, strict=True)
        ]
        return await self._append(turn, chat_id, placed, [*making, *placed.added], begun, actor, key)

    async def _context_chat(self, turn: Turn, actor: Actor) -> Chat:
        """The chat that the context is from, where the turn is not stored in it. Raises ``ChatNotFound``."""
        if turn.context_chat_id is None:
            return Chat()
        _, chat = await self._chats.state(turn.context_chat_id)
        if not chat.may_write(actor.id):
            raise ChatNotFound(turn.context_chat_id)
        return chat

    async def _current_chat(self, turn: Turn, actor: Actor) -> tuple[int, Chat]:
        """``(version, chat)`` of the turn's own chat, with the messages that the turn names. Raises ``ChatNotFound``."""
        if turn.chat_id is None:
            return 0, Chat()
        # Fresh: the version check detects a stale fold, but not that the turn's parent is no longer the newest message.
        _, chat = await self._chats.state(turn.chat_id)
        if not chat.may_write(actor.id):
            raise ChatNotFound(turn.chat_id)
        named = [turn.parent_id, turn.continues, turn.question.id if turn.question else None]
        return await self._chats.state(turn.chat_id, fresh=False, messages=[*named, *(one.message_id for one in turn.answerers)])

    async def _making(self, turn: Turn, chat_id: UUID, actor: Actor, key: CommandKey | None) -> list[ChatCommand]:
        """The command that makes the turn's chat, where it makes one."""
        new = turn.new_chat
        if new is not None:
            if self._folders is not None:
                await self._folders.require(actor.id, new.folder_id, key)
            return [CreateChat(chat_id=chat_id, by=actor.id, title=new.title, folder_id=new.folder_id, fields=new.fields)]
        if turn.chat_id is not None:
            return []
        fields = {"task": turn.task} if turn.task is not None else {}
        return [CreateChat(chat_id=chat_id, by=actor.id, title="", listed=False, fields=fields)]

    async def _continuing(self, message_id: UUID, turn: Turn, chat_id: UUID, version: int, chat: Chat, actor: Actor) -> Placement:
        """The new answer beside the one that it goes on from."""
        parent_id = continued_node(chat, message_id).parent_id
        unchanged = ExpectUnchanged(chat_id=chat_id, by=actor.id, since=version, message_ids=[message_id])
        branch, chat_params = await branch_of(self._chat_queries, self._blobs, chat_id, message_id)
        messages, text_so_far = continued_messages(turn.messages, branch, message_id)
        return Placement(parent_id, messages, chat_params, unchanged=unchanged, text_so_far=text_so_far)

    async def _filling(self, fills: Collection[UUID], turn: Turn, chat_id: UUID, version: int, chat: Chat, actor: Actor) -> Placement:
        """The answers in the messages that the chat has for them."""
        parent_id, unchanged = await fill(chat_id, actor.id, version, chat, fills, self._chat_queries)
        require_no_other_place(turn, parent_id, fills)
        _, chat = await self._chats.state(chat_id, fresh=False, messages=[parent_id])
        messages, chat_params = await self._context(chat, turn, parent_id, [])
        return Placement(parent_id, messages, chat_params, unchanged=unchanged, fills=fills)

    async def _prepared(
        self, turn: Turn, answerer: Answerer, route: Routed, chat_id: UUID, placed: Placement, folder_prompt: str, actor: Actor
    ) -> Beginning:
        """One answer, and what its model is going to be sent."""
        settings = self._settings(turn, route, placed.chat_params, folder_prompt, is_direct=is_direct(turn, answerer))
        context = self._call_context(turn, answerer, route, chat_id, actor)
        payload = await payload_of(self._request(route, turn, placed.messages, settings, context))

        def resettled(other: Routed, ask: ProviderRequest) -> ProviderRequest:
            ask = with_other_settings(ask, settings, self._settings(turn, other, placed.chat_params, folder_prompt))
            return msgspec.structs.replace(ask, model=other.upstream)

        filtering = await self._filtering(turn, answerer, route, chat_id, context, resettled)
        return Beginning(route, payload, answerer.message_id, uuid4(), filtering)

    async def _append(
        self,
        turn: Turn,
        chat_id: UUID,
        placed: Placement,
        commands: Sequence[ChatCommand],
        begun: Sequence[Beginning],
        actor: Actor,
        key: CommandKey | None,
    ) -> StartedTurn:
        """Append ``commands`` and the beginnings of the answers, and start their runs."""
        events_count = len(commands) + len(begun)
        started = StartedTurn(chat_id, [one.message_id for one in begun], [one.task_id for one in begun], 0)
        if key is not None:
            key = msgspec.structs.replace(key, answer=msgspec.json.encode(StartedAnswer(started, events_count)))
        stream = chat_stream(chat_id)
        if turn.task is None:  # work in the background must not keep its user from asking
            await self._take_slots(actor.id, stream, begun, key)

        async def append() -> Appended:
            kept = await self._starts.kept_payloads(actor.id, stream, begun)
            starts = [
                self._starts.command(
                    one,
                    stream,
                    actor.id,
                    placed.parent_id,
                    reference,
                    client_id=answerer.client_id,
                    fills=answerer.message_id in placed.fills,
                    continues=turn.continues,
                    fields=answerer.fields,
                )
                for answerer, one, reference in zip(turn.answerers, begun, kept, strict=True)
            ]
            expected = [placed.unchanged] if placed.unchanged is not None else []
            return await self._chats.handle_all([*expected, *commands, *starts], actor=actor, key=key)

        appended = await self._starts.begin(
            stream,
            begun,
            actor,
            append,
            text_so_far=placed.text_so_far,
            is_background=turn.task is not None,
            on_started=lambda run, index: self.on_started(run, turn, index, actor),
        )
        if appended.repeated:
            return stored_start(appended)
        before = appended.versions[0] - events_count
        return msgspec.structs.replace(started, version=before, position=appended.position)

    async def _repeated(self, key: CommandKey | None) -> StartedTurn | None:
        """What an earlier request with this key has begun. Raises ``CommandMismatch`` where that was another request."""
        known = await self._log.find_command(key.actor_id, key.key) if key is not None else None
        if key is None or known is None:
            return None
        if known.request_hash != key.request_hash:
            raise CommandMismatch(key.key)
        return stored_start(known.appended)

    def _call_context(self, turn: Turn, answerer: Answerer, route: Routed, chat_id: UUID, actor: Actor) -> CallContext:
        return answer_context(
            self._chats,
            actor=actor,
            chat_id=chat_id,
            message_id=answerer.message_id,
            model=route.model,
            meta=route.meta,
            beside=turn.beside,
            ask=self._asking(actor, chat_stream(chat_id), answerer.message_id) if self._asking is not None else None,
        )

    async def _filtering(
        self,
        turn: Turn,
        answerer: Answerer,
        route: Routed,
        chat_id: UUID,
        context: CallContext,
        resettled: Callable[[Routed, ProviderRequest], ProviderRequest],
    ) -> Filtering | None:
        if self._filters is None or self._filters.is_empty or turn.task is not None:
            return None
        place = ChatAnswer(
            self._chats, self._blobs, self._chat_queries, chat_id=chat_id, message_id=answerer.message_id, is_saved=turn.is_saved
        )
        return await self._filters.of(place, context=context, model=route.model, meta=route.meta, beside=turn.beside, resettled=resettled)

    async def _route(self, turn: Turn, answerer: Answerer, chat_id: UUID, actor: Actor) -> Routed:
        """Raises as ``Routes.route`` does."""
        direct = None
        if turn.direct is not None and is_direct(turn, answerer):
            provider = self._direct_tabs(actor, chat_id, answerer.message_id, turn.direct)
            direct = Route(provider=provider, upstream=answerer.model)
        # The operator has chosen the task model: who asked for the answer need not be allowed to ask that model.
        asker = actor if turn.task is None else msgspec.structs.replace(actor, role="admin")
        return await self._routes.route(answerer.model, asker, direct=direct)

    def _settings(self, turn: Turn, route: Routed, chat_params: Mapping[str, Any], folder_prompt: str, *, is_direct: bool = False) -> Asked:
        return asked(
            # What an admin has set for a model of that name does not apply to a user's own provider.
            NO_SETTINGS if is_direct else self._model_settings,
            route.model,
            chat_params,
            turn.settings,
            base_model_id=route.base_model_id,
            entry=route.settings,
            folder=folder_prompt,
            variables=turn.variables,
        )

    def _request(
        self, route: Routed, turn: Turn, messages: Sequence[Mapping[str, Any]], settings: Asked, context: CallContext
    ) -> ProviderRequest:
        return ProviderRequest(
            model=route.upstream,
            messages=with_systems(settings.systems if turn.task is None else (), with_variables(messages, turn.variables)),
            params={**settings.custom, **{name: value for name, value in turn.params.items() if name != REASONING_TAGS}},
            options=settings.options,
            reasoning_tags=turn.params.get(REASONING_TAGS, settings.reasoning_tags),
            context=context,
        )

    async def _folder_prompt(self, chat: Chat, actor: Actor) -> str:
        """The system prompt of the folder that the chat is in, and of that folder alone, not of those above it.

        Folders are their owner's: when somebody else asks in the chat, the prompt is not sent.
        """
        if chat.folder_id is None or chat.owner_id != actor.id or self._folders is None:
            return ""
        _, folders = await self._folders.folders_of(actor.id)
        folder = folders.by_id.get(chat.folder_id)
        prompt = folder.data.get("system_prompt") if folder is not None else None
        return prompt if isinstance(prompt, str) else ""

    async def _take_slots(self, user_id: UUID, stream: Stream, begun: Sequence[Beginning], key: CommandKey | None) -> None:
        """Raises ``RateReached``; not for a request that is repeated, which begins nothing."""
        held = await self._starts.take_slots(user_id, stream, begun)
        if held is None or (key is not None and await self._log.find_command(key.actor_id, key.key) is not None):
            return
        raise held

    async def _context(
        self, chat: Chat, turn: Turn, parent_id: UUID | None, added: Sequence[AddMessage]
    ) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
        """What the model is sent, and the params of the chat that it is from. ``parent_id`` is the parent of the answers.

        A caller that sends only the question, or nothing, gets the stored branch above it; one that sends a history is believed.
        """
        chat_id = turn.chat_id or turn.context_chat_id
        if chat_id is None and turn.new_chat is None:
            return sendable(turn.messages), {}
        sent, question = without_stored_keys(turn.messages), turn.question
        if chat_id is None:
            if question is not None and is_only_a_question(sent):
                sent = [message for message in sent if message["role"] in SYSTEM_ROLES]
                sent.append({"role": "user", "content": with_files(question.content, question.fields.get("files"))})
            return sendable(sent), {}
        if not is_only_a_question(sent):
            _, params = await branch_of(self._chat_queries, self._blobs, chat_id, None, messages_max=1)
            return sendable(sent), params
        if question is not None and all(message["role"] in SYSTEM_ROLES for message in sent):
            sent.append({"role": "user", "content": with_files(question.content, question.fields.get("files"))})
        if turn.chat_id is None:
            leaf_id, is_first = None, False  # the branch that is looked at
        elif question is None:
            leaf_id, is_first = parent_id, parent_id is None
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
            above_id = turn.parent_id if parent is not None else None if question.is_first else chat.current_id
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


def is_direct(turn: Turn, answerer: Answerer) -> bool:
    """Whether the asker's own tab answers: for its one model, where several are asked."""
    return turn.direct is not None and turn.direct.model in (None, answerer.model)


def require_no_other_place(turn: Turn, parent_id: UUID | None, fills: Collection[UUID]) -> None:
    """Raises ``MessageExists`` for a turn that puts messages which are there below another one than their own parent."""
    named = turn.question.id if turn.question is not None and turn.question.id is not None else turn.parent_id
    if named is not None and named != parent_id:
        raise MessageExists(min(fills))


class StartedAnswer(msgspec.Struct, frozen=True):
    """Stored with the idempotency key, for a repeated request. ``turn_events``, the number of the turn's events, gives the version before
    the turn.
    """

    started: StartedTurn
    turn_events: int


def stored_start(appended: Appended) -> StartedTurn:
    """The first request's result, from what was stored with its key."""
    kept = msgspec.json.decode(appended.answer, type=StartedAnswer)
    before = appended.versions[0] - kept.turn_events
    return msgspec.structs.replace(kept.started, version=before, position=appended.position)
