"""Outlets: what filters make of an answer that is whole."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from commands.providers.provider import Reasoning, Text, Usage
from domain.chat.commands import DeleteMessage, EditMessage
from domain.chat.facts import MessageEdited
from domain.errors import ProviderFailed
from domain.log.stream import chat_stream
from tests.commands.generation.filtered import There, add_system, with_suffix
from tests.commands.world import ME

pytestmark = pytest.mark.anyio


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
