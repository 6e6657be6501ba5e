"""Filters in an answer's run: what the provider is asked, what reaches the log, and what the log says of each filter."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.chat_queries import MemoryChatQueries
from commands.filters.filters import Filters
from commands.filters.pipelines import Pipeline, PipelineSkipped
from commands.generation.completion import Completions, StartedTurn
from commands.generation.filtering import AnswerFilters
from commands.providers.provider import Finish, Logprobs, Reasoning, Text, ToolCall, Usage
from domain.chat.commands import DeleteMessage, EditMessage
from domain.chat.facts import MessageEdited
from domain.errors import ModelNotFound, PipelineFailed, ProviderFailed
from domain.generation import FilterApplied, GenerationCancelled, GenerationFailed, MessageDelta, MessageEnded
from domain.log.event import Emitted
from domain.log.stream import chat_stream
from tests.commands.generation.test_completion import KnownModels, turn
from tests.commands.routing.functions import TestFunctions
from tests.commands.world import ME, ToldProvider, World, until

pytestmark = pytest.mark.anyio


class TestPipelines:
    """``add`` says what each does; ``down`` are those that can't be reached."""

    __test__ = False

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}
        self._listed: list[Pipeline] = []
        self.users: list[Mapping[str, Any]] = []

    @property
    def is_empty(self) -> bool:
        return not self._listed

    def add(self, pipeline_id: str, priority: float = 0, **stages: Any) -> None:
        self._listed.append(Pipeline(id=pipeline_id, server=0, models=["*"], priority=priority))
        self._known |= {(pipeline_id, stage): does for stage, does in stages.items()}

    async def filters(self) -> tuple[Sequence[Pipeline], Mapping[str, str]]:
        return self._listed, {}

    async def call(self, pipeline: Pipeline, stage: Any, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        self.users.append(user)
        does = self._known.get((pipeline.id, stage))
        if isinstance(does, BaseException):
            raise does
        made: dict[str, Any] = does(dict(body)) if does is not None else dict(body)
        return made


class There:
    """One process whose answers pass filters."""

    def __init__(self) -> None:
        self.world = World()
        self.functions = TestFunctions()
        self.pipelines = TestPipelines()
        self.models = KnownModels(self.world.provider)
        queries = MemoryChatQueries(self.world.log, self.world.log.blobs)
        filters = Filters(self.functions, self.pipelines)

        async def runs_max(_: UUID) -> int:
            return 8

        self.completions = Completions(
            self.world.log,
            self.world.log.blobs,
            self.world.chats,
            queries,
            self.world.runs,
            self.models,
            MemoryRunSlots(self.world.log, self.world.log.nodes),
            runs_max,
            node_id=self.world.node_id,
            clock=time.monotonic,
            filters=AnswerFilters(filters, self.world.chats, self.world.log.blobs, queries, self.models.route),
        )

    @property
    def provider(self) -> ToldProvider:
        return self.world.provider

    @property
    def asked(self) -> Any:
        return self.provider.asked[-1]

    async def begin(self, chat_id: UUID | None = None, content: Any = "hello", **more: Any) -> StartedTurn:
        return await self.completions.begin(turn(chat_id, content, **more), ME)

    async def answer(self, *said: Any, chat_id: UUID | None = None, reason: str = "stop", **more: Any) -> StartedTurn:
        """A turn in a chat, and its whole run."""
        started = await self.begin(chat_id or await self.world.chat(), **more)
        for one in said:
            self.provider.say(*one) if isinstance(one, list) else self.provider.say(one)
        self.provider.end(reason)
        await self.finished()
        return started

    async def finished(self) -> None:
        await asyncio.gather(*(run.wait() for run in self.world.runs.all()))

    def facts(self, started: StartedTurn, *kinds: Any) -> list[Any]:
        return [event.data for event in self.world.log.of(started.chat_id) if isinstance(event.data, kinds)]

    def traces(self, started: StartedTurn, stage: str | None = None) -> list[FilterApplied]:
        return [one for one in self.facts(started, FilterApplied) if stage is None or one.stage == stage]

    def ended(self, started: StartedTurn) -> Any:
        return self.facts(started, MessageEnded, GenerationFailed, GenerationCancelled)[-1]

    def message(self, started: StartedTurn) -> Any:
        return self.world.log.view(started.chat_id).messages[str(started.message_ids[0])]

    async def original(self, started: StartedTurn, trace: FilterApplied) -> Any:
        kept = await self.world.log.blobs.get(chat_stream(started.chat_id), trace.original["blob"])
        assert kept is not None
        assert trace.original == {"blob": hashlib.sha256(kept).hexdigest(), "size_bytes": len(kept)}
        return msgspec.json.decode(kept)


@pytest.fixture
async def there() -> AsyncIterator[There]:
    yield There()


def add_system(text: str) -> Any:
    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"].insert(0, {"role": "system", "content": text})
        return body

    return inlet


def said_by(event: dict[str, Any]) -> Any:
    return event["choices"][0]["delta"].get("content") if event["choices"] else None


def in_capitals(event: dict[str, Any]) -> dict[str, Any]:
    if said_by(event):
        event["choices"][0]["delta"]["content"] = said_by(event).upper()
    return event


def with_suffix(suffix: str) -> Any:
    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += suffix
        return body

    return outlet


# ------------------------------------------------------------------------------------------------------------ the inlet


async def test_what_an_inlet_changes_is_what_the_provider_is_asked(there: There) -> None:
    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        assert (body["model"], body["messages"], body["temperature"]) == ("demo", [{"role": "user", "content": "hello"}], 0)
        return {**body, "messages": [{"role": "user", "content": "changed"}], "top_k": 3, "temperature": 1}

    there.functions.add("f", inlet=inlet)
    await there.answer("ok")
    assert (there.asked.messages, there.asked.params) == ([{"role": "user", "content": "changed"}], {"temperature": 1, "top_k": 3})
    assert there.asked.model == "demo-upstream"


async def test_a_change_of_the_request_is_noted_before_the_provider_is_asked(there: There) -> None:
    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        assert not there.provider.asked
        return {**add_system("Be brief.")(body), "seed": 7}

    there.functions.add("f", inlet=inlet)
    started = await there.begin(await there.world.chat())
    await until(lambda: there.provider.asked)
    (trace,) = there.traces(started)
    assert (trace.filter_id, trace.stage, trace.by, trace.chunks, trace.changed, trace.source_sha256) == (
        *("f", "inlet", "function", 1, 1),
        "5" * 64,
    )
    assert trace.sha256_before != trace.sha256_after
    assert await there.original(started, trace) == {"messages": [], "messages_from": 0, "seed": None}
    there.provider.end()
    await there.finished()


async def test_a_filter_that_changes_nothing_is_noted_at_the_end_with_one_sum(there: There) -> None:
    there.functions.add("f", inlet=lambda body: body)
    started = await there.answer("ok")
    (trace,) = there.traces(started)
    assert (trace.changed, trace.original, trace.sha256_before) == (0, None, trace.sha256_after)
    assert there.world.log.types(started.chat_id)[-2:] == ["filter_applied", "message_end"]


async def test_inlets_run_by_priority_and_then_by_id_pipelines_first(there: There) -> None:
    for function_id, priority in (("z", -1), ("b", 0), ("a", 0), ("last", 1)):
        there.functions.add(function_id, priority=priority, inlet=add_system(function_id))
    there.pipelines.add("p2", 2, inlet=add_system("p2"))
    there.pipelines.add("p1", 1, inlet=add_system("p1"))
    await there.answer("ok")
    assert [one["content"] for one in there.asked.messages][::-1] == ["hello", "p1", "p2", "z", "a", "b", "last"]


async def test_a_filter_of_one_model_runs_for_no_other_and_one_with_a_toggle_only_where_it_is_switched_on(there: There) -> None:
    there.functions.add("of-a-model", is_global=False, inlet=add_system("no"))
    there.functions.add("toggle", has_toggle=True, inlet=add_system("toggle"))
    await there.answer("ok")
    assert there.asked.messages == [{"role": "user", "content": "hello"}]
    await there.answer("ok", beside={"filter_ids": ["toggle", "of-a-model"]})
    assert there.asked.messages[0]["content"] == "toggle"


async def test_a_function_sees_what_the_request_says_beside_and_no_provider_is_sent_it(there: There) -> None:
    seen: list[Any] = []

    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(body)
        return {**body, "seed": 1}

    there.functions.add("f", inlet=inlet)
    files = [{"id": "a"}]
    started = await there.answer("ok", beside={"files": files, "session_id": "tab", "filter_ids": ["x"], "stream": False})
    assert (seen[0]["files"], seen[0]["stream"]) == (files, False)
    metadata = seen[0]["metadata"]
    assert (metadata["chat_id"], metadata["message_id"]) == (str(started.chat_id), str(started.message_ids[0]))
    assert (metadata["session_id"], metadata["filter_ids"], metadata["user_id"], metadata["files"]) == ("tab", ["x"], str(ME.id), files)
    assert there.asked.params == {"temperature": 0, "seed": 1}
    (context,) = there.functions.contexts
    assert (context.actor, context.session_id, context.files) == (ME, "tab", files)


async def test_an_inlet_that_raises_ends_the_answer_with_its_name_and_no_provider_is_asked(there: There) -> None:
    def inlet(_: dict[str, Any]) -> Any:
        raise ValueError("not today")

    there.functions.add("strict", inlet=inlet)
    started = await there.answer()
    ended = there.ended(started)
    assert (ended.code, ended.detail) == ("function_failed", "function strict: ValueError: not today")
    assert not there.provider.asked


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "inlet returned NoneType, expected the body"),
        ({"model": "demo"}, "inlet returned a body without messages, each an object with a role"),
        ({"messages": ["text"]}, "inlet returned a body without messages, each an object with a role"),
        ({"messages": [], "x": object()}, "inlet returned a body that is not JSON: Encoding objects of type object is unsupported"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "inlet returned a body that is not JSON"),
    ],
)
async def test_what_an_inlet_cannot_have_meant_is_said(there: There, returned: Any, said: str) -> None:
    there.functions.add("odd", inlet=lambda _: returned)
    ended = there.ended(await there.answer())
    assert ended.code == "function_failed"
    assert ended.detail.startswith(f"function odd: {said}")


async def test_a_stop_ends_an_inlet_that_waits(there: There) -> None:
    waiting = asyncio.Event()

    async def inlet(_: dict[str, Any]) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    there.functions.add("slow", inlet=inlet)
    started = await there.begin(await there.world.chat())
    await waiting.wait()
    assert await there.world.runs.stop(chat_stream(started.chat_id), started.message_ids[0], ME.id)
    assert there.ended(started) == GenerationCancelled(ME.id, "")
    assert not there.provider.asked


async def test_an_inlet_may_choose_another_model_and_the_log_says_so(there: There) -> None:
    there.functions.add("chooser", inlet=lambda body: {**body, "model": "other"})
    other = there.models.ways["other"].provider
    other.say("from the other")
    other.end()
    started = await there.answer()
    assert there.message(started)["content"] == "from the other"
    assert other.asked[0].model == "other-upstream"
    (trace,) = there.traces(started)
    assert (trace.model, trace.changed) == ("other", 1)


async def test_a_model_that_a_filter_chooses_is_asked_with_its_own_settings(there: There) -> None:
    """What the request says and what the filter says stand above them."""
    there.functions.add("chooser", inlet=lambda body: {**body, "model": "other", "top_p": 0.5})
    settings = {"system": "You are the other.", "temperature": 0.1, "top_p": 0.9, "top_k": 3}
    there.models.routed_by_model = {"other": {"settings": settings}, "demo": {"settings": {"min_p": 0.2, "temperature": 0.3}}}
    other = there.models.ways["other"].provider
    other.end()
    await there.answer(settings={"seed": 7})  # and ``temperature`` 0 beside it
    (asked,) = other.asked
    assert {**asked.options, **asked.params} == {"temperature": 0, "seed": 7, "top_p": 0.5, "top_k": 3}
    assert asked.messages[0] == {"role": "system", "content": "You are the other."}


async def test_a_model_that_there_is_not_is_refused_where_a_filter_chooses_it(there: There) -> None:
    there.functions.add("chooser", inlet=lambda body: {**body, "model": "none"})
    ended = there.ended(await there.answer())
    assert ended.code == "filter_refused"
    assert ended.detail == f"a filter chose the model 'none': {ModelNotFound('none')}"


async def test_a_function_that_has_gone_meanwhile_is_left_out(there: There) -> None:
    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        there.functions.remove("gone")
        return body

    there.functions.add("first", priority=-1, inlet=inlet)
    there.functions.add("gone", stream=in_capitals)
    started = await there.answer("quiet")
    assert there.message(started)["content"] == "quiet"


# ----------------------------------------------------------------------------------------------------------- the chunks


async def test_a_stream_filter_sees_each_chunk_before_it_is_in_the_log(there: There) -> None:
    seen: list[dict[str, Any]] = []

    def stream(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(msgspec.json.decode(msgspec.json.encode(event)))
        return in_capitals(event)

    there.functions.add("f", stream=stream)
    call = ToolCall(0, '{"a": 1}', "call-1", "look")
    usage = Usage({"total_tokens": 3})
    started = await there.answer([Reasoning("hm"), Text("one "), Logprobs({"content": [1]}), Text("two")], [call, usage])
    choices = [event["choices"][0] if event["choices"] else event["usage"] for event in seen]
    assert choices == [
        {"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "one "}, "finish_reason": None, "logprobs": {"content": [1]}},
        {"index": 0, "delta": {"content": "two"}, "finish_reason": None},
        {
            "index": 0,
            "delta": {
                "tool_calls": [{"type": "function", "index": 0, "id": "call-1", "function": {"name": "look", "arguments": '{"a": 1}'}}]
            },
            "finish_reason": None,
        },
        {"total_tokens": 3},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    assert {(event["object"], event["model"]) for event in seen} == {("chat.completion.chunk", "demo")}
    assert [delta.text for delta in there.facts(started, MessageDelta)] == ["hm", "ONE ", "TWO", '{"a": 1}']
    ended = there.ended(started)
    assert (ended.content, ended.usage) == ("ONE TWO", {"total_tokens": 3})


async def test_what_stream_filters_changed_is_noted_once_with_the_original(there: There) -> None:
    there.functions.add("a", stream=in_capitals)
    there.functions.add("b", stream=lambda event: None if said_by(event) == "TWO" else event)
    started = await there.answer("one ", "two", " three")
    assert there.ended(started).content == "ONE  THREE"
    first, second = there.traces(started)
    assert [(one.filter_id, one.stage, one.chunks, one.changed) for one in (first, second)] == [
        ("a", "stream", 4, 3),
        ("b", "stream", 4, 1),
    ]
    assert await there.original(started, first) == [{"type": "text", "text": "one two three"}]
    assert await there.original(started, second) == [{"type": "text", "text": "ONE TWO THREE"}]
    assert first.original["blob"] == first.sha256_before
    assert first.sha256_after == second.sha256_before
    assert second.sha256_after == hashlib.sha256(b'[{"type":"text","text":"ONE  THREE"}]').hexdigest()
    assert there.world.log.types(started.chat_id)[-3:] == ["filter_applied", "filter_applied", "message_end"]


async def test_a_stream_filter_that_changes_nothing_leaves_every_part_as_it_was(there: There) -> None:
    there.functions.add("f", stream=lambda event: dict(reversed(event.items())))
    parts = [Reasoning("a"), Text("b"), Logprobs({"content": [], "other": 1}), ToolCall(0, "", "id", "name"), ToolCall(0, "{}")]
    started = await there.answer([*parts, Usage({"total_tokens": 1, "more": {"x": 1}})], reason="length")
    (trace,) = there.traces(started)
    assert (trace.chunks, trace.changed, trace.original) == (6, 0, None)
    assert there.facts(started, MessageDelta)[1].logprobs == {"content": [], "other": 1}
    assert there.ended(started).finish_reason == "length"


async def test_a_stream_filter_that_raises_lets_the_chunk_pass_and_the_answer_is_done(there: There) -> None:
    def stream(event: dict[str, Any]) -> dict[str, Any]:
        if said_by(event) == "two ":
            event["choices"].clear()
            raise IndexError("odd")
        return in_capitals(event)

    there.functions.add("f", stream=stream)
    with capture_logs() as logs:
        started = await there.answer("one ", "two ", "three")
    assert there.ended(started).content == "ONE two THREE"
    (trace,) = there.traces(started)
    assert (trace.chunks, trace.changed, trace.failed) == (4, 2, "function f: IndexError: odd")
    assert [log["filter"] for log in logs if log["event"] == "filter_failed"] == ["f"]


async def test_a_stream_filter_that_always_raises_sees_no_more_of_the_answer(there: There) -> None:
    def stream(_: dict[str, Any]) -> Any:
        raise KeyError("x")

    there.functions.add("f", stream=stream)
    started = await there.answer(*(str(number) for number in range(30)))
    (trace,) = there.traces(started)
    assert trace.chunks == 10
    assert there.ended(started).content == "".join(map(str, range(30)))


async def test_what_a_stream_filter_did_is_noted_of_an_answer_that_was_stopped(there: There) -> None:
    there.functions.add("f", stream=in_capitals)
    started = await there.begin(await there.world.chat())
    there.provider.say("so far")
    await until(lambda: there.facts(started, MessageDelta))
    await there.world.runs.stop(chat_stream(started.chat_id), started.message_ids[0], ME.id)
    assert there.ended(started) == GenerationCancelled(ME.id, "SO FAR")
    (trace,) = there.traces(started)
    assert await there.original(started, trace) == [{"type": "text", "text": "so far"}]


async def test_text_that_no_log_can_hold_reaches_no_filter(there: There) -> None:
    seen: list[Any] = []
    there.functions.add("f", stream=lambda event: seen.append(said_by(event)) or event)
    started = await there.answer("a\ud800\0b")
    assert seen[0] == "ab"
    assert there.ended(started).content == "ab"


# ----------------------------------------------------------------------------------------------------------- the outlet


async def test_what_an_outlet_changes_follows_the_answer_and_what_the_model_said_stays(there: There) -> None:
    there.functions.add("f", outlet=with_suffix(" [checked]"))
    started = await there.answer("the answer")
    assert there.ended(started).content == "the answer"
    assert there.world.log.types(started.chat_id)[-3:] == ["message_end", "filter_applied", "message_edited"]
    (edited,) = there.facts(started, MessageEdited)
    assert edited.fields == {"content": "the answer [checked]", "originalContent": "the answer"}
    message = there.message(started)
    assert (message["content"], message["originalContent"]) == ("the answer [checked]", "the answer")
    assert "edited_by" not in message, "the server has changed it, and no person"
    (trace,) = there.traces(started)
    kept = await there.original(started, trace)
    assert (kept["messages_from"], kept["messages"][0]["content"]) == (1, "the answer")


async def test_an_outlet_sees_the_branch_with_the_answer_in_the_references_form(there: There) -> None:
    seen: list[Any] = []
    there.functions.add("f", outlet=lambda body: seen.append(msgspec.json.decode(msgspec.json.encode(body))) or body)
    chat_id = await there.world.chat()
    before = await there.answer("first", chat_id=chat_id, content="one")
    started = await there.answer(
        [Reasoning("hm"), Text("second"), Usage({"total_tokens": 2})], reason="length", chat_id=chat_id, content="two"
    )
    body = seen[-1]
    assert (body["model"], body["chat_id"], body["id"]) == ("demo", str(chat_id), str(started.message_ids[0]))
    messages = body["messages"]
    assert [(one["role"], one["content"]) for one in messages] == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "second"),
    ]
    assert [one.get("finish_reason") for one in messages] == [None, None, None, "length"]
    assert messages[1]["id"] == str(before.message_ids[0])
    assert messages[3]["usage"] == {"total_tokens": 2}
    assert [(item["type"], item["content"][0]["text"]) for item in messages[3]["output"]] == [("reasoning", "hm"), ("message", "second")]
    assert not there.facts(started, MessageEdited)


async def test_an_outlet_that_changes_the_output_in_place_of_the_content_changes_the_content(there: There) -> None:
    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["output"][-1]["content"][0]["text"] += " [reviewed]"
        return body

    there.functions.add("f", outlet=outlet)
    started = await there.answer("hello there")
    assert there.message(started)["content"] == "hello there [reviewed]"


async def test_outlets_run_in_order_and_each_sees_what_the_one_before_made(there: There) -> None:
    there.functions.add("b", outlet=with_suffix(" b"))
    there.functions.add("a", outlet=with_suffix(" a"))
    there.pipelines.add("p", outlet=with_suffix(" p"))
    started = await there.answer("x")
    assert there.message(started)["content"] == "x p a b"
    assert [(one.filter_id, one.by, one.stage) for one in there.traces(started, "outlet")] == [
        ("p", "pipeline", "outlet"),
        ("a", "function", "outlet"),
        ("b", "function", "outlet"),
    ]
    (edited,) = there.facts(started, MessageEdited)
    assert edited.fields["originalContent"] == "x"


async def test_an_outlet_that_raises_leaves_the_answer_done_and_the_others_run(there: There) -> None:
    def outlet(body: dict[str, Any]) -> Any:
        body["messages"][-1]["content"] = "half done"
        raise RuntimeError("broken")

    there.functions.add("a", outlet=outlet)
    there.functions.add("b", outlet=with_suffix(" b"))
    with capture_logs() as logs:
        started = await there.answer("x")
    assert there.message(started)["content"] == "x b"
    assert there.message(started)["state"] == "done"
    assert [one.failed for one in there.traces(started)] == ["function a: RuntimeError: broken", None]
    assert [log["filter"] for log in logs if log["event"] == "filter_failed"] == ["a"]


async def test_an_outlet_may_change_an_earlier_message_and_adds_none(there: There) -> None:
    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][0]["content"] = "masked"
        body["messages"].append({"role": "assistant", "content": "more"})
        return body

    there.functions.add("f", outlet=outlet)
    started = await there.answer("x", content="secret")
    view = there.world.log.view(started.chat_id)
    assert [message["content"] for message in map(view.messages.get, view.messages) if message] == ["masked", "x"]


async def test_an_outlet_sees_what_the_model_was_asked_where_the_chat_holds_no_history(there: There) -> None:
    seen: list[Any] = []
    there.functions.add("f", outlet=lambda body: seen.append(body["messages"]) or with_suffix("!")(body))
    started = await there.begin(
        None,
        "last",
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "last"}],
    )
    there.provider.say("c")
    there.provider.end()
    await there.finished()
    assert [one["role"] for one in seen[0]] == ["user", "assistant", "user", "assistant"]
    assert there.message(started)["content"] == "c!"


async def test_no_outlet_runs_for_an_answer_that_failed_or_was_stopped(there: There) -> None:
    there.functions.add("f", outlet=with_suffix("!"))
    started = await there.begin(await there.world.chat())
    there.provider.fail(ProviderFailed("provider_error", "no"))
    await there.finished()
    assert there.ended(started).code == "provider_error"
    assert ("f", "outlet") not in there.functions.calls


async def test_a_stop_ends_an_outlet_that_waits_and_the_answer_stays_done(there: There) -> None:
    waiting = asyncio.Event()

    async def outlet(_: dict[str, Any]) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    there.functions.add("slow", outlet=outlet)
    started = await there.begin(await there.world.chat())
    there.provider.say("x")
    there.provider.end()
    await waiting.wait()
    assert there.message(started)["state"] == "done"
    for run in there.world.runs.all():
        run.ended_elsewhere()  # this process hears of its own end
    assert await there.world.runs.stop(chat_stream(started.chat_id), started.message_ids[0], ME.id)
    assert not there.world.runs.all()
    assert there.message(started)["content"] == "x"


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_a_person_has_written_meanwhile_is_not_replaced(there: There, is_deleted: bool) -> None:
    chat_id = await there.world.chat()

    async def outlet(body: dict[str, Any]) -> dict[str, Any]:
        message_id = UUID(body["id"])
        command = (
            DeleteMessage(chat_id=chat_id, by=ME.id, message_id=message_id)
            if is_deleted
            else EditMessage(chat_id=chat_id, by=ME.id, message_id=message_id, fields={"content": "mine"})
        )
        await there.world.chats.handle(command, actor=ME)
        return with_suffix("!")(body)

    there.functions.add("f", outlet=outlet)
    started = await there.answer("x", chat_id=chat_id)
    view = there.world.log.view(chat_id)
    if is_deleted:
        assert str(started.message_ids[0]) not in view.messages
    else:
        assert there.message(started)["content"] == "mine"
        assert [trace.filter_id for trace in there.traces(started)] == ["f"]


async def test_a_filter_of_the_model_runs_for_it(there: There) -> None:
    there.functions.add("of-a-model", is_global=False, inlet=add_system("for this model"))
    there.models.routed = {"meta": {"filterIds": ["of-a-model", "gone"]}}
    await there.answer("ok")
    assert there.asked.messages[0]["content"] == "for this model"
    assert there.functions.contexts[-1].model["info"]["meta"] == {"filterIds": ["of-a-model", "gone"]}


async def test_what_an_outlet_emits_about_its_answer_is_no_edit_by_a_person(there: There) -> None:
    async def outlet(body: dict[str, Any]) -> dict[str, Any]:
        await there.functions.contexts[-1].emit("status", {"description": "checked"})  # type: ignore[misc]
        return with_suffix("!")(body)

    there.functions.add("f", outlet=outlet)
    started = await there.answer("x")
    assert there.message(started)["content"] == "x!"
    assert there.message(started)["statusHistory"] == [{"description": "checked"}]


# -------------------------------------------------------------------------------------------------------- pipelines, rest


async def test_a_pipeline_that_cannot_be_reached_is_skipped_and_noted(there: There) -> None:
    there.pipelines.add("away", inlet=PipelineSkipped("no connection"))
    there.pipelines.add("there", inlet=add_system("s"))
    started = await there.answer("ok")
    assert there.asked.messages[0]["content"] == "s"
    assert [(one.filter_id, one.changed, one.failed) for one in there.traces(started, "inlet")] == [
        ("there", 1, None),
        ("away", 0, "no connection"),
    ]
    assert there.pipelines.users[0] == {"id": str(ME.id), "email": "", "name": ME.name, "role": ME.role}


async def test_a_refusal_of_a_pipeline_ends_the_answer_with_its_status(there: There) -> None:
    refusal = PipelineFailed("limit", "too many turns", {"status": 429, "message": "too many turns"})
    there.pipelines.add("limit", inlet=refusal)
    ended = there.ended(await there.answer())
    assert (ended.code, ended.detail) == ("pipeline_failed", "pipeline limit: too many turns")
    assert ended.provider == {"status": 429, "message": "too many turns"}


async def test_what_a_filter_emits_is_stored_on_the_answer(there: There) -> None:
    async def inlet(body: dict[str, Any]) -> dict[str, Any]:
        await there.functions.contexts[-1].emit("status", {"description": "looking", "done": True})  # type: ignore[misc]
        return body

    there.functions.add("f", inlet=inlet)
    started = await there.answer("ok")
    assert there.facts(started, Emitted) == [Emitted("status", {"description": "looking", "done": True})]
    assert there.message(started)["statusHistory"] == [{"description": "looking", "done": True}]


async def test_without_a_filter_for_it_an_answer_meets_its_provider_itself(there: There) -> None:
    there.functions.add("of-a-model", is_global=False, inlet=add_system("no"))
    started = await there.begin(await there.world.chat())
    (run,) = there.world.runs.all()
    assert run._provider is there.provider
    there.provider.say(Finish("stop"))
    await there.finished()
    assert not there.traces(started)
