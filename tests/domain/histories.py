"""Random histories of chats that could have happened: each fact is what ``decide`` answered to some command on the state before it."""

import functools
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, settings, strategies
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec import structs

from domain.chat.commands import (
    AddMessage,
    AnswerCall,
    ArchiveChat,
    AskUser,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    DeleteMessage,
    EditMessage,
    Emit,
    ExpireCall,
    MoveChat,
    PinChat,
    RateMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
    TagChat,
)
from domain.chat.decide import decide
from domain.chat.evolve import evolve, fold
from domain.chat.facts import ChatEvent, MessageEdited
from domain.chat.sharing import RemoveShareLink, SetShareLinkAccess, ShareVersion
from domain.chat.state import EMPTY, Chat
from domain.chat.whole_chat import ImportSource, Streamed, WholeChat, WholeMessage, steps_of
from domain.errors import Refusal
from domain.generation import (
    AppendParts,
    BlockOpened,
    BlockSum,
    EndGeneration,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    StartGeneration,
    Timings,
)
from domain.log.event import Emitted
from domain.routing.call import CallOpened

# No test of ours asserts a time, so hypothesis shall not either: a busy machine is no bug.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(UNHURRIED, max_examples=40)  # for what is slow to make up

CHAT = UUID(int=0xC0)
OWNER, READER, WRITER, STRANGER = (UUID(int=0xA0 + number) for number in range(4))
NODE = UUID(int=0xD0)
MESSAGES = [UUID(int=number) for number in range(1, 17)]

PEOPLE = strategies.sampled_from([OWNER, OWNER, OWNER, WRITER, READER, STRANGER])
IDS = strategies.sampled_from(MESSAGES)
TEXTS = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
PIECES = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
JSON: SearchStrategy[Any] = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: strategies.lists(inner, max_size=2) | strategies.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
UNKNOWN_KEYS = strategies.dictionaries(strategies.sampled_from(["foo", "bar.baz", "info", "ü"]), JSON, max_size=2)


class History(NamedTuple):
    events: Sequence[ChatEvent]
    state: Chat


@strategies.composite
def histories(draw: DrawFn, *, steps_max: int = 30) -> History:
    """Begins with a chat of ``OWNER``, made here or imported whole; refused commands leave nothing behind."""
    created = CreateChat(chat_id=CHAT, by=OWNER, title=draw(TEXTS), listed=draw(strategies.booleans()), fields=draw(UNKNOWN_KEYS))
    state, events = EMPTY, list[ChatEvent]()
    if draw(strategies.integers(0, 3)) == 0:
        events = [step.event for step in steps_of(draw(whole_chats()))]
        state = fold(EMPTY, enumerate(events, 1))
    steps = draw(strategies.integers(0, steps_max))
    for command in [created, *draw(strategies.lists(commands(), min_size=steps, max_size=steps))]:
        is_fitted = draw(strategies.integers(0, 5)) > 0
        try:
            decided = decide(state, truthful(events, fitted(state, command) if is_fitted else command))
        except Refusal:
            continue
        for event in decided:
            events.append(event)
            state = evolve(state, event, len(events))
    return History(events, state)


@strategies.composite
def whole_chats(draw: DrawFn, *, messages_max: int = 8) -> WholeChat:
    """A chat from elsewhere: a tree of messages in any order, some of them answers with their chunks."""
    ids = MESSAGES[: draw(strategies.integers(0, messages_max))]
    messages = []
    for number, message_id in enumerate(ids):
        parent_id = draw(strategies.none() | strategies.sampled_from(ids[:number])) if number else None
        is_streamed = draw(strategies.booleans())
        messages.append(
            WholeMessage(
                message_id,
                parent_id,
                "assistant" if is_streamed else draw(strategies.sampled_from(["user", "assistant", "system"])),
                draw(TEXTS),
                draw(strategies.none() | strategies.just(f"m{number}")),
                draw(UNKNOWN_KEYS | strategies.fixed_dictionaries({"timestamp": strategies.integers(1, 2**31)})),
                draw(strategies.sampled_from([None, None, 1, 0, -1])),
                draw(strategies.none() | TEXTS),
                Streamed("demo", draw(strategies.lists(PIECES, max_size=4)), 1.5, 2.5) if is_streamed else None,
                f"messages.{number}",
            )
        )
    times = strategies.none() | strategies.just(datetime(2020, 5, 4, tzinfo=UTC))
    return WholeChat(
        chat_id=CHAT,
        owner_id=OWNER,
        title=draw(TEXTS),
        origin=ImportSource("test", "original", draw(times), draw(times)),
        messages=draw(strategies.permutations(messages)),
        current_id=draw(strategies.none() | strategies.sampled_from(ids)) if ids else None,
        fields=draw(UNKNOWN_KEYS),
        tags=draw(strategies.lists(strategies.sampled_from(["x", "X", "y", "none", ""]), max_size=3)),
        pinned=draw(strategies.booleans()),
        archived=draw(strategies.booleans()),
    )


def truthful(events: Sequence[ChatEvent], command: ChatCommand) -> ChatCommand:
    """An end that says what was streamed: one that was cut off may say more, or keeps its text elsewhere. What is filled is empty."""
    if not isinstance(command, EndGeneration | StartGeneration):
        return command
    of_answer = [event.data for event in events if event.message_id == command.message_id]
    if isinstance(command, StartGeneration):
        is_empty = not any(isinstance(fact, MessageEdited | Emitted) or getattr(fact, "content", "") for fact in of_answer)
        return structs.replace(command, fills=command.fills and is_empty)
    blocks: list[tuple[Any, list[str]]] = []
    deltas = 0
    for fact in of_answer:
        if isinstance(fact, BlockOpened):
            blocks.append((fact.type, []))
        elif isinstance(fact, MessageDelta) and fact.index < len(blocks):
            blocks[fact.index][1].append(fact.text)
            deltas += 1
    said = "".join("".join(pieces) for type_, pieces in blocks if type_ == "text")
    sums = [BlockSum(index, type_, sha256("".join(pieces))) for index, (type_, pieces) in enumerate(blocks)]
    outcome = command.outcome
    if isinstance(outcome, MessageEnded):
        outcome = MessageEnded(said, sums, sha256(said), outcome.finish_reason, outcome.usage, outcome.timings, deltas)
    else:
        outcome = structs.replace(outcome, content=said + (outcome.content if len(outcome.content) > 6 else ""))
    return structs.replace(command, outcome=outcome)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fitted(state: Chat, command: ChatCommand) -> ChatCommand:
    """The command as somebody would give it who knows the chat, so that histories get somewhere."""
    there = sorted(one for one in state.messages if (node := state.messages.get(one)) is not None and not node.deleted)
    free = [one for one in MESSAGES if one not in state.messages]
    going = sorted(state.open_generations)
    over = [one for one in there if (node := state.messages.get(one)) is not None and node.role == "assistant" and one not in going]
    match command:
        case AppendParts():
            if not going:
                return command
            message_id = going[command.message_id.int % len(going)]
            generation = state.open_generations[message_id]
            is_new = generation.blocks == 0 or len(command.parts) > 2
            index = generation.blocks - (not is_new)
            opened = [BlockOpened(index, "reasoning" if index % 2 else "text")] if is_new else []
            deltas = [MessageDelta(index, part.text) for part in command.parts if isinstance(part, MessageDelta)]
            return AppendParts(stream_id=CHAT, message_id=message_id, seq=generation.deltas, parts=[*opened, *deltas])
        case StartGeneration(fills=True):
            added = [one for one in there if (node := state.messages.get(one)) and node.role == "assistant" and not node.generated]
            changes: dict[str, Any] = {"continues": None} | ({"message_id": added[command.message_id.int % len(added)]} if added else {})
        case StartGeneration(continues=UUID() as continues) if over:
            continued = over[continues.int % len(over)]
            changes = {
                "continues": continued,
                "parent_id": node.parent_id if (node := state.messages.get(continued)) is not None else None,
            }
            changes |= {"message_id": free[0]} if free else {}
        case AddMessage() | StartGeneration():
            parent_id = there[command.parent_id.int % len(there)] if there and command.parent_id is not None else None
            changes = {"parent_id": parent_id} | ({"message_id": free[0]} if free else {})
            changes |= {"continues": None} if isinstance(command, StartGeneration) else {}
        case EndGeneration():
            changes = {"message_id": going[command.message_id.int % len(going)]} if going else {}
        case AnswerCall() | ExpireCall():
            calls = sorted(state.open_calls)
            changes = {"call_id": calls[command.call_id.int % len(calls)]} if calls else {}
        case SelectBranch() | EditMessage() | DeleteMessage() | RateMessage() | Emit() | AskUser():
            changes = {"message_id": there[command.message_id.int % len(there)]} if there else {}
        case _:
            changes = {}
    return structs.replace(command, **changes, **({"by": OWNER} if getattr(command, "by", None) is not None else {}))


def ended(content: str) -> MessageEnded:
    return MessageEnded(content, [BlockSum(0, "text", "00")], "00", "stop", {"total_tokens": 3}, Timings(1.5, 2.5), 1)


@functools.cache  # hypothesis looks into a strategy before it first draws from it, which takes longer than drawing
def commands() -> SearchStrategy[ChatCommand]:
    by = {"chat_id": strategies.just(CHAT), "by": PEOPLE}
    on = {**by, "message_id": IDS}
    on_stream = {"stream_id": on["chat_id"], **{name: value for name, value in on.items() if name != "chat_id"}}
    flags, parents = strategies.booleans(), strategies.none() | IDS
    endings: SearchStrategy[Any] = strategies.one_of(
        strategies.builds(ended, TEXTS),
        strategies.builds(GenerationFailed, TEXTS, TEXTS, TEXTS),
        strategies.builds(GenerationCancelled, PEOPLE, TEXTS),
        strategies.builds(GenerationInterrupted, strategies.just(NODE), TEXTS),
    )
    emitted = strategies.one_of(
        strategies.builds(lambda data: ("status", data), strategies.fixed_dictionaries({"description": TEXTS, "done": flags})),
        strategies.builds(lambda text: ("message", {"content": text}), TEXTS),
        strategies.builds(lambda text: ("replace", {"content": text}), TEXTS),
        strategies.builds(lambda files: ("files", {"files": files}), strategies.lists(TEXTS, max_size=2)),
        strategies.builds(lambda embeds: ("embeds", {"embeds": embeds}), strategies.lists(TEXTS, max_size=2)),
        strategies.builds(lambda name: ("source", {"name": name}), TEXTS),
        strategies.builds(lambda name: ("citation", {"name": name, "type": "code_execution"}), TEXTS),
        strategies.builds(lambda data: ("log", data), JSON),
    )
    made: list[SearchStrategy[Any]] = [
        strategies.builds(RenameChat, **by, title=TEXTS),
        strategies.builds(ConfigureChat, **by, fields=UNKNOWN_KEYS),
        strategies.builds(PinChat, **by, pinned=flags),
        strategies.builds(ArchiveChat, **by, archived=flags),
        strategies.builds(MoveChat, **by, folder_id=strategies.none() | strategies.just(UUID(int=0xF0))),
        strategies.builds(TagChat, **by, name=strategies.sampled_from(["x", "y"]), present=flags),
        strategies.builds(ShareChat, **by, user_id=PEOPLE, permission=strategies.sampled_from(["read", "write", None])),
        strategies.builds(ShareVersion, **by, share_id=IDS, version=strategies.integers(1, 5)),
        strategies.builds(SetShareLinkAccess, **by, everyone=flags, user_ids=strategies.lists(PEOPLE, max_size=2)),
        strategies.builds(RemoveShareLink, **by),
        strategies.builds(SelectBranch, **on),
        strategies.builds(EditMessage, **on, fields=UNKNOWN_KEYS | strategies.fixed_dictionaries({"content": TEXTS})),
        strategies.builds(DeleteMessage, **on),
        strategies.builds(RateMessage, **on, rating=strategies.sampled_from([-1, 0, 1]), comment=strategies.none() | TEXTS),
        strategies.builds(
            lambda by, message_id, what: Emit(chat_id=CHAT, by=by, message_id=message_id, name=what[0], data=what[1]), PEOPLE, IDS, emitted
        ),
        *[
            strategies.builds(
                AddMessage,
                **on,
                parent_id=parents,
                role=strategies.sampled_from(["user", "assistant", "system"]),
                content=TEXTS,
                fields=UNKNOWN_KEYS,
            )
        ]
        * 3,
        strategies.builds(
            AddMessage, **on, parent_id=parents, role=strategies.just("assistant"), content=strategies.just(""), fields=UNKNOWN_KEYS
        ),
        *[
            strategies.builds(
                StartGeneration,
                **on_stream,
                parent_id=parents,
                model=strategies.just("demo"),
                requested_model=strategies.just("demo"),
                task_id=IDS,
                node_id=strategies.just(NODE),
                fills=flags,
                continues=strategies.none() | IDS,
                payload_sha256=strategies.none() | strategies.just("ab" * 32),
                fields=UNKNOWN_KEYS,
            )
        ]
        * 3,
        *[
            strategies.builds(
                AppendParts,
                stream_id=strategies.just(CHAT),
                message_id=IDS,
                seq=strategies.just(0),
                parts=strategies.lists(strategies.builds(MessageDelta, strategies.just(0), PIECES), min_size=1, max_size=3),
            )
        ]
        * 6,
        *[strategies.builds(EndGeneration, **on_stream, outcome=endings)] * 2,
        *[
            strategies.builds(
                AskUser,
                chat_id=strategies.just(CHAT),
                message_id=IDS,
                call=strategies.builds(
                    CallOpened, IDS, strategies.just("input"), PEOPLE, strategies.just(NODE), strategies.none() | TEXTS, JSON
                ),
            )
        ]
        * 2,
        strategies.builds(AnswerCall, **by, call_id=IDS, data=JSON, by_role=flags),
        strategies.builds(
            ExpireCall, chat_id=strategies.just(CHAT), call_id=IDS, reason=strategies.sampled_from(["timeout", "cancelled", "server_gone"])
        ),
    ]
    # Rare, since nothing comes after it.
    deleted, others = strategies.builds(DeleteChat, **by), strategies.one_of(made)
    return strategies.integers(0, 60).flatmap(lambda n: deleted if n == 60 else others)
