"""What of a text is a mention."""

from uuid import UUID

import pytest

from domain.channel.mentions import MENTIONS_MAX, Mentions, mentions_in, without_markup

ANN = UUID("01900000-0000-7000-8000-00000000000a")
MODEL = "<@M:ns/model:8b|Model>"


def test_people_groups_models_and_channels_are_told_apart() -> None:
    text = f"Hi <@U:{ANN}|Ann>, <@G:{ANN}|writers> and {MODEL} in <#C:{ANN}|general>; again <@U:{ANN}>"
    assert mentions_in(text) == Mentions((ANN,), (ANN,), ("ns/model:8b",), (ANN,))
    assert without_markup(text) == f"Hi @Ann, @writers and @Model in #general; again @{ANN}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b.c",
        "<@U:nobody|x>",
        f"<@X:{ANN}|x>",
        f"<#U:{ANN}|x>",
        f"<@C:{ANN}|x>",
        f"<@U:{ANN}|a\nb>",
        f"<@U:{ANN}|x",
        "<@U:|x>",
        "<@M:>",
    ],
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert mentions_in(text) == Mentions()


def test_a_model_does_not_read_its_own_mention() -> None:
    assert without_markup(f"{MODEL} how are you?", models=False) == "how are you?"


def test_a_text_mentions_a_bounded_number() -> None:
    text = "".join(f"<@U:{UUID(int=number)}|x>" for number in range(200))
    assert len(mentions_in(text).user_ids) == MENTIONS_MAX


def test_a_long_text_of_beginnings_is_read_in_time_that_grows_with_it() -> None:
    assert mentions_in("<@U:" * 100_000) == Mentions()
