"""What functions in the wild import works here, and what is not there is refused by name."""

import sys
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.functions.compat import MODULES, install, messages
from adapters.functions.compat.constants import TASKS
from adapters.functions.compat.env import SRC_LOG_LEVELS
from commands.accounts.principal import actor_of
from tests.functions import workbench

pytestmark = pytest.mark.anyio


def conversation() -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And now?"},
    ]


async def test_every_module_can_be_imported_under_its_name() -> None:
    source = "\n".join(f"import {name}" for name in MODULES) + "\nclass Filter:\n    def inlet(self, body): return body\n"
    async with workbench() as bench:
        await bench.put("f", source)
        assert bench.functions.runtime.loader.failures == {}


def test_the_finder_is_the_last_and_there_once() -> None:
    install()
    install()
    assert [type(one).__name__ for one in sys.meta_path].count("CompatFinder") == 1


def test_messages_are_read() -> None:
    given = conversation()
    assert messages.get_last_user_message(given) == "And now?"
    assert messages.get_last_user_message(given[:3]) == "What is it?"
    assert messages.get_last_assistant_message(given) == "A cat."
    assert messages.get_system_message(given) == given[0]
    assert messages.pop_system_message(given) == (given[0], given[1:])
    assert messages.get_last_user_message([]) is None
    by_id = {"a": {"id": "a", "parentId": None}, "b": {"id": "b", "parentId": "a"}}
    assert [one["id"] for one in messages.get_message_list(by_id, "b")] == ["a", "b"]
    assert messages.get_message_list({"a": {"id": "a", "parentId": "a"}}, "a") == [{"id": "a", "parentId": "a"}]
    assert messages.get_message_list(None, "a") == []


def test_messages_are_changed_in_place() -> None:
    given = conversation()
    messages.add_or_update_system_message("And kind.", given, append=True)
    assert given[0]["content"] == "Be brief.\nAnd kind."
    messages.add_or_update_user_message("Please.", given)
    assert given[-1]["content"] == "And now?\nPlease."
    messages.prepend_to_first_user_message_content("Look:", given)
    assert given[1]["content"][1]["text"] == "Look:\nWhat is it?"
    assert messages.add_or_update_system_message("New", [])[0] == {"role": "system", "content": "New"}
    assert messages.append_or_update_assistant_message("Hm", [])[0] == {"role": "assistant", "content": "Hm"}


def test_answers_have_openais_form() -> None:
    chunk = messages.openai_chat_chunk_message_template("m", "Hi")
    assert (chunk["object"], chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"]) == (
        "chat.completion.chunk",
        {"content": "Hi"},
        None,
    )
    assert messages.openai_chat_chunk_message_template("m")["choices"][0]["finish_reason"] == "stop"
    whole = messages.openai_chat_completion_message_template("m", "Hi", usage={"total_tokens": 1})
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
    assert whole["usage"] == {"total_tokens": 1}


def test_small_things_are_as_there() -> None:
    assert str(TASKS.TITLE_GENERATION) == TASKS.TITLE_GENERATION == "title_generation"
    assert SRC_LOG_LEVELS["MAIN"] == "INFO"
    assert messages.deep_update({"a": {"b": 1}}, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    duration = messages.parse_duration("1h30m")
    assert duration is not None
    assert duration.total_seconds() == 5400
    assert messages.parse_duration("-1") is None
    assert messages.sanitize_filename("A File!.txt") == "a-filetxt"


async def test_a_function_asks_a_model_of_this_server_as_the_account_that_calls_it() -> None:
    source = """
        from open_webui.utils.chat import generate_chat_completion
        from open_webui.models.users import Users
        class Action:
            async def action(self, body, __user__, __request__):
                user = Users.get_user_by_id(__user__["id"])
                asked = {"model": "demo:3", "messages": [{"role": "user", "content": "Hello"}]}
                whole = await generate_chat_completion(__request__, asked, user)
                streamed = await generate_chat_completion(__request__, {**asked, "stream": True}, await Users.get_user_by_id(user.id))
                lines = [line async for line in streamed.body_iterator]
                try:
                    await generate_chat_completion(__request__, {**asked, "model": "nothing like it"}, user)
                except Exception as error:
                    refused = str(error)
                return {"name": user.name, "whole": whole["choices"][0], "lines": lines, "refused": refused}
    """
    async with workbench() as bench:
        system = bench.system
        signed_in = await system.registration.sign_up("Ada", "ada@example.org", "correct horse battery")
        await bench.put("f", source)
        context = bench.context()
        answer = await bench.call("f", "action", None, replace(context, actor=actor_of(signed_in.principal)))
    assert answer["name"] == "Ada"
    assert len(answer["whole"]["message"]["content"].split()) == 3
    assert answer["whole"]["finish_reason"] == "stop"
    assert answer["lines"][-1] == "data: [DONE]\n\n"
    assert answer["lines"][0].startswith('data: {"id": "chatcmpl-')
    assert answer["refused"] == "Model not found: nothing like it"
