"""A question and its answers: the turn that a completion request begins."""

import asyncio
import time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.chat_queries import MemoryChatQueries
from commands.generation.completion import Completions
from commands.generation.model_settings import NO_SETTINGS, ModelSettings
from commands.generation.starting import AnswerServices
from commands.generation.turn import ANSWERS_MAX, Answerer, NewChat, Question, StartedTurn, Turn
from commands.ports import AppendRequest, CommandKey, NodeBeat, StreamAppend
from commands.routing.route import Route, Routed
from domain.accounts.user.facts import UserCreated
from domain.chat.commands import DeleteMessage, ShareChat
from domain.chat.facts import ChatCreated, MessageAdded
from domain.errors import (
    ArenaEmpty,
    BadRequest,
    ChatNotFound,
    CommandMismatch,
    LogUnavailable,
    MessageExists,
    ModelNotFound,
    ParentNotFound,
    ProviderFailed,
    RateReached,
    StenographError,
)
from domain.generation import GenerationInterrupted, MessageEnded, MessageStarted
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream, user_stream
from tests.commands.world import ME, SOMEBODY, ToldProvider, World, until

pytestmark = pytest.mark.anyio


class Way(NamedTuple):
    provider: ToldProvider
    upstream: str


class KnownModels:
    """Knows ``demo`` and ``other``, each with a provider of its own. ``routed`` says more of what is found, ``routed_by_model`` of one."""

    def __init__(self, provider: ToldProvider) -> None:
        self.ways = {"demo": Way(provider, "demo-upstream"), "other": Way(ToldProvider(), "other-upstream")}
        self.routed: dict[str, Any] = {}
        self.routed_by_model: dict[str, dict[str, Any]] = {}

    async def route(self, model: str, actor: Actor, *, direct: Route | None = None) -> Routed:
        await asyncio.sleep(0)
        if model not in self.ways:
            raise ModelNotFound(model)
        way = self.ways[model]
        known = {"requested_model": model, "model": model, "provider": way.provider, "upstream": way.upstream}
        return Routed(**known | self.routed | self.routed_by_model.get(model, {}))


class Server:
    async def found_if_it_dies(self) -> set[UUID]:
        """The open generations that another server finds by this one's last heartbeat."""
        log = self.world.log
        since = self.world.runs.open_since(await log.head())
        return {one.message_id for one in await log.nodes.open_generations(since=since)}

    def __init__(self, world: World, model_settings: ModelSettings = NO_SETTINGS) -> None:
        self.world = world
        self.models = KnownModels(world.provider)
        self.runs_max = ANSWERS_MAX
        self.slots = MemoryRunSlots(world.log, world.log.nodes)
        services = AnswerServices(
            log=world.log,
            blobs=world.log.blobs,
            runs=world.runs,
            routes=self.models,
            slots=self.slots,
            runs_max=self._runs_max,
            node_id=world.node_id,
            clock=time.monotonic,
            model_settings=model_settings,
        )
        self.completions = Completions(services, world.chats, MemoryChatQueries(world.log, world.log.blobs))

    async def _runs_max(self, _user_id: UUID) -> int:
        return self.runs_max

    async def begin(self, turn: Turn, key: CommandKey | None = None, actor: Any = ME) -> StartedTurn:
        return await self.completions.begin(turn, actor, key)

    async def finish(self) -> None:
        """Every answer is said, and over."""
        for way in self.models.ways.values():
            for _ in range(ANSWERS_MAX):
                way.provider.say("ok")
                way.provider.end()
        await asyncio.gather(*(run.wait() for run in self.world.runs.all()))


@pytest.fixture
def server() -> Server:
    return Server(World())


def turn(chat_id: UUID | None = None, content: Any = "hello", *models: str, **more: Any) -> Turn:
    known: dict[str, Any] = {
        "chat_id": chat_id,
        "question": Question(content) if content is not None else None,
        "parent_id": None,
        "answerers": [Answerer(model, uuid4()) for model in models or ("demo",)],
        "messages": [{"role": "user", "content": content}],
        "params": {"temperature": 0},
    }
    return Turn(**known | more)


def tree(server: Server, chat_id: UUID) -> list[tuple[str, str, str | None]]:
    """``(type, id, parent)`` of what stands in the chat, ids as their last three digits."""
    return [
        (stored.type, str(stored.message_id)[-3:], str(event.data.parent_id)[-3:] if event.data.parent_id else None)
        for stored, event in zip(server.world.log._streams[chat_stream(chat_id)], server.world.log.of(chat_id), strict=True)
        if isinstance(event.data, MessageAdded | MessageStarted)
    ]


def last(message_id: UUID) -> str:
    return str(message_id)[-3:]


# ------------------------------------------------------------------------------------------------------ where it happens


async def test_a_turn_without_a_chat_gets_one_that_is_in_nobodys_list(server: Server) -> None:
    started = await server.begin(turn())
    created, asked, start = (event.data for event in server.world.log.of(started.chat_id)[:3])
    assert created == ChatCreated(ME.id, "", listed=False)
    assert (asked.content, asked.role, asked.parent_id) == ("hello", "user", None)
    assert (start.model, start.task_id, start.node_id) == ("demo", started.task_ids[0], server.world.node_id)
    assert (started.version, started.position) == (0, 3)
    assert await server.world.log.version(user_stream(ME.id)) == 0
    await server.finish()
    assert isinstance(server.world.log.of(started.chat_id)[-1].data, MessageEnded)


async def test_the_provider_is_asked_under_its_own_name_with_what_the_caller_said(server: Server) -> None:
    await server.begin(turn())
    await until(lambda: server.world.provider.asked)
    (ask,) = server.world.provider.asked
    assert (ask.model, ask.messages, ask.params) == ("demo-upstream", [{"role": "user", "content": "hello"}], {"temperature": 0})


async def test_a_turn_in_a_chat_hangs_below_what_is_looked_at(server: Server) -> None:
    chat_id = await server.world.chat()
    above = await server.world.message(chat_id, "before")
    started = await server.begin(turn(chat_id))
    (first, question, answer) = tree(server, chat_id)
    assert first == ("message_added", last(above), None)
    assert question[2] == last(above)
    assert answer == ("message_start", last(started.message_ids[0]), question[1])
    assert (started.version, started.position) == (2, 5)


async def test_whoever_may_not_write_there_may_not_ask_there(server: Server) -> None:
    chat_id = await server.world.chat()
    for who in (chat_id, uuid4()):
        with pytest.raises(ChatNotFound):
            await server.begin(turn(who), actor=SOMEBODY)
    assert server.world.log.types(chat_id) == ["chat_created"]
    assert server.world.provider.asked == []


async def test_a_grant_from_another_process_counts_at_once(server: Server) -> None:
    chat_id = await server.world.chat()
    with pytest.raises(ChatNotFound):
        await server.begin(turn(chat_id), actor=SOMEBODY)
    elsewhere = World(server.world.log)
    await make_user(server, SOMEBODY.id)
    await elsewhere.chats.handle(ShareChat(chat_id=chat_id, by=ME.id, user_id=SOMEBODY.id, permission="write"))
    started = await server.begin(turn(chat_id), actor=SOMEBODY)
    assert started.chat_id == chat_id


async def make_user(server: Server, user_id: UUID) -> None:
    made = StreamAppend(user_stream(user_id), [Event(None, UserCreated("x", "x@example.org", "user"))], 0)
    await server.world.log.append(AppendRequest(appends=[made]))


async def test_what_another_process_said_is_what_is_answered(server: Server) -> None:
    chat_id = await server.world.chat()
    await server.world.message(chat_id, "old")
    newest = await World(server.world.log).message(chat_id, "newer")
    await server.begin(turn(chat_id))
    assert tree(server, chat_id)[2][2] == last(newest)


async def test_a_conversation_goes_on_where_its_last_turn_was_deleted(server: Server) -> None:
    chat_id = await server.world.chat()
    first = await server.begin(turn(chat_id, "first"))
    await server.finish()
    second = await server.begin(turn(chat_id, "second"))
    await server.finish()
    question = server.world.log.view(chat_id).messages[str(second.message_ids[0])]["parentId"]
    await World(server.world.log).chats.handle(DeleteMessage(chat_id=chat_id, by=ME.id, message_id=UUID(question)))
    third = await server.begin(turn(chat_id, "third"))
    messages = server.world.log.view(chat_id).messages
    asked = messages[messages[str(third.message_ids[0])]["parentId"]]
    assert asked["parentId"] == str(first.message_ids[0])


# ---------------------------------------------------------------------------------------------------------- the question


async def test_a_question_may_have_its_own_id_place_and_keys(server: Server) -> None:
    chat_id = await server.world.chat()
    above, beside, question_id = await server.world.message(chat_id), await server.world.message(chat_id), uuid4()
    question = Question("why?", id=question_id, parent_id=above, client_id="mine", fields={"files": [1]})
    await server.begin(turn(chat_id, question=question))
    assert server.world.log.of(chat_id)[3].data == MessageAdded(above, "user", "why?", "mine", {"files": [1]})
    assert tree(server, chat_id)[-1][2] == last(question_id)
    assert beside != above


async def test_a_question_that_is_there_already_is_not_added_again(server: Server) -> None:
    chat_id = await server.world.chat()
    question_id = await server.world.message(chat_id, "hello")
    await server.begin(turn(chat_id, question=Question("hello", id=question_id)))
    assert server.world.log.types(chat_id)[1:3] == ["message_added", "message_start"]
    assert tree(server, chat_id)[-1][2] == last(question_id)


async def test_a_question_that_another_process_added_is_not_added_again(server: Server) -> None:
    chat_id = await server.world.chat()
    question_id = await World(server.world.log).message(chat_id, "hello")
    await server.begin(turn(chat_id, question=Question("hello", id=question_id)))
    assert server.world.log.types(chat_id)[1:3] == ["message_added", "message_start"]


@pytest.mark.parametrize("content", ["hello", [{"type": "text", "text": "hello"}]])
async def test_the_newest_message_that_nobody_answered_is_the_question_if_it_says_the_same(server: Server, content: Any) -> None:
    chat_id = await server.world.chat()
    asked = await server.world.message(chat_id, content)
    await server.begin(turn(chat_id, content))
    assert tree(server, chat_id)[-1] == ("message_start", tree(server, chat_id)[-1][1], last(asked))
    assert server.world.log.types(chat_id).count("message_added") == 1


async def test_the_same_words_after_an_answer_are_a_new_question(server: Server) -> None:
    chat_id = await server.world.chat()
    await server.begin(turn(chat_id, "again"))
    await server.finish()
    await server.begin(turn(chat_id, "again"))
    assert server.world.log.types(chat_id).count("message_added") == 2


async def test_other_words_are_a_new_question(server: Server) -> None:
    chat_id = await server.world.chat()
    await server.world.message(chat_id, "hello")
    await server.begin(turn(chat_id, "hello!"))
    assert server.world.log.types(chat_id).count("message_added") == 2


async def test_a_regeneration_is_a_sibling_of_the_answer(server: Server) -> None:
    chat_id = await server.world.chat()
    first = await server.begin(turn(chat_id))
    await server.finish()
    question = UUID(server.world.log.view(chat_id).messages[str(first.message_ids[0])]["parentId"])
    second = await server.begin(turn(chat_id, None, parent_id=question))
    assert server.world.log.types(chat_id).count("message_added") == 1
    shown = server.world.log.view(chat_id).messages[str(question)]["childrenIds"]
    assert shown == [str(first.message_ids[0]), str(second.message_ids[0])]


async def test_an_id_of_the_parent_that_is_not_there_yet_is_the_new_messages_own(server: Server) -> None:
    chat_id, question_id = await server.world.chat(), uuid4()
    await server.begin(turn(chat_id, parent_id=question_id))
    assert tree(server, chat_id)[0] == ("message_added", last(question_id), None)
    assert tree(server, chat_id)[1][2] == last(question_id)


async def test_an_answer_below_nothing_that_is_there_is_refused(server: Server) -> None:
    chat_id = await server.world.chat()
    with pytest.raises(ParentNotFound):
        await server.begin(turn(chat_id, None, parent_id=uuid4()))
    assert server.world.log.types(chat_id) == ["chat_created"]


async def test_a_turn_may_begin_a_chat_of_its_askers_list(server: Server) -> None:
    messages = [{"role": "system", "content": "Be brief."}]
    fields = {"models": ["demo"]}
    started = await server.begin(turn(None, "hello", messages=messages, new_chat=NewChat(fields=fields)))
    assert await server.found_if_it_dies() == set(started.message_ids)  # its start is not the last event of the request
    await server.finish()
    view = server.world.log.view(started.chat_id)
    assert (view.listed, view.title, view.fields, view.owner_id) == (True, "New Chat", fields, ME.id)
    question, answer = view.branch(view.current_id)
    assert (view.messages[question]["content"], UUID(answer)) == ("hello", started.message_ids[0])
    (asked,) = server.world.provider.asked
    assert asked.messages == [*messages, {"role": "user", "content": "hello"}]


# ----------------------------------------------------------------------------------------------------------- the answers


async def test_several_models_answer_side_by_side(server: Server) -> None:
    started = await server.begin(turn(None, "hello", "demo", "other", "demo"))
    assert len(set(started.message_ids)) == len(set(started.task_ids)) == 3
    assert started.version == 0
    assert started.position == 5
    assert await server.found_if_it_dies() == set(started.message_ids)
    parents = {parent for type_, _, parent in tree(server, started.chat_id) if type_ == "message_start"}
    assert len(parents) == 1
    await server.finish()
    ends = {event.message_id for event in server.world.log.of(started.chat_id) if isinstance(event.data, MessageEnded)}
    assert ends == set(started.message_ids)
    assert [len(way.provider.asked) for way in server.models.ways.values()] == [2, 1]


@pytest.mark.parametrize("count", [0, ANSWERS_MAX + 1])
async def test_there_is_at_least_one_model_and_a_bounded_number(server: Server, count: int) -> None:
    with pytest.raises(BadRequest):
        await server.begin(turn(answerers=[Answerer("demo", uuid4())] * count))
    assert await server.world.log.head() == 0


async def test_of_a_turn_with_an_unknown_model_nothing_is_written(server: Server) -> None:
    chat_id = await server.world.chat()
    with pytest.raises(ModelNotFound):
        await server.begin(turn(chat_id, "hello", "demo", "nobody"))
    assert server.world.log.types(chat_id) == ["chat_created"]
    assert server.world.provider.asked == []


async def test_an_answer_that_is_there_already_is_refused_and_nothing_of_the_turn_is_written(server: Server) -> None:
    chat_id = await server.world.chat()
    known = await server.world.message(chat_id)
    with pytest.raises(MessageExists):
        await server.begin(turn(chat_id, "new", answerers=[Answerer("demo", uuid4()), Answerer("demo", known)]))
    assert server.world.log.types(chat_id) == ["chat_created", "message_added"]
    assert len(server.world.runs) == 0


# ---------------------------------------------------------------------------------------------------------- idempotency


KEY = CommandKey(ME.id, "k", b"hash")


@pytest.mark.parametrize("in_a_chat", [True, False])
async def test_a_repeated_request_is_told_what_the_first_was_and_starts_nothing(server: Server, in_a_chat: bool) -> None:
    chat_id = await server.world.chat() if in_a_chat else None
    asked = turn(chat_id, "hello", "demo", "other")
    first = await server.begin(asked, KEY)
    await server.finish()
    if chat_id is not None:
        await server.world.message(chat_id, "later")
    events = await server.world.log.head()
    for repeated in (asked, turn(chat_id, "hello", "demo", "other")):  # a server makes new ids each time
        assert await server.begin(repeated, KEY) == first
    assert await Server(World(server.world.log)).begin(asked, KEY) == first  # and so does another process
    assert await server.world.log.head() == events
    assert [len(way.provider.asked) for way in server.models.ways.values()] == [1, 1]
    assert len(server.world.runs) == 0


async def test_the_same_request_twice_at_once_is_one(server: Server) -> None:
    turns = [turn() for _ in range(5)]
    answers = await asyncio.gather(*(server.begin(one, KEY) for one in turns))
    assert len({answer.chat_id for answer in answers}) == 1
    assert len(set(map(repr, answers))) == 1
    assert len(server.world.runs) == 1
    assert await server.world.log.head() == 3


async def test_the_key_of_another_request_is_refused(server: Server) -> None:
    await server.begin(turn(), KEY)
    with pytest.raises(CommandMismatch):
        await server.begin(turn(), CommandKey(ME.id, "k", b"another hash"))


# --------------------------------------------------------------------------------------------------- leaving and closing


async def test_a_caller_that_leaves_between_the_commit_and_the_start_leaves_no_answer_alone(server: Server) -> None:
    held = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        server.world.log.after_append = None
        await held.wait()

    server.world.log.after_append = hold
    calling = asyncio.create_task(server.begin(turn()))
    await until(lambda: server.world.log.events)
    calling.cancel()
    await asyncio.wait([calling])
    assert len(server.world.runs) == 0
    held.set()
    await until(lambda: len(server.world.runs) == 1)
    chat_id = server.world.log.events[0].stream.id
    await server.finish()
    assert isinstance(server.world.log.of(chat_id)[-1].data, MessageEnded)


async def test_a_server_that_is_going_away_begins_nothing(server: Server) -> None:
    await server.world.runs.drain(0)
    with pytest.raises(LogUnavailable):
        await server.begin(turn())
    assert await server.world.log.head() == 0


async def test_what_was_begun_while_the_server_went_away_is_handed_over(server: Server) -> None:
    held = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        server.world.log.after_append = None
        await held.wait()

    server.world.log.after_append = hold
    calling = asyncio.create_task(server.begin(turn()))
    await until(lambda: server.world.log.events)
    await server.world.runs.drain(0)
    held.set()
    started = await calling
    await until(lambda: len(server.world.runs) == 0)
    assert server.world.log.of(started.chat_id)[-1].data == GenerationInterrupted(server.world.node_id, "")


async def test_a_failed_start_is_told_and_leaves_nothing_behind(server: Server) -> None:
    async def fail(request: AppendRequest) -> None:
        server.world.log.before_append = None
        raise LogUnavailable("silent")

    server.world.log.before_append = fail
    with pytest.raises(StenographError):
        await server.begin(turn())
    assert len(server.world.runs) == 0
    assert server.world.runs._starting == []
    await server.begin(turn())


async def test_two_turns_in_one_chat_at_once_are_two_turns(server: Server) -> None:
    chat_id = await server.world.chat()
    await asyncio.gather(*(server.begin(turn(chat_id, f"question {number}")) for number in range(5)))
    assert len(server.world.runs) == 5
    await server.finish()
    assert server.world.log.types(chat_id).count("message_end") == 5
    asked = [event.data.content for event in server.world.log.of(chat_id) if isinstance(event.data, MessageAdded)]
    assert sorted(asked) == [f"question {number}" for number in range(5)]


@pytest.fixture
async def bounded(server: Server) -> Server:
    """Two runs at once."""
    await server.world.log.nodes.beat(server.world.node_id, NodeBeat(1, 0))
    server.runs_max = 2
    return server


async def test_a_run_above_the_quota_is_refused_and_nothing_is_written(bounded: Server) -> None:
    await bounded.begin(turn())
    head = await bounded.world.log.head()
    with pytest.raises(RateReached) as refused:
        await bounded.begin(turn(answerers=[Answerer("demo", uuid4()), Answerer("other", uuid4())]))
    assert (refused.value.used, refused.value.limit) == (1, 2)
    assert await bounded.world.log.head() == head
    await bounded.begin(turn())  # the refused one holds nothing


async def test_a_run_that_has_ended_makes_room_for_another(bounded: Server) -> None:
    await bounded.begin(turn())
    await bounded.begin(turn())
    await bounded.finish()
    await bounded.begin(turn())


async def test_a_turn_that_is_refused_for_another_reason_holds_no_run(bounded: Server) -> None:
    started = await bounded.begin(turn())
    for _ in range(3):
        with pytest.raises(MessageExists):
            await bounded.begin(turn(chat_id=started.chat_id, answerers=[Answerer("demo", started.message_ids[0])]))
    assert await bounded.slots.count(ME.id) == 1


async def test_a_repeated_request_gets_its_first_answer_also_where_the_quota_is_reached(bounded: Server) -> None:
    key = CommandKey(ME.id, "again", b"h")
    answerers = [Answerer("demo", uuid4()), Answerer("other", uuid4())]
    first = await bounded.begin(turn(answerers=answerers), key)
    assert (await bounded.begin(turn(answerers=answerers), key)).message_ids == first.message_ids
    assert await bounded.slots.count(ME.id) == 2


async def test_one_accounts_runs_do_not_count_for_another(bounded: Server) -> None:
    await bounded.begin(turn())
    await bounded.begin(turn())
    await bounded.begin(turn(), actor=SOMEBODY)


async def test_what_routing_found_is_in_the_log_and_its_settings_are_sent(server: Server) -> None:
    server.models.routed = {
        "requested_model": "arena",
        "model": "preset",
        "selected_model_id": "preset",
        "base_model_id": "gpt",
        "settings": {"system": "Rhyme.", "temperature": 0.5, "custom_params": {"x": 1}},
    }
    started = await server.begin(turn(None, "hello", "demo", params={}))
    await server.finish()
    [start] = [event.data for event in server.world.log.of(started.chat_id) if isinstance(event.data, MessageStarted)]
    assert (start.requested_model, start.model, start.selected_model_id, start.base_model_id) == ("arena", "preset", "preset", "gpt")
    [ask] = server.world.provider.asked
    assert (ask.model, ask.options, ask.params) == ("demo-upstream", {"temperature": 0.5}, {"x": 1})
    assert [message["role"] for message in ask.messages] == ["system", "user"]
    assert ask.messages[0]["content"] == "Rhyme."


@pytest.mark.parametrize("failure", [ModelNotFound("demo"), ArenaEmpty("demo"), ProviderFailed("provider_unreachable", "gone")])
async def test_a_refusal_of_routing_writes_nothing_and_a_repeat_gets_its_first_answer(server: Server, failure: Exception) -> None:
    key = CommandKey(ME.id, "key", b"a" * 32)
    asked = turn()
    first = await server.begin(asked, key)
    await server.finish()

    async def refuse(model: str, actor: Actor, *, direct: Route | None = None) -> Routed:
        raise failure

    server.models.route = refuse  # type: ignore[method-assign]
    head = await server.world.log.head()
    assert await server.begin(asked, key) == first
    for other in (None, CommandKey(ME.id, "key", b"b" * 32), CommandKey(ME.id, "new", b"a" * 32)):
        with pytest.raises(type(failure)):
            await server.begin(asked, other)
    assert await server.world.log.head() == head
