"""Reasoning that a model marks by tags in its text, such as ``<think>…</think>``, told from the answer. Pure.

A tag may be cut anywhere, also across reads: what may become one is held until it is known. Every character stays: as text, as
reasoning, or as ``LeftOut`` for the tags and the white space that follows them. So the text as the model wrote it can be put together
again from the log (docs/protocol.md §2).
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from commands.providers.provider import Audio, File, Finish, LeftOut, Logprobs, Part, Reasoning, RefusalText, Skipped, Text, ToolCall

TAGS: Final[Sequence[tuple[str, str]]] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<Thought>", "</Thought>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
)
AROUND_THE_ANSWER: Final = ("<|begin_of_solution|>", "<|end_of_solution|>")  # such models mark their answer, too: the tags are left out
ATTRIBUTES_CHARACTERS_MAX: Final = 256  # of a tag such as <think effort="high">
TAG_CHARACTERS_MAX: Final = 100  # of a tag of the caller's own
SPACE_CHARACTERS_MAX: Final = 1_000  # of white space that is left out at one place

CONTENT: Final = (Reasoning, RefusalText, ToolCall, Audio, File, Finish)  # what is said after a text: nothing may be held back before it


class TagSplitter:
    """``split`` returns the parts of one read after another; ``flush`` what was held, when nothing follows."""

    def __init__(self, tags: Sequence[tuple[str, str]], dropped: Sequence[str] = ()) -> None:
        self._end_of = dict(tags)
        self._tags = (*self._end_of, *dropped)
        self._first = frozenset(tag[0] for tag in self._tags)
        # The longest first: of <think> and <think> with attributes the same one is meant either way.
        self._tag = re.compile("|".join(f"({pattern_of(tag)})" for tag in self._tags))
        self._tail = max(map(len, self._tags)) + ATTRIBUTES_CHARACTERS_MAX + 1  # how far before its end a text can begin a tag
        self._end = ""  # of the reasoning that is open
        self._held = ""
        self._skips_space = False  # after a tag
        self._skipped = 0
        self._begun = False  # the answer has text: white space before that may still belong to a tag
        self._is_plain = False  # nothing is held or open: nearly always

    def split(self, parts: list[Part]) -> list[Part]:
        if self._is_plain and all([type(part) is Text and self._first.isdisjoint(part.text) for part in parts]):  # noqa: C419  # mostly one: a generator costs more
            return parts
        made: list[Part] = []
        for part in parts:
            if type(part) is Text:
                self._text(part.text, made)
            elif isinstance(part, Logprobs):
                # Those of a piece that is held, or that became a tag, have no text to stand behind.
                follows = made and isinstance(made[-1], Text | Reasoning) and not self._held
                made.append(part if follows else Skipped("log probabilities of a piece that may be a tag"))
            else:
                if isinstance(part, CONTENT):
                    made += self.flush()
                made.append(part)
        self._is_plain = self._begun and not (self._held or self._end or self._skips_space)
        return made

    def flush(self) -> list[Part]:
        held, self._held = self._held, ""
        if not held:
            return []
        self._begun = True
        return [Reasoning(held) if self._end else Text(held)]

    def _text(self, text: str, made: list[Part]) -> None:
        rest, self._held = self._held + text, ""
        while rest:
            if self._skips_space:
                rest = self._without_space(rest, made)
            elif self._end:
                rest = self._in_reasoning(rest, made)
            elif not self._begun and rest.isspace() and len(rest) <= SPACE_CHARACTERS_MAX:
                self._held, rest = rest, ""
            else:
                rest = self._in_answer(rest, made)

    def _without_space(self, rest: str, made: list[Part]) -> str:
        beyond = rest.lstrip()
        space = rest[: len(rest) - len(beyond)]
        room = SPACE_CHARACTERS_MAX - self._skipped
        if space[:room]:
            made.append(LeftOut(space[:room]))
            self._skipped += len(space[:room])
        if beyond or len(space) > room:
            self._skips_space = False
        return rest[len(space[:room]) :]

    def _in_reasoning(self, rest: str, made: list[Part]) -> str:
        at = rest.find(self._end)
        if at < 0:
            held = 0
            if self._end[0] in rest:
                held = max(size for size in range(len(self._end)) if not size or rest.endswith(self._end[:size]))
            said, self._held = rest[: len(rest) - held], rest[len(rest) - held :]
            if said:
                made.append(Reasoning(said))
            return ""
        if at:
            made.append(Reasoning(rest[:at]))
        self._leave_out(self._end, made)
        rest, self._end = rest[at + len(self._end) :], ""
        return rest

    def _in_answer(self, rest: str, made: list[Part]) -> str:
        found = self._tag.search(rest)
        at = found.start() if found else self._where_a_tag_may_begin(rest)
        before = rest[:at]
        if before.isspace() and not self._begun and len(before) <= SPACE_CHARACTERS_MAX:
            if found is None:
                self._held = rest
                return ""
            made.append(LeftOut(before))
        elif before:
            self._begun = True
            made.append(Text(before))
        if found is None:
            self._held = rest[at:]
            return ""
        tag = self._tags[(found.lastindex or 1) - 1]
        self._leave_out(found.group(), made)
        self._end = self._end_of.get(tag, "")
        return rest[found.end() :]

    def _leave_out(self, tag: str, made: list[Part]) -> None:
        made.append(LeftOut(tag))
        self._skips_space, self._skipped = True, 0

    def _where_a_tag_may_begin(self, rest: str) -> int:
        """Where the end of ``rest`` may be the beginning of a tag; its length if nowhere."""
        for at in range(max(0, len(rest) - self._tail), len(rest)):
            if rest[at] in self._first and any(may_begin(rest[at:], tag) for tag in self._tags):
                return at
        return len(rest)


def pattern_of(tag: str) -> str:
    if takes_attributes(tag):
        return rf"{re.escape(tag[:-1])}(?:\s[^>\n]{{0,{ATTRIBUTES_CHARACTERS_MAX}}})?>"
    return re.escape(tag)


def takes_attributes(tag: str) -> bool:
    return tag.startswith("<") and tag.endswith(">") and tag[1:-1].isalnum()


def may_begin(text: str, tag: str) -> bool:
    """Whether ``text`` is the beginning of ``tag``, or of it with attributes, and not all of it."""
    if tag.startswith(text):
        return True
    name = tag[:-1]
    if not takes_attributes(tag) or not text.startswith(name):
        return False
    attributes = text[len(name) :]
    return attributes[0].isspace() and len(attributes) <= ATTRIBUTES_CHARACTERS_MAX + 1 and not re.search(r"[>\n]", attributes[1:])


def splitter_for(setting: Any) -> TagSplitter | None:
    """By the setting ``reasoning_tags``: ``[start, end]`` is a pair of the caller's own, ``False`` leaves all tags in the text; with
    anything else the usual ones count.
    """
    match setting:
        case False:
            return None
        case [str() as start, str() as end] if 0 < len(start) <= TAG_CHARACTERS_MAX and 0 < len(end) <= TAG_CHARACTERS_MAX:
            return TagSplitter([(start, end)], AROUND_THE_ANSWER)
        case _:
            return TagSplitter(TAGS, AROUND_THE_ANSWER)
