"""What the demo model says: a few rules and our own words, the same for the same conversation."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import cycle, islice
from typing import Any, Final

QUOTED_CHARS_MAX: Final = 240

_GREETING: Final = re.compile(r"^\W*(hi|hello|hey|hallo|good (morning|afternoon|evening)|greetings|bonjour|servus)\b", re.IGNORECASE)
_THANKS: Final = re.compile(r"\b(thanks|thank you|thx|merci|danke)\b", re.IGNORECASE)
_BYE: Final = re.compile(r"\b(bye|goodbye|see you|good night)\b", re.IGNORECASE)
_NAME_GIVEN: Final = re.compile(r"\b(?:my name is|call me)\s+([^\W\d_][\w'’-]{0,30})", re.IGNORECASE)
_NAME_ASKED: Final = re.compile(r"\b(what(?:'s| is) my name|who am i|remember my name)\b", re.IGNORECASE)
_MEMORY_ASKED: Final = re.compile(r"\b(what did i (?:say|ask|tell)|remember|before that|earlier)\b", re.IGNORECASE)
_ABOUT: Final = re.compile(r"\b(stenograph|what are you|who are you|what is this|how does (?:this|it) work)\b", re.IGNORECASE)
_HELP: Final = re.compile(r"\b(help|try|test|what can (?:you|i) do|show me|demo)\b", re.IGNORECASE)

_GREETINGS: Final = (
    "Hello, and welcome!",
    "Hi there, it is good to hear from you.",
    "Hello! The line is open and every word is being written down.",
)
_ABOUT_TEXT: Final = (
    "Stenograph is a chat server that never loses a word. Every piece of every answer, including this one, is written into a log "
    "in Postgres before you see it. Lists, searches and the page you are looking at are only views of that log, so anybody who was "
    "away can take up the stream at the exact word where they left it."
)
_COMMENTS: Final = (
    "I have no opinion of my own about that, being a few lines of Python, but it is in the log now and will stay there.",
    "A real model would have something clever to add. I only promise that what you wrote arrived whole.",
    "That reads well. I would like to think about it, but thinking is what the other models are for.",
)
_NO_ANSWER: Final = (
    "I cannot really answer that: I am the built-in demo model and know nothing but this server. Point Stenograph at a real model "
    "to get a real answer; the way of the words will be the same."
)
_HINTS: Final = (
    "Stop the server in the middle of an answer, even with `kill -9`, and start it again: what you saw is still there, and the "
    "answer is marked as interrupted.",
    "Close this tab while I am talking and open it again: the answer went on without you, and you get the rest from where you left.",
    "Run `steno replay` on this chat: you will see these words once more, at the pace at which they came.",
    "Ask `demo:1000` for a long answer, and cut the network while it runs.",
    "Ask `demo:fail` to see how an answer that breaks off looks, with everything that came before the failure kept.",
    "Ask `demo:slow` and press stop: what was said so far is kept, and the log says who stopped it.",
    "Edit your message, or ask for the answer again: nothing is overwritten, each version is a branch of its own.",
)
_ESSAY: Final = (
    "A stenographer sits in the corner of the room and writes down what is said.",
    "She does not decide who is right, and she does not tidy up the argument afterwards.",
    "When somebody comes back from the corridor, she reads them the part that they missed, and then they listen on.",
    "Nobody has to remember where they were, because the page has numbers.",
    "If the lights go out, the notes end in the middle of a sentence, and that is an honest ending.",
    "The next morning a new page begins where the old one stopped.",
    "A clerk who wants to know how often a word was used can count, as long as he likes, without disturbing anyone.",
    "A clerk who made a mistake can throw away his table and count again from page one.",
    "What was crossed out is still legible, and beside it stands who crossed it out, and when.",
    "Two people may speak at once, and their words stand in the order in which they reached the paper.",
    "There is only one pen, so there is never a question which of two sentences came first.",
    "It is a narrow pen, but it writes whole handfuls of sentences in one stroke.",
    "Some listeners are slow, and they read from the page at their own pace while the others hear the voice.",
    "Nobody waits for the slow ones, and nobody throws them out.",
    "A page that is finished is never rewritten, which makes it easy to copy and hard to doubt.",
    "At the end of the day the whole room can be heard again, at the pace at which it spoke.",
)


def answer_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The answer of the plain demo model."""
    said = [text for message in messages if message.get("role") == "user" and (text := question_text(message)) is not None]
    last = said[-1].strip() if said else ""
    earlier = said[:-1]
    if not last:
        return f"You sent me nothing to answer, which is fine too. {_pick(_HINTS, messages)}"

    paragraphs: list[str] = []
    if _NAME_ASKED.search(last):
        name = _name_in(said)
        paragraphs.append(f"You told me that your name is {name}." if name else "You have not told me your name yet in this chat.")
    elif name := _name_in([last]):
        paragraphs.append(f"Nice to meet you, {name}. Ask me for your name later, and you will see that I was given the whole chat.")
    elif _MEMORY_ASKED.search(last) and earlier:
        paragraphs.append("I was given the whole conversation, so I can look it up.")
    elif _ABOUT.search(last):
        paragraphs.append(f"I am the demo model that is built into this server. {_ABOUT_TEXT}")
    elif _THANKS.search(last):
        paragraphs.append("You are welcome. The log keeps your thanks, too.")
    elif _BYE.search(last):
        paragraphs.append("Goodbye! Whenever you come back, this conversation will be as you left it.")
    elif _HELP.search(last):
        hints = "\n".join(f"{number}. {hint}" for number, hint in enumerate(_HINTS, 1))
        paragraphs.append(f"Gladly. Here are some things that are worth trying:\n\n{hints}")
        return "\n\n".join(paragraphs)
    elif _GREETING.match(last):
        paragraphs.append(f"{_pick(_GREETINGS, messages)} I am the demo model: I need no key and no network, and I always have time.")
    elif last.endswith("?"):
        paragraphs.append(f"You ask: {_quoted(last)} {_NO_ANSWER}")
    else:
        paragraphs.append(f"You wrote: {_quoted(last)} That is {_counted(len(last.split()), 'word')}. {_pick(_COMMENTS, messages)}")

    if images := sum(_images(message) for message in messages[-1:]):
        paragraphs.append(f"You also sent {_counted(images, 'picture')}, which I cannot look at.")
    if earlier and earlier[-1].strip():
        paragraphs.append(f"Before that you said: {_quoted(earlier[-1])}")
    paragraphs.append(f"Something to try: {_pick(_HINTS, messages)}")
    return "\n\n".join(paragraphs)


def essay(words: int, messages: Sequence[Mapping[str, Any]]) -> str:
    """Exactly ``words`` words of prose, beginning at a sentence that depends on the conversation; a paragraph has four sentences."""
    start = _seed(messages) % len(_ESSAY)
    sentences = islice(cycle(_ESSAY), start, None)
    out: list[str] = []
    left = words
    for number, sentence in enumerate(sentences):
        taken = sentence.split()[:left]
        left -= len(taken)
        out.append(("" if number == 0 else "\n\n" if number % 4 == 0 else " ") + " ".join(taken))
        if left == 0:
            break
    return "".join(out).rstrip(".,") + "."


def thoughts(messages: Sequence[Mapping[str, Any]]) -> str:
    said = [text for message in messages if message.get("role") == "user" and (text := question_text(message))]
    subject = _quoted(said[-1]) if said else "nothing at all"
    return (
        f"The user says {subject} This is message number {len(messages)} of the conversation. I should be friendly, say honestly that I am "
        "only a demonstration, and leave them with something to try. My thoughts stand in a block of their own, before the answer."
    )


def question_text(message: Mapping[str, Any]) -> str | None:
    """The text of a message whose content is a string or a list of parts."""
    match message.get("content"):
        case str() as text:
            return text
        case [*parts]:
            return " ".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
        case _:
            return None


def _images(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if not isinstance(content, list):
        return 0
    return sum(1 for part in content if isinstance(part, Mapping) and part.get("type") == "image_url")


def _name_in(said: Sequence[str]) -> str | None:
    return next((found[1] for text in reversed(said) if (found := _NAME_GIVEN.search(text))), None)


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text}”" if len(text) <= QUOTED_CHARS_MAX else f"“{text[:QUOTED_CHARS_MAX].rstrip()}…”"


def _counted(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _seed(messages: Sequence[Mapping[str, Any]]) -> int:
    said = "\0".join(f"{message.get('role')}:{question_text(message)}" for message in messages)
    return int.from_bytes(sha256(said.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _pick(choices: Sequence[str], messages: Sequence[Mapping[str, Any]]) -> str:
    return choices[_seed(messages) % len(choices)]
