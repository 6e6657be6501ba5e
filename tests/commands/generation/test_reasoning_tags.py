"""Reasoning in tags, told from the answer, however the text was cut."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.generation.answer_builder import LEFT_OUT_CHARACTERS_MAX, AnswerBuilder
from commands.generation.reasoning_tags import AROUND_THE_ANSWER, SPACE_CHARACTERS_MAX, TAGS, TagSplitter, splitter_for
from commands.providers.provider import Finish, LeftOut, Logprobs, Part, Reasoning, Skipped, Text, ToolCall
from domain.generation import BlockOpened, MessageDelta
from domain.log.codec import encode
from tests.domain.histories import UNHURRIED

TAGGED = [*(tag for pair in TAGS for tag in pair), *AROUND_THE_ANSWER, '<think effort="high">', "<think\n>", "<thinkers>"]
FRAGMENTS = st.sampled_from([*TAGGED, "<", ">", "◁", " ", "\n\n", "a < b", "x"])
WRITTEN = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


def usual() -> TagSplitter:
    splitter = splitter_for(None)
    assert splitter is not None
    return splitter


def split(splitter: TagSplitter, pieces: Sequence[str]) -> list[Part]:
    parts = [part for piece in pieces for part in splitter.split([Text(piece)] if piece else [])]
    return [*parts, *splitter.flush()]


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def of(parts: Sequence[Part], kind: type[Text] | type[Reasoning]) -> str:
    return "".join(part.text for part in parts if isinstance(part, kind))


def everything(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text | Reasoning | LeftOut))


@UNHURRIED
@given(WRITTEN, st.lists(st.integers(0, 300), max_size=20))
def test_no_character_is_lost_and_the_cuts_do_not_matter(written: str, places: list[int]) -> None:
    whole, pieces = split(usual(), [written]), split(usual(), cut(written, places))
    assert everything(whole) == everything(pieces) == written
    assert of(whole, Text) == of(pieces, Text)
    assert of(whole, Reasoning) == of(pieces, Reasoning)


@pytest.mark.parametrize(("start", "end"), TAGS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_every_pair_of_tags_marks_reasoning(start: str, end: str, size: int) -> None:
    written = f"Before {start}\nhm < 3\n{end}\n\nafter"
    parts = split(usual(), [written[at : at + size] for at in range(0, len(written), size)])
    assert of(parts, Text) == "Before after"
    assert of(parts, Reasoning) == "hm < 3\n"


@pytest.mark.parametrize(
    ("written", "text", "reasoning"),
    [
        ('<think effort="high">deep</think>Done', "Done", "deep"),
        ("\n <think>a</think> b <think>c</think>d", "b d", "ac"),
        ("<think>\n\n</think>\n\nAnswer", "Answer", ""),
        ("<think>never closed", "", "never closed"),
        ("<thought>other</think> tag</thought>x", "x", "other</think> tag"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>\nb<|end_of_solution|>", "b", "a"),
        ("no tag: <thinker> a<b </think>", "no tag: <thinker> a<b </think>", ""),
        ("<think", "<think", ""),
        ("<think a\nb>c", "<think a\nb>c", ""),
        (f"<think {'x' * 300}>c", f"<think {'x' * 300}>c", ""),
        ("   ", "   ", ""),
        (f"{' ' * (SPACE_CHARACTERS_MAX + 1)}<think>a", " " * (SPACE_CHARACTERS_MAX + 1), "a"),
        (f"<think>{' ' * (SPACE_CHARACTERS_MAX + 2)}a", "", "  a"),
    ],
)
def test_text_and_reasoning_are_told_apart(written: str, text: str, reasoning: str) -> None:
    for pieces in ([written], list(written)):
        parts = split(usual(), pieces)
        assert (of(parts, Text), of(parts, Reasoning)) == (text, reasoning)


def test_pieces_without_a_tag_pass_as_they_came() -> None:
    splitter = usual()
    for piece in ("A", " piece", " with", " nothing"):
        assert splitter.split([Text(piece)]) == [Text(piece)]


def test_a_setting_names_a_pair_of_its_own_or_leaves_tags_in_the_text() -> None:
    own = splitter_for(["[THINK]", "[/THINK]"])
    assert own is not None
    parts = split(own, ["<think>[THI", "NK]b[/THINK]c"])
    assert (of(parts, Text), of(parts, Reasoning)) == ("<think>c", "b")
    assert splitter_for(False) is None


@pytest.mark.parametrize("setting", [None, True, [], ["a"], ["", "b"], ["a", 1], "think", {"a": 1}, ["x" * 101, "y"]])
def test_any_other_setting_means_the_usual_tags(setting: Any) -> None:
    splitter = splitter_for(setting)
    assert splitter is not None
    assert of(split(splitter, ["<think>a</think>b"]), Reasoning) == "a"


def test_what_is_held_stands_before_what_follows_it() -> None:
    splitter = usual()
    assert splitter.split([Text("so <th")]) == [Text("so ")]
    assert splitter.split([ToolCall(0, "{}", "id", "f")]) == [Text("<th"), ToolCall(0, "{}", "id", "f")]
    assert splitter.split([Text("<"), Finish("stop")]) == [Text("<"), Finish("stop")]


def test_log_probabilities_stand_behind_their_own_text_or_nowhere() -> None:
    splitter, logprobs = usual(), Logprobs({"content": []})
    assert splitter.split([Text("a"), logprobs]) == [Text("a"), logprobs]
    assert [type(part) for part in splitter.split([Text("b<"), logprobs])] == [Text, Skipped]


# ------------------------------------------------------------------------------------------------ what stands in the log


def facts_of(pieces: Sequence[str]) -> list[BlockOpened | MessageDelta]:
    splitter, answer = usual(), AnswerBuilder()
    facts = [fact for piece in pieces for fact in answer.add(splitter.split([Text(piece)]))]
    return [*facts, *answer.add([*splitter.flush(), Finish("stop")])]


@UNHURRIED
@given(st.lists(FRAGMENTS, max_size=12))
def test_the_log_holds_what_the_model_wrote(pieces: list[str]) -> None:
    written = "".join(fact.text if isinstance(fact, MessageDelta) else fact.preceded_by or "" for fact in facts_of(pieces))
    assert written == "".join(pieces)


def test_blocks_say_what_stands_between_them() -> None:
    blocks = [fact for fact in facts_of(["<think>a", "</think>\n\nb", "<think>c</think>\n"]) if isinstance(fact, BlockOpened)]
    assert [(block.type, block.preceded_by) for block in blocks] == [
        ("reasoning", "<think>"),
        ("text", "</think>\n\n"),
        ("reasoning", "<think>"),
        ("text", "</think>\n"),
    ]


def test_tags_without_end_fit_into_events() -> None:
    facts = facts_of(["<think></think>"] * LEFT_OUT_CHARACTERS_MAX)
    assert all(len(encode(fact)[1]) < 3 * LEFT_OUT_CHARACTERS_MAX for fact in facts)
    assert sum(len(fact.preceded_by or "") for fact in facts if isinstance(fact, BlockOpened)) == 15 * LEFT_OUT_CHARACTERS_MAX
