"""A channel made of events is what the server answers: for random histories and cuts, from the start and from a snapshot."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api.formats.event_json import encode_event
from api.process.server import System
from api.settings import Settings
from api.streams import snapshots
from api.systems import in_memory
from commands.chats.folders import FolderTrees
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.access import Grant
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import (
    AddMembers,
    ArchiveChannel,
    AskModel,
    ChangeChannel,
    ChangeMessage,
    ChannelCommand,
    CreateChannel,
    PinMessage,
    PostMessage,
    React,
    RemoveMembers,
    RemoveMessage,
)
from domain.channel.rights import Asker
from domain.errors import MessageNotFound, Refusal
from domain.generation import AppendParts, BlockOpened, EndGeneration, GenerationCancelled, GenerationFailed, MessageDelta, StartGeneration
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import channel_stream, user_stream
from projections.channel import shared_json
from stenograph_client import ChannelView, Snapshot
from stenograph_client.events import decode_event

pytestmark = pytest.mark.anyio

PEOPLE = [Asker(UUID(int=number), "admin") for number in range(1, 4)]
CHANNEL = UUID(int=0xC0)
STREAM = channel_stream(CHANNEL)
IDS = [UUID(int=0x100 + number) for number in range(24)]
EPOCH = "0190aaaa-0000-7000-8000-000000000001"


@pytest.fixture
async def system(tmp_path: Path) -> System:
    made = await in_memory(Settings(data=tmp_path))
    for one in PEOPLE:
        fact = UserCreated(f"P{one.id.int}", f"{one.id.int}@example.org", "admin")
        await made.log.append(AppendRequest([StreamAppend(user_stream(one.id), [Event(None, fact)], 0)]))
    return made


def create(type_: Any) -> CreateChannel:
    members = [one.id for one in PEOPLE[1:]] if type_ == "group" else ()
    return CreateChannel(channel_id=CHANNEL, by=PEOPLE[0], type=type_, name="general", member_ids=members)


def random_command(choose: random.Random, step: int) -> ChannelCommand:
    """Many of them are refused: what is left is a history that the rules of a channel lead to."""
    by, one, other = choose.choice(PEOPLE), choose.choice(IDS), choose.choice(IDS)
    of: dict[str, Any] = {"channel_id": CHANNEL, "by": by}
    going: dict[str, Any] = {"stream_id": CHANNEL, "message_id": one}
    match choose.choice("ppppppeeeddrrrruuniiigggGGa"):
        case "p":
            fields = choose.choice(({}, {"data": {"files": [step]}}, {"meta": {"a": step, "b": None}}, {"extra": step}))
            parent = choose.choice((None, None, other))
            quote = choose.choice((None, choose.choice(IDS)))
            return PostMessage(**of, message_id=one, content=f"said {step}", parent_id=parent, reply_to_id=quote, fields=fields)
        case "e":
            fields = choose.choice(({"content": f"edited {step}"}, {"data": {"files": None, "k": step}}))
            return ChangeMessage(**of, message_id=one, fields=fields)
        case "d":
            return RemoveMessage(**of, message_id=one)
        case "r" | "u":
            return React(**of, message_id=one, name=choose.choice("ab"), present=choose.random() < 0.6)
        case "n":
            changes = choose.choice(({"name": f"name {step}"}, {"data": {"k": step}}, {"description": str(step)}))
            return ChangeChannel(**of, **changes)
        case "i":
            return PinMessage(**of, message_id=one, pinned=choose.random() < 0.6)
        case "g":
            named = {"model": "m", "requested_model": "m", "task_id": UUID(int=1), "node_id": UUID(int=2)}
            start = StartGeneration(stream_id=CHANNEL, by=by.id, message_id=one, parent_id=None, **named)  # type: ignore[arg-type]
            return AskModel(**of, start=start)
        case "G":
            if choose.random() < 0.6:
                parts = [BlockOpened(0, "text"), MessageDelta(0, f"token {step} ")]
                return AppendParts(**going, seq=0, parts=parts)
            over = choose.choice((GenerationCancelled(by.id, f"so far {step}"), GenerationFailed("code", "detail", f"so far {step}")))
            return EndGeneration(**going, outcome=over)
        case _:
            return choose.choice(
                (
                    AddMembers(**of, user_ids=[choose.choice(PEOPLE).id]),
                    RemoveMembers(**of, user_ids=[choose.choice(PEOPLE[1:]).id]),
                    ArchiveChannel(**of, archived=choose.random() < 0.2),
                    ChangeChannel(**of, grants=choose.sample([Grant("user", "*", "write"), Grant("user", str(UUID(int=9)), "read")], k=1)),
                )
            )


async def go_on(system: System, choose: random.Random, steps: int, start: int) -> None:
    for step in range(start, start + steps):
        command = random_command(choose, step)
        by: Asker | None = getattr(command, "by", None)
        actor = Actor(by.id, f"P{by.id.int}", by.role) if by is not None else None
        try:
            await system.channels.handle(command, actor=actor)
        except Refusal:
            continue


async def history(system: System, after: int = 0) -> Sequence[StoredEvent]:
    return await system.log.read(STREAM, after=after, limit=10_000)


def apply(view: ChannelView, events: Sequence[StoredEvent]) -> ChannelView:
    for stored in events:
        view.apply(decode_event(encode_event(stored)).seen_in(EPOCH))
    return view


async def snapshot(system: System) -> Snapshot:
    state_of = snapshots.snapshots(system.log, system.chat_reader, FolderTrees(system.log), system.channel_reader)
    state = await state_of(STREAM, None)  # type: ignore[arg-type]  # a channel's is the same for everybody
    content = b"".join([piece async for piece in state.pieces()])
    return Snapshot(str(STREAM), EPOCH, state.version, json.loads(content), "asked")


def plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


async def fresh(system: System) -> tuple[Any, list[Any]]:
    """What the server answers now: the channel, and its messages."""
    _, channel = await system.channels.state(CHANNEL)
    messages = await system.channel_reader.page(CHANNEL, limit=1_000)
    pinned = [one["id"] for one in await system.channel_reader.pinned(CHANNEL, offset=0, limit=1_000)]
    members = {str(user_id): member.role for user_id, member in channel.members.items()}
    return plain([shared_json(CHANNEL, channel), members, channel.deleted, pinned]), plain(messages)


async def load_quoted(system: System, view: ChannelView) -> None:
    """What new messages quote of those that the view never loaded."""
    for message_id in view.unknown_ids:
        try:
            view.add_quoted(message_id, plain(await system.channel_reader.message(CHANNEL, UUID(message_id))))
        except MessageNotFound:
            view.add_quoted(message_id, None)


def seen(view: ChannelView) -> Any:
    return plain([view.channel, view.members, view.deleted, view.pinned_ids])


@pytest.mark.parametrize("seed", range(24))
async def test_events_make_the_channel_that_the_server_answers(system: System, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr(snapshots, "CHANNEL_MESSAGES", choose.choice((3, 50)))
    await system.channels.handle(create(choose.choice(("group", "standard"))), actor=Actor(PEOPLE[0].id, "P1", "admin"))
    cuts = []
    for part in range(4):
        await go_on(system, choose, choose.randint(20, 90), part * 1_000)
        cuts.append(await snapshot(system))
        made = apply(ChannelView(), await history(system))
        channel, messages = await fresh(system)
        assert seen(made) == channel
        assert plain(made.timeline()) == messages
        for root in messages:
            replies = await system.channel_reader.page(CHANNEL, parent_id=UUID(root["id"]), limit=1_000)
            assert plain(made.thread(root["id"])) == plain(replies)
        for cut in cuts:
            rejoined = apply(ChannelView(cut), await history(system, cut.version))
            assert seen(rejoined) == channel
            await load_quoted(system, rejoined)
            timeline = plain(rejoined.timeline())
            assert timeline == messages[: len(timeline)]
            assert rejoined.version == made.version


async def test_what_is_known_already_and_comes_again_changes_nothing(system: System) -> None:
    choose = random.Random(1)
    await system.channels.handle(create("group"), actor=Actor(PEOPLE[0].id, "P1", "admin"))
    await go_on(system, choose, 200, 0)
    view = apply(ChannelView(), await history(system))
    before = plain([seen(view), view.timeline()])
    apply(view, await history(system))
    assert plain([seen(view), view.timeline()]) == before


async def test_an_older_page_and_a_thread_join_what_is_there(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHANNEL_MESSAGES", 2)
    choose = random.Random(5)
    await system.channels.handle(create("group"), actor=Actor(PEOPLE[0].id, "P1", "admin"))
    await go_on(system, choose, 200, 0)
    view = ChannelView(await snapshot(system))
    assert len(view.timeline()) == 2
    view.add_older(plain(await system.channel_reader.page(CHANNEL, limit=1_000)))
    await go_on(system, choose, 100, 1_000)
    apply(view, await history(system, view.version))
    await load_quoted(system, view)
    channel, messages = await fresh(system)
    assert plain(view.timeline()) == messages
    assert seen(view) == channel
