"""Filters in an answer's run: what the provider is asked, what reaches the log, and what the log says of each filter."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from commands.filters.pipelines import PipelineSkipped
from commands.providers.provider import Finish, Logprobs, Reasoning, Text, ToolCall, Usage
from domain.errors import ModelNotFound, PipelineFailed
from domain.generation import GenerationCancelled, MessageDelta
from domain.log.event import Emitted
from domain.log.stream import chat_stream
from tests.commands.generation.filtered import There, add_system, in_capitals, said_by
from tests.commands.world import ME, until

pytestmark = pytest.mark.anyio


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
