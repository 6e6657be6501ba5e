"""Where a model's settings come from, and which of them counts."""

from typing import Any

import pytest

from commands.generation.model_settings import Asked, ModelSettings, asked, with_systems

USER = {"role": "user", "content": "Hi"}


def test_the_later_place_counts_and_null_is_no_value() -> None:
    settings = ModelSettings({"a": 1, "b": 1, "c": 1, "d": 1}, {"m": {"b": 2, "c": 2, "d": 2}, "other": {"a": 9}})
    assert asked(settings, "m", {"c": 3, "d": 3}, {"d": 4, "a": None}).options == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_an_entry_counts_above_what_the_operator_has_set_for_it_and_its_base() -> None:
    settings = ModelSettings(
        {"a": 0, "b": 0, "c": 0, "d": 0, "system": "default"}, {"base": {"b": 1, "c": 1, "d": 1}, "m": {"c": 2, "d": 2}}
    )
    entry = {"d": 3, "system": "entry", "stop": "END, STOP"}
    said = asked(settings, "m", {}, {}, base_model_id="base", entry=entry)
    assert (said.options, said.systems) == ({"a": 0, "b": 1, "c": 2, "d": 3, "stop": ["END", "STOP"]}, ["entry"])
    assert asked(settings, "m", {"d": 4, "system": "chat"}, {}, entry=entry).options["d"] == 4
    assert asked(settings, "m", {"system": "chat"}, {}, entry=entry).systems == ["entry", "chat"]


def test_custom_params_are_merged_key_by_key_and_json_in_them_is_read() -> None:
    settings = ModelSettings({"custom_params": {"a": 1, "b": 1}}, {"m": {"custom_params": {"b": '{"x": 1}'}}})
    assert asked(settings, "m", {"custom_params": {"c": "plain"}}, {}).custom == {"a": 1, "b": {"x": 1}, "c": "plain"}


def test_settings_of_the_page_are_sent_nowhere() -> None:
    page = {"stream_response": True, "stream_delta_chunk_size": 2, "function_calling": "native", "reasoning_tags": False}
    assert asked(ModelSettings(), "m", page, page) == Asked([], {}, {})


def test_the_models_prompt_and_the_chats_both_hold_and_in_each_the_later_place_counts() -> None:
    settings = ModelSettings({"system": "default"}, {"m": {"system": "model"}})
    assert asked(settings, "m", {"system": "chat"}, {}).systems == ["model", "chat"]
    assert asked(settings, "other", {"system": "chat"}, {"system": "request"}).systems == ["default", "request"]
    assert asked(settings, "other", {"system": " "}, {"system": "default"}).systems == ["default"]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ({"stop": "END, STOP ,"}, {"stop": ["END", "STOP"]}),
        ({"stop": ["a,b"]}, {"stop": ["a,b"]}),
        ({"stop": ""}, {}),
        ({"logit_bias": "15:100, 16:-100, x"}, {"logit_bias": {"15": 100, "16": -100}}),
        ({"logit_bias": {"15": 1}}, {"logit_bias": {"15": 1}}),
    ],
)
def test_what_a_user_typed_becomes_what_a_provider_takes(typed: dict[str, Any], sent: dict[str, Any]) -> None:
    assert asked(ModelSettings(), "m", typed, {}).options == sent


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([USER], [{"role": "system", "content": "A\n\nB"}, USER]),
        ([{"role": "system", "content": "own"}, USER], [{"role": "system", "content": "A\n\nB\n\nown"}, USER]),
        ([{"role": "developer", "content": "own"}], [{"role": "developer", "content": "A\n\nB\n\nown"}]),
        ([{"role": "system", "content": "B and own"}, USER], [{"role": "system", "content": "A\n\nB and own"}, USER]),
        (
            [{"role": "system", "content": [{"type": "text", "text": "own"}]}],
            [{"role": "system", "content": [{"type": "text", "text": "A\n\nB\n\n"}, {"type": "text", "text": "own"}]}],
        ),
        ([{"role": "system", "content": ""}, USER], [{"role": "system", "content": "A\n\nB"}, USER]),
    ],
)
def test_prompts_stand_once_in_one_system_message(messages: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    assert with_systems(["A", "B"], messages) == sent
    assert with_systems(["A", "B"], sent) == sent


def test_without_prompts_the_messages_are_as_they_were() -> None:
    assert with_systems([], [USER]) == [USER]
