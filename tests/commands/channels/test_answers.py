"""Models in channels: who makes them answer, where, with what before their eyes, and who ends it."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.channel_queries import MemoryChannelQueries
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Calls
from commands.channels.answer_context import CONTEXT_MESSAGES
from commands.channels.answers import MODELS_MAX, ChannelAnswers, Posted
from commands.channels.channel_calls import ChannelCalls
from commands.channels.channels import Channels
from commands.filters.filters import Filters
from commands.generation.filtering import AnswerFilters
from commands.generation.node_watch import NodeWatch
from commands.generation.runs import Runs
from commands.generation.starting import AnswerServices
from commands.ports import AppendRequest, CommandKey, NodeBeat, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import (
    AskModel,
    ChangeChannel,
    ChangeMessage,
    CreateChannel,
    DeleteChannel,
    PostMessage,
    RemoveMembers,
    RemoveMessage,
)
from domain.channel.facts import MessageChanged, MessagePosted
from domain.channel.rights import Asker, may_stop
from domain.errors import BadRequest, CallNotFound, CallTaken, Forbidden, GenerationOpen
from domain.generation import (
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
    StartGeneration,
)
from domain.log.codec import decode_event
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import channel_stream, user_stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened
from tests.commands.generation.test_completion import KnownModels
from tests.commands.routing.functions import TestFunctions
from tests.commands.world import World, until

pytestmark = pytest.mark.anyio

ANN, BEN, CAT = (UUID(int=number) for number in range(1, 4))
ann, ben, cat = (Asker(one, "user") for one in (ANN, BEN, CAT))
NAMES = {ANN: "Ann", BEN: "Ben", CAT: "Cat"}
CHANNEL = UUID(int=0xC0)
STREAM = channel_stream(CHANNEL)


class Room:
    """A channel of Ann, who manages it, and Ben and Cat, on one process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.channels = Channels(world.log)
        self.streams: Any = {"chat": world.chats, "channel": self.channels}
        self.runs = Runs(self.streams, world.log.blobs)
        self.models = KnownModels(world.provider)
        self.runs_max = 100
        self.slots = MemoryRunSlots(world.log, world.log.nodes)
        self.queries = MemoryChannelQueries(world.log)
        self.functions = TestFunctions()
        self.calls = Calls(
            world.log,
            world.log.blobs,
            {"channel": ChannelCalls(self.channels, lambda actor: Asker(actor.id, actor.role))},
            world.relaying,
            world.node_id,
        )
        heard = world.log.on_committed

        def committed(events: Sequence[StoredEvent]) -> None:
            heard(events)
            for event in events:
                self.calls.observe(event)

        world.log.on_committed = committed
        self.call_answers = CallAnswers(self.calls, world.relaying)
        services = AnswerServices(
            log=world.log,
            blobs=world.log.blobs,
            runs=self.runs,
            routes=self.models,
            slots=self.slots,
            runs_max=self._runs_max,
            node_id=world.node_id,
            clock=time.monotonic,
            filters=AnswerFilters(Filters(self.functions), world.log.blobs, self.models.route),
            asking=self.calls.asking,
        )
        self.answers = ChannelAnswers(services, self.channels, self.queries)

    async def _runs_max(self, _user_id: UUID) -> int:
        return self.runs_max

    async def make(self, **more: Any) -> None:
        for one in (ANN, BEN, CAT):
            fact = UserCreated(NAMES[one], f"{one.int}@example.org", "user")
            await self.world.log.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, fact)], 0)]))
        command = CreateChannel(channel_id=CHANNEL, by=ann, type="group", name="friends", member_ids=[BEN, CAT], **more)
        await self.channels.handle(command, actor=Actor(ANN, "Ann", "user"))

    async def post(self, content: str, by: Asker = ben, *, key: CommandKey | None = None, **more: Any) -> tuple[UUID, Posted]:
        message_id = more.pop("message_id", None) or uuid4()
        command = PostMessage(channel_id=CHANNEL, by=by, message_id=message_id, content=content, **more)
        return message_id, await self.answers.post(command, Actor(by.id, NAMES[by.id], "user"), key=key)

    async def ends(self, text: str = "Hello.", model: str = "demo") -> None:
        """The model says this, and its run is over."""
        self.models.ways[model].provider.say(text)
        self.models.ways[model].provider.end()
        await until(lambda: len(self.runs) == 0)

    async def stored(self) -> Sequence[StoredEvent]:
        return await self.world.log.read(STREAM, limit=10_000)

    async def facts(self, message_id: UUID | None) -> list[Any]:
        return [decode_event(one).data for one in await self.stored() if one.message_id == message_id]

    def sent(self, model: str = "demo") -> list[Any]:
        """The messages of the newest request to the model, without the system's."""
        messages = self.models.ways[model].provider.asked[-1].messages
        assert messages[0]["role"] == "system"
        return [(one["role"], one["content"]) for one in messages[1:]]


@pytest.fixture
async def room() -> Room:
    made = Room(World())
    await made.make()
    return made


# ------------------------------------------------------------------------------------------------------- who makes it answer


async def test_a_mentioned_model_answers_in_the_thread_as_events_of_the_channel(room: Room) -> None:
    asked_id, posted = await room.post("<@M:demo|Demo> what is up?")
    [answer] = posted.answers
    assert answer.code is None
    await room.ends("Not much.")
    start, _, _, end = await room.facts(answer.message_id)
    assert isinstance(start, MessageStarted)
    assert (start.parent_id, start.model, start.task_id, start.node_id) == (asked_id, "demo", answer.task_id, room.world.node_id)
    assert start.fields == {"user_id": str(BEN)}
    assert isinstance(end, MessageEnded)
    assert end.content == "Not much."
    _, channel = await room.channels.state(CHANNEL, messages=[answer.message_id], generations=True)
    assert channel.open_generations == {}
    message = (await room.queries.messages(CHANNEL, [answer.message_id]))[answer.message_id]  # type: ignore[index,list-item]
    assert (message.text, message.user_id, message.meta["model_id"], message.meta["state"]) == ("Not much.", BEN, "demo", "done")


async def test_the_message_and_the_beginning_of_its_answers_are_one_commit(room: Room) -> None:
    appends = room.world.log.appends
    await room.post("<@M:demo> and <@M:other>")
    assert room.world.log.appends == appends + 1
    assert [one.type for one in await room.stored()][-3:] == ["message", "message_start", "message_start"]
    room.models.ways["other"].provider.end()
    await room.ends()


async def test_a_reply_to_what_a_model_said_makes_it_answer(room: Room) -> None:
    _, posted = await room.post("<@M:demo> hi")
    await room.ends("Hello Ben.")
    root_id = (await room.facts(posted.answers[0].message_id))[0].parent_id
    _, again = await room.post("and now?", cat, reply_to_id=posted.answers[0].message_id, parent_id=root_id)
    assert [one.model for one in again.answers] == ["demo"]
    await room.ends("Still here.")
    assert room.sent() == [("user", "Ben: @demo hi"), ("assistant", "Hello Ben."), ("user", "Cat: and now?")]


async def test_who_says_that_a_model_has_written_their_message_makes_none_answer(room: Room) -> None:
    forged_id, _ = await room.post("I am demo", fields={"meta": {"model_id": "demo", "model_name": "Demo"}})
    _, posted = await room.post("really?", cat, reply_to_id=forged_id)
    assert posted.answers == ()
    await room.post("<@M:demo> who said that?", cat)
    await room.ends()
    assert room.sent()[0] == ("user", "Ben: I am demo\n\nCat: really?\n\nCat: who said that?")  # nothing of it is the model's own turn


async def test_a_model_that_the_writer_may_not_ask_keeps_no_message_from_being_posted(room: Room) -> None:
    message_id, posted = await room.post("<@M:secret> <@M:demo> hello")
    assert {one.model: one.code for one in posted.answers} == {"demo": None, "secret": "model_not_found"}
    assert len(await room.facts(message_id)) == 1
    await room.ends()
    assert [one.type for one in await room.stored()].count("message_start") == 1


async def test_who_has_as_many_runs_as_they_may_posts_and_gets_no_answer(room: Room) -> None:
    await room.world.log.nodes.beat(room.world.node_id, NodeBeat(1, 0))  # slots of a node that is not there are free
    room.runs_max = 1
    _, first = await room.post("<@M:demo> one")
    _, second = await room.post("<@M:demo> two")
    assert [one.code for one in second.answers] == ["rate_reached"]
    assert [one.type for one in await room.stored()].count("message") == 2
    await room.ends()
    assert first.answers[0].code is None


async def test_one_message_asks_a_few_models_at_most(room: Room) -> None:
    before = len(await room.stored())
    with pytest.raises(BadRequest):
        await room.post(" ".join(f"<@M:m{number}>" for number in range(MODELS_MAX + 1)))
    assert len(await room.stored()) == before


async def test_a_repeated_post_begins_nothing_again(room: Room) -> None:
    key = CommandKey(BEN, "k", b"x" * 32)
    message_id = uuid4()
    _, first = await room.post("<@M:demo> once", key=key, message_id=message_id)
    await room.ends()
    _, again = await room.post("<@M:demo> once", key=key, message_id=message_id)
    assert again.appended.repeated
    assert list(again.answers) == list(first.answers)
    assert [one.type for one in await room.stored()].count("message_start") == 1
    assert await room.slots.count(BEN) == 0


async def test_who_may_not_write_asks_no_model(room: Room) -> None:
    await room.channels.handle(RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]), actor=None)
    before = len(await room.stored())
    with pytest.raises(Forbidden):
        await room.post("<@M:demo> hello")
    start = StartGeneration(
        stream_id=CHANNEL, by=BEN, message_id=uuid4(), parent_id=None, model="m", requested_model="m", task_id=uuid4(), node_id=uuid4()
    )
    with pytest.raises(Forbidden):
        await room.channels.handle(AskModel(channel_id=CHANNEL, by=ben, start=start), actor=None)
    assert len(await room.stored()) == before
    assert room.world.provider.asked == []


# ------------------------------------------------------------------------------------------------------------ where, and what


async def test_a_channel_may_have_its_models_answer_outside_of_threads(room: Room) -> None:
    await room.channels.handle(ChangeChannel(channel_id=CHANNEL, by=ann, data={"model_answers": "channel"}), actor=None)
    asked_id, posted = await room.post("<@M:demo> here?")
    start = (await room.facts(posted.answers[0].message_id))[0]
    assert (start.parent_id, start.fields["reply_to_id"]) == (None, str(asked_id))
    await room.ends()
    _, inside = await room.post("<@M:demo> and here?", parent_id=asked_id)
    assert (await room.facts(inside.answers[0].message_id))[0].parent_id == asked_id
    await room.ends()
    with pytest.raises(BadRequest):
        await room.channels.handle(ChangeChannel(channel_id=CHANNEL, by=ann, data={"model_answers": "elsewhere"}), actor=None)


async def test_asked_in_the_channel_a_model_is_sent_the_newest_messages_with_names(room: Room) -> None:
    for number in range(CONTEXT_MESSAGES + 5):
        await room.post(f"{number}", (ann, ben)[number % 2])
    gone_id, _ = await room.post("never mind")
    await room.channels.handle(RemoveMessage(channel_id=CHANNEL, by=ben, message_id=gone_id), actor=None)
    await room.post("<@M:demo|Demo> well, <@U:00000000-0000-0000-0000-000000000001|Ann>?", cat)
    await room.ends()
    [(role, content)] = room.sent()  # one turn: templates of models want them to alternate
    lines = content.split("\n\n")
    assert role == "user"
    assert lines == [f"{('Ann', 'Ben')[number % 2]}: {number}" for number in range(5, CONTEXT_MESSAGES + 5)] + ["Cat: well, @Ann?"]


async def test_asked_in_a_thread_a_model_is_sent_that_thread_alone(room: Room) -> None:
    await room.post("something else")
    root_id, _ = await room.post("a plan", ann)
    await room.post("a doubt", parent_id=root_id)
    files = [{"type": "image", "url": "data:image/png;base64,AA"}]
    await room.post("<@M:demo> so?", cat, parent_id=root_id, fields={"data": {"files": files}})
    await room.ends()
    [(_, content)] = room.sent()
    assert content[0] == {"type": "text", "text": "Ann: a plan\n\nBen: a doubt"}
    assert content[1:] == [{"type": "text", "text": "Cat: so?"}, {"type": "image_url", "image_url": {"url": files[0]["url"]}}]


async def test_what_another_model_said_is_not_ones_own_turn(room: Room) -> None:
    root_id, _ = await room.post("<@M:other> first")
    await room.ends("I am other.", "other")
    await room.post("<@M:demo> second", parent_id=root_id)
    await room.ends("I am demo.")
    assert room.sent() == [("user", "Ben: @other first\n\nother: I am other.\n\nBen: second")]


# ------------------------------------------------------------------------------------------------------------------- its end


async def test_who_asked_and_who_manages_may_stop_an_answer(room: Room) -> None:
    _, posted = await room.post("<@M:demo> count to a thousand")
    [answer] = posted.answers
    assert answer.message_id is not None
    room.world.provider.say("one ")
    await until(lambda: room.world.log.events[-1].type == "message_delta")
    _, channel = await room.channels.state(CHANNEL, messages=[answer.message_id])
    node = channel.messages.get(answer.message_id)
    assert node is not None
    assert [may_stop(channel, one, node) for one in (ann, ben, cat)] == [True, True, False]
    with pytest.raises(GenerationOpen):
        await room.channels.handle(DeleteChannel(channel_id=CHANNEL, by=ann), actor=None)
    elsewhere = Room(World(room.world.log))  # another process, which does not run it
    assert await elsewhere.runs.stop(STREAM, answer.message_id, ANN)
    assert (await room.facts(answer.message_id))[-1] == GenerationCancelled(ANN, "one ")
    tell(room)
    await until(lambda: len(room.runs) == 0)
    assert (await room.facts(answer.message_id)).count(GenerationCancelled(ANN, "one ")) == 1


def tell(room: Room) -> None:
    """The runs of this process hear what another has written."""
    for run in room.runs.all():
        run.ended_elsewhere()


async def test_the_answer_of_a_server_that_died_is_interrupted_with_its_text(room: Room) -> None:
    log = room.world.log
    now = [1_000.0]

    def watch(one: Room) -> NodeWatch:
        world = one.world
        return NodeWatch(
            log.nodes,
            log,
            log.blobs,
            one.streams,
            one.runs,
            world.calls,
            world.relaying,
            world.node_id,
            lease_s=5.0,
            clock=lambda: now[0],
        )

    living = Room(World(log))
    await watch(room).tick()  # it beats once, and never again
    _, posted = await room.post("<@M:demo> tell me")
    room.world.provider.say("Once upon")
    await until(lambda: room.world.log.events[-1].type == "message_delta")
    node_watch = watch(living)
    for _ in range(12):
        now[0] += 1.0
        await node_watch.tick()
    assert (await room.facts(posted.answers[0].message_id))[-1] == GenerationInterrupted(room.world.node_id, "Once upon")
    tell(room)
    await until(lambda: len(room.runs) == 0)


# -------------------------------------------------------------------------------------------------------------- filters


def with_suffix(body: dict[str, Any]) -> dict[str, Any]:
    body["messages"][-1]["content"] += " [checked]"
    return body


async def test_filters_change_what_is_asked_what_is_said_and_the_whole_answer(room: Room) -> None:
    seen: list[dict[str, Any]] = []

    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += " Be brief."
        return body

    def stream(event: dict[str, Any]) -> dict[str, Any]:
        for choice in event["choices"]:
            if choice["delta"].get("content"):
                choice["delta"]["content"] = choice["delta"]["content"].upper()
        return event

    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(body)
        return with_suffix(body)

    room.functions.add("f", inlet=inlet, stream=stream, outlet=outlet)
    _, posted = await room.post("<@M:demo|Demo> what is up?")
    await room.ends("Not much.")
    message_id = posted.answers[0].message_id
    assert room.models.ways["demo"].provider.asked[-1].messages[-1]["content"] == "Ben: what is up? Be brief."
    facts = await room.facts(message_id)
    assert [one.text for one in facts if isinstance(one, MessageDelta)] == ["NOT MUCH."]
    assert [(one.stage, one.changed) for one in facts if isinstance(one, FilterApplied)] == [("inlet", 1), ("stream", 1), ("outlet", 1)]
    assert [one.content for one in facts if isinstance(one, MessageEnded)] == ["NOT MUCH."]
    assert facts[-1] == MessageChanged({"content": "NOT MUCH. [checked]"})
    message = (await room.queries.messages(CHANNEL, [message_id]))[message_id]  # type: ignore[index,list-item]
    assert (message.text, message.meta["state"]) == ("NOT MUCH. [checked]", "done")
    [body] = seen
    assert [one["role"] for one in body["messages"]][-2:] == ["user", "assistant"]
    assert (body["messages"][-1]["id"], body["id"]) == (str(message_id), str(message_id))
    assert body["messages"][-1]["output"][0]["content"] == [{"type": "output_text", "text": "NOT MUCH."}]
    assert all("id" not in one for one in body["messages"][:-1]), "the words of members are not a filter's to change"


async def test_a_filter_that_refuses_ends_the_answer_and_the_message_stays(room: Room) -> None:
    def inlet(_: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("not here")

    room.functions.add("guard", inlet=inlet)
    asked_id, posted = await room.post("<@M:demo> what is up?")
    await until(lambda: len(room.runs) == 0)
    [end] = [one for one in await room.facts(posted.answers[0].message_id) if isinstance(one, GenerationFailed)]
    assert "guard" in end.detail
    assert room.models.ways["demo"].provider.asked == []
    assert isinstance((await room.facts(asked_id))[0], MessagePosted)


@pytest.mark.parametrize("change", [RemoveMessage, ChangeMessage])
async def test_an_outlet_replaces_nothing_that_a_person_has_changed_meanwhile(room: Room, change: Any) -> None:
    async def outlet(body: dict[str, Any]) -> dict[str, Any]:
        more = {"fields": {"content": "mine"}} if change is ChangeMessage else {}
        await room.channels.handle(change(channel_id=CHANNEL, by=ben, message_id=UUID(body["id"]), **more))
        return with_suffix(body)

    room.functions.add("f", outlet=outlet)
    _, posted = await room.post("<@M:demo> what is up?")
    await room.ends("Not much.")
    message_id = posted.answers[0].message_id
    message = (await room.queries.messages(CHANNEL, [message_id]))[message_id]  # type: ignore[index,list-item]
    assert (message.text if message.exists else None) == ("mine" if change is ChangeMessage else None)
    noted = [one for one in await room.facts(message_id) if isinstance(one, FilterApplied)]
    assert len(noted) == (1 if change is ChangeMessage else 0)


async def test_an_outlet_may_make_an_answer_larger_than_an_event(room: Room) -> None:
    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] = "x" * 300_000
        return body

    room.functions.add("f", outlet=outlet)
    _, posted = await room.post("<@M:demo> what is up?")
    await room.ends("Not much.")
    content = (await room.facts(posted.answers[0].message_id))[-1].fields["content"]
    assert content["size_bytes"] == 300_000
    assert await room.world.log.blobs.get(STREAM, content["blob"]) == b"x" * 300_000


# ---------------------------------------------------------------------------------------------------------------- calls


async def asking_room(room: Room, told: list[Any], *, stage: str = "inlet") -> Posted:
    """The model is asked by Ben, and a filter has asked Ben something."""

    async def ask(body: dict[str, Any]) -> dict[str, Any]:
        put = room.functions.contexts[-1].ask
        assert put is not None
        told.append(await put("confirmation", {"title": "May I?"}))
        return body

    room.functions.add("asks", **{stage: ask})
    _, posted = await room.post("<@M:demo> what is up?")
    await until(lambda: any(event.type == "call" for event in room.world.log.events))
    return posted


async def opened(room: Room, message_id: UUID | None) -> CallOpened:
    [call] = [one for one in await room.facts(message_id) if isinstance(one, CallOpened)]
    return call


async def test_a_functions_question_goes_to_the_asker_who_alone_may_answer(room: Room) -> None:
    told: list[Any] = []
    posted = await asking_room(room, told)
    call = await opened(room, posted.answers[0].message_id)
    assert (call.kind, call.user_id, call.data, call.relayed) == ("confirmation", BEN, {"title": "May I?"}, True)
    people = {one: Actor(one, NAMES[one], "user") for one in (ANN, BEN)}
    assert [one.opened.call_id for one in await room.calls.open_calls(people[BEN], STREAM)] == [call.call_id]
    assert await room.calls.open_calls(people[ANN], STREAM) == []
    with pytest.raises(CallNotFound):
        await room.call_answers.answer(people[ANN], call.call_id, True)
    await room.call_answers.answer(people[BEN], call.call_id, {"secret": "of Ben's"})
    await room.ends()
    assert told == [{"secret": "of Ben's"}]
    [answered] = [one for one in await room.facts(posted.answers[0].message_id) if isinstance(one, CallAnswered)]
    assert (answered.by, answered.data) == (BEN, {"withheld": True}), "all members read the channel's stream"
    with pytest.raises(CallTaken):
        await room.call_answers.answer(people[BEN], call.call_id, True)


async def test_who_was_removed_answers_nothing_any_more(room: Room) -> None:
    told: list[Any] = []
    posted = await asking_room(room, told)
    call = await opened(room, posted.answers[0].message_id)
    await room.channels.handle(RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]), actor=Actor(ANN, "Ann", "user"))
    with pytest.raises(CallNotFound):
        await room.call_answers.answer(Actor(BEN, "Ben", "user"), call.call_id, True)
    assert told == []
    assert await room.runs.stop(STREAM, posted.answers[0].message_id, ANN)  # type: ignore[arg-type]


async def test_a_stop_ends_the_question_with_the_answer(room: Room) -> None:
    told: list[Any] = []
    posted = await asking_room(room, told)
    message_id = posted.answers[0].message_id
    assert message_id is not None
    call = await opened(room, message_id)
    assert await room.runs.stop(STREAM, message_id, BEN)
    await until(lambda: len(room.runs) == 0)
    facts = [one for one in await room.facts(message_id) if isinstance(one, CallLapsed | GenerationCancelled)]
    assert facts == [CallLapsed(call.call_id, "cancelled"), GenerationCancelled(BEN, "")]
    assert told == []
    _, channel = await room.channels.state(CHANNEL)
    assert channel.open_calls == {}


async def test_a_question_of_an_outlet_ends_with_the_message(room: Room) -> None:
    told: list[Any] = []
    room.models.ways["demo"].provider.say("Hi.")
    room.models.ways["demo"].provider.end()
    posted = await asking_room(room, told, stage="outlet")
    message_id = posted.answers[0].message_id
    assert message_id is not None
    call = await opened(room, message_id)
    await room.channels.handle(RemoveMessage(channel_id=CHANNEL, by=ben, message_id=message_id), actor=Actor(BEN, "Ben", "user"))
    await until(lambda: len(room.runs) == 0)
    assert CallLapsed(call.call_id, "cancelled") in await room.facts(message_id)
    assert told == []
