"""Channels from elsewhere: Slack, Mattermost and the chitchat data set, on the log in memory."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from commands.channels.channels import Channels
from commands.channels.importing import chitchat, mattermost, slack
from commands.channels.importing.imported import Imported, ImportIds
from commands.channels.importing.importer import ChannelImporter, ChannelImportSummary
from commands.ports import Appended, AppendRequest, Claim, StreamAppend
from commands.transfer.bounds import RequestBounds
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import PostMessage
from domain.channel.rights import Asker
from domain.errors import LogUnavailable
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream, user_stream
from projections.channel_message import ChannelMessage

pytestmark = pytest.mark.anyio

ANN, BEN = UUID(int=1), UUID(int=2)
owner = Actor(ANN, "Ann", "user")


class HeldLog(MemoryLog):
    """Appends wait while ``go_on`` is not set. ``fails_after``: so many more are taken, and then none."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = asyncio.Event()
        self.in_flight = self.in_flight_most = 0
        self.fails_after: int | None = None

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        self.begun.set()
        try:
            await self.go_on.wait()
            if self.fails_after is not None:
                self.fails_after -= 1
                if self.fails_after < 0:
                    raise LogUnavailable("gone")
            return await super().append(request, queued)
        finally:
            self.in_flight -= 1


class Place:
    def __init__(self) -> None:
        self.log = HeldLog()
        self.queries = MemoryChannelQueries(self.log)
        self.channels = Channels(self.log)

    async def made(self) -> "Place":
        for one, name in ((ANN, "ann"), (BEN, "ben")):
            email, stream = f"{name}@example.org", user_stream(one)
            created = StreamAppend(stream, [Event(None, UserCreated(name, email, "user"))], 0)
            await self.log.append(AppendRequest([created], claims=[Claim("email", email, stream)]))
        return self

    def importer(self, source: str, events_max: int = 400) -> ChannelImporter:
        return ChannelImporter(self.log, owner, source, bounds=lambda: RequestBounds(events_max, 128 * 1024))

    async def slack(self, files: Mapping[str, Any], events_max: int = 400) -> ChannelImportSummary:
        importer = self.importer("slack", events_max)
        encoded = {name: one if isinstance(one, bytes) else json.dumps(one).encode() for name, one in files.items()}
        export = slack.SlackExport(list(encoded), encoded.__getitem__, ImportIds(ANN, "slack"))
        export.id_of = await importer.ids_of(export.people())
        return await importer.import_all(export.parts())

    async def said(self, channel_id: UUID) -> list[ChannelMessage]:
        """Everything in the channel, in its order."""
        stored = await self.log.read(channel_stream(channel_id), limit=10_000)
        ids = [one.message_id for one in stored if one.type == "message" and one.message_id is not None]
        messages = await self.queries.messages(channel_id, ids)
        return [messages[one] for one in ids]


@pytest.fixture
async def place() -> Place:
    return await Place().made()


def at(seconds: int, microseconds: int = 0) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


# ------------------------------------------------------------------------------------------------------------------ Slack

USERS = [
    {"id": "U1", "name": "ben", "profile": {"display_name": "Ben B.", "email": "Ben@Example.org"}},
    {"id": "U2", "name": "zoe", "profile": {"real_name": "Zoe"}},
]
GENERAL = {
    "id": "C1",
    "name": "general",
    "created": 1_000,
    "members": ["U1", "U2"],
    "topic": {"value": "All"},
    "pins": [{"id": "2000.000100"}],
}
DAY = [
    {"type": "message", "user": "U1", "ts": "2000.000100", "text": "Hi <@U2>, see <#C1> &amp; <https://x.org|this> <!here>"},
    {"type": "message", "user": "U2", "ts": "2001.000000", "thread_ts": "2000.000100", "text": "<@U1> ok", "edited": {"ts": "2050.000000"}},
    {"type": "message", "subtype": "channel_join", "user": "U2", "ts": "2002.000000", "text": "joined"},
    {"type": "message", "subtype": "bot_message", "username": "CI", "ts": "2003.000000", "text": "built"},
]
NEXT = [
    {
        "type": "message",
        "user": "U9",
        "ts": "90000.5",
        "text": "",
        "files": [{"id": "F1", "name": "a.png", "mimetype": "image/png", "size": 3, "private": "x"}],
        "reactions": [{"name": "+1", "users": ["U1", "U2"], "count": 2}],
    }
]
EXPORT = {"users.json": USERS, "channels.json": [GENERAL], "general/1970-01-01.json": DAY, "general/1970-01-02.json": NEXT}
GENERAL_ID = ImportIds(ANN, "slack").channel("C1")


async def test_slacks_channels_keep_times_threads_and_people(place: Place) -> None:
    summary = await place.slack(EXPORT)
    assert (summary.channels, summary.messages, summary.skipped) == (1, 4, 0)
    _, channel = await place.channels.state(GENERAL_ID)
    assert (channel.type, channel.owner_id, channel.name, channel.description) == ("group", ANN, "general", "All")
    assert [(one, member.role) for one, member in channel.members.items()] == [(ANN, "manager"), (BEN, "member")]
    assert (await place.channels.own(BEN)).joined == {GENERAL_ID}
    first, reply, bot, file = await place.said(GENERAL_ID)
    zoe = ImportIds(ANN, "slack").person("U2")
    assert first.text == f"Hi <@U:{zoe}|Zoe>, see <#C:{GENERAL_ID}|general> & [this](https://x.org) @here"
    assert first.user is not None
    assert (first.user_id, first.user.name, first.pinned_at is not None) == (BEN, "Ben B.", True)
    assert (reply.text, reply.user_id, reply.parent_id, reply.edited) == (f"<@U:{BEN}|Ben B.> ok", zoe, first.id, True)
    assert bot.user is not None
    assert (bot.user_id, bot.user.name, bot.user.role) == (None, "CI", "webhook")
    assert file.data["files"] == [{"type": "image", "name": "a.png", "id": "F1", "mimetype": "image/png", "size": 3}]
    assert list(file.reactions["+1"].values()) == ["Ben B.", "Zoe"]
    stored = await place.log.read(channel_stream(GENERAL_ID), limit=100)
    times = await place.log.original_times(channel_stream(GENERAL_ID), after=0, until=len(stored))
    assert times[1] == at(1_000)
    assert times[first.created_version] == at(2_000, 100)
    assert times[file.created_version] == at(90_000, 500_000)


async def test_the_same_again_changes_nothing_and_what_is_new_is_added(place: Place) -> None:
    older = {name: one for name, one in EXPORT.items() if name != "general/1970-01-02.json"}
    await place.slack(older)
    ben = Asker(BEN, "user")
    post = PostMessage(channel_id=GENERAL_ID, by=ben, message_id=UUID(int=7), content="meanwhile")
    await place.channels.handle(post, actor=Actor(BEN, "Ben", "user"))
    before = await place.log.head()
    summary = await place.slack(older)
    assert (summary.channels, summary.messages, summary.there) == (0, 0, 3)
    assert await place.log.head() == before
    summary = await place.slack(EXPORT)
    assert (summary.messages, summary.there) == (1, 3)
    assert [one.text for one in await place.said(GENERAL_ID)][-2:] == ["meanwhile", ""]


async def test_small_requests_write_the_same(place: Place) -> None:
    whole, small = await place.slack(EXPORT), await (other := await Place().made()).slack(EXPORT, events_max=1)
    assert (whole.messages, whole.events) == (small.messages, small.events)
    assert [one.data for one in await place.log.read(channel_stream(GENERAL_ID), limit=100)] == [
        one.data for one in await other.log.read(channel_stream(GENERAL_ID), limit=100)
    ]


async def test_broken_parts_of_slacks_are_named_and_the_others_taken(place: Place) -> None:
    broken: dict[str, Any] = {
        **EXPORT,
        "users.json": [*USERS, {"name": "nobody"}, 7],
        "channels.json": [GENERAL, {"name": "no id"}],
        "general/1970-01-01.json": [*DAY, {"type": "message", "user": "U1", "ts": "yesterday", "text": "x"}, "no object"],
        "general/1970-01-03.json": b"{not json",
        "general/1970-01-04.json": [{"type": "message", "user": "U1", "ts": "300000.0", "text": "x" * 50_000}],
        "general/1970-01-05.json": [
            {"type": "message", "user": "U1", "ts": "400000.0", "thread_ts": "1.0", "text": "of a thread that is not here\x00"}
        ],
    }
    summary = await place.slack(broken)
    assert (summary.messages, summary.skipped) == (5, 7)
    named = " ".join(one.where for one in summary.skips)
    for where in ("users.json, number 3", "channels.json, number 2", "1970-01-01.json, number 5", "1970-01-03.json", "message 300000.0"):
        assert where in named
    last = (await place.said(GENERAL_ID))[-1]
    assert (last.parent_id, last.text) == (None, "of a thread that is not here")


def test_slacks_export_is_known_by_its_names() -> None:
    assert slack.is_export(["users.json", "channels.json", "general/2020-01-01.json"])
    assert not slack.is_export(["conversations.json", "user.json"])
    assert not slack.is_export(["users.json", "conversations.json"])


# ------------------------------------------------------------------------------------------------------------- Mattermost

LINES: list[Any] = [
    {"type": "version", "version": 1},
    {"type": "team", "team": {"name": "t"}},
    {"type": "channel", "channel": {"team": "t", "name": "town", "display_name": "Town Square", "type": "O", "header": "H"}},
    {"type": "channel", "channel": {"team": "t", "name": "quiet", "type": "O"}},
    {"type": "user", "user": {"username": "ben", "email": "ben@example.org", "teams": [{"name": "t", "channels": [{"name": "town"}]}]}},
    {"type": "user", "user": {"username": "zoe", "first_name": "Zoe", "last_name": "Z", "email": "zoe@elsewhere.org"}},
    {
        "type": "post",
        "post": {
            "team": "t",
            "channel": "town",
            "user": "ben",
            "message": "hello",
            "create_at": 1_000_500,
            "edit_at": 1_000_900,
            "reactions": [{"user": "zoe", "emoji_name": "wave", "create_at": 1_000_600}],
            "replies": [{"user": "zoe", "message": "hi", "create_at": 1_001_000}, {"message": "whose?"}],
            "attachments": [{"path": "data/a.txt"}],
        },
    },
    {"type": "post", "post": {"team": "t", "channel": "gone", "user": "ben", "message": "x", "create_at": 1_002_000}},
    {"type": "post", "post": {"team": "t", "channel": "town", "user": "ben", "message": "x", "create_at": "now"}},
    {"type": "direct_post", "direct_post": {"channel_members": ["zoe", "ben"], "user": "zoe", "message": "psst", "create_at": 1_003_000}},
]


async def mattermosts(place: Place, lines: Iterable[bytes]) -> ChannelImportSummary:
    return await place.importer("mattermost").import_all(mattermost.Mattermost(lines).parts())


async def test_mattermosts_posts_become_messages_and_their_replies_threads(place: Place) -> None:
    lines = [json.dumps(one).encode() + b"\n" for one in LINES] + [b"{broken\n", b"[]\n"]
    summary = await mattermosts(place, lines)
    assert (summary.channels, summary.messages) == (3, 3)
    assert sorted(one.where for one in summary.skips) == sorted(
        ["t/town, reply 2 to 1000500 ben 2cf24dba5fb0a30e", "t/gone, message 1002000 ben 2d711642b726b044", "line 9", "line 11", "line 12"]
    )
    ids = ImportIds(ANN, "mattermost")
    first, reply = await place.said(ids.channel("t/town"))
    assert (first.text, first.user_id, first.edited, first.data["files"][0]["name"]) == ("hello", BEN, True, "a.txt")
    assert (reply.text, reply.parent_id, reply.user.name if reply.user is not None else "") == ("hi", first.id, "Zoe Z")
    assert list(first.reactions) == ["wave"]
    [whisper] = await place.said(ids.channel("direct/ben,zoe"))
    assert whisper.text == "psst"
    again = await mattermosts(place, lines)
    assert (again.channels, again.messages, again.there) == (0, 0, 3)


# --------------------------------------------------------------------------------------------------------------- chitchat


async def test_the_chitchat_data_set_becomes_one_channel_of_threads(place: Place) -> None:
    def said(text: str, sender: str, second: int) -> dict[str, str]:
        return {"text": text, "sender": sender, "timestamp": f"2018-03-20T21:28:{second:02}.500Z"}

    rows = {
        "c1": {"messages": [[said("hey", "aaaa", 1), said("you", "aaaa", 2)], [said("hi", "bbbb", 3)]]},
        "c2": {"messages": [[{"text": "no time", "sender": "x"}]]},
        "c3": {"messages": [[said("other", "cccc", 4)]]},
    }

    def parts() -> Iterable[Imported]:
        return chitchat.parts([(key, json.dumps(one).encode()) for key, one in rows.items()], "Small talk")

    summary = await place.importer("chitchat").import_all(parts())
    assert (summary.channels, summary.messages, [one.where for one in summary.skips]) == (1, 4, ["conversation c2"])
    channel_id = ImportIds(ANN, "chitchat").channel("chitchat")
    messages = await place.said(channel_id)
    assert [(one.text, one.parent_id == messages[0].id) for one in messages] == [
        ("hey", False),
        ("you", True),
        ("hi", True),
        ("other", False),
    ]
    stream = channel_stream(channel_id)
    times = await place.log.original_times(stream, after=0, until=await place.log.version(stream))
    assert times[messages[2].created_version] == datetime(2018, 3, 20, 21, 28, 3, 500_000, UTC)
    assert (await place.importer("chitchat").import_all(parts())).there == 4


# ------------------------------------------------------------------------------------------------- requests in the background

THREADS = [[{"text": f"{number}", "sender": "aaaa", "timestamp": "2018-03-20T21:28:01Z"}] for number in range(12)]
ROOM_ID = ImportIds(ANN, "chitchat").channel("chitchat")


def talk() -> Iterator[Imported]:
    """A channel, and twelve messages in one thread."""
    return chitchat.parts([("c1", json.dumps({"messages": THREADS}).encode())], "Talk")


async def texts(place: Place) -> list[str]:
    return [one.text for one in await place.said(ROOM_ID)]


ALL = [str(number) for number in range(12)]


async def test_messages_are_gathered_while_a_request_is_written(place: Place) -> None:
    def parts() -> Iterator[Imported]:
        for number, part in enumerate(talk()):
            if number == 1:
                place.log.go_on.clear()  # the channel is there; its messages wait
            if number == 4:
                place.log.go_on.set()  # only somebody who does not wait for the first request comes to this one
            yield part

    async with asyncio.timeout(60):
        summary = await place.importer("chitchat", events_max=2).import_all(parts())
    assert (summary.messages, summary.events) == (12, 14)
    assert await texts(place) == ALL
    assert place.log.in_flight_most == 1


async def test_an_import_whose_append_fails_ends_with_its_error_and_goes_on_when_repeated(place: Place) -> None:
    place.log.fails_after = 3  # the channel, and two requests of two
    with pytest.raises(LogUnavailable):
        await place.importer("chitchat", events_max=2).import_all(talk())
    assert (await texts(place), place.log.in_flight) == (ALL[:4], 0)
    place.log.fails_after = None
    again = await place.importer("chitchat", events_max=2).import_all(talk())
    assert (again.channels, again.messages, again.there) == (0, 8, 4)
    assert await texts(place) == ALL


async def test_the_last_request_that_fails_is_reported(place: Place) -> None:
    place.log.fails_after = 1
    with pytest.raises(LogUnavailable):
        await place.importer("chitchat").import_all(talk())
    assert await texts(place) == []


async def test_a_source_that_breaks_off_leaves_nothing_in_flight(place: Place) -> None:
    def parts() -> Iterator[Imported]:
        for number, part in enumerate(talk()):
            if number == 8:
                raise OSError("the disk is gone")
            yield part

    with pytest.raises(OSError, match="the disk is gone"):
        await place.importer("chitchat", events_max=2).import_all(parts())
    assert (await texts(place), place.log.in_flight) == (ALL[:6], 0)


async def test_a_cancelled_import_leaves_nothing_in_flight_and_goes_on_when_repeated(place: Place) -> None:
    def parts() -> Iterator[Imported]:
        for number, part in enumerate(talk()):
            if number == 5:
                place.log.go_on.clear()
                place.log.begun.clear()
            yield part

    importing = asyncio.create_task(place.importer("chitchat", events_max=2).import_all(parts()))
    await place.log.begun.wait()
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert place.log.in_flight == 0
    place.log.go_on.set()
    there = len(await texts(place))
    again = await place.importer("chitchat", events_max=2).import_all(talk())
    assert (again.messages, again.there) == (12 - there, there)
    assert await texts(place) == ALL


async def test_a_channel_that_the_source_names_twice_keeps_its_messages(place: Place) -> None:
    def parts() -> Iterator[Imported]:
        channel, *messages = talk()
        yield from (channel, *messages[:5], channel, *messages[5:])

    summary = await place.importer("chitchat").import_all(parts())
    assert (summary.channels, summary.messages) == (1, 12)
    assert await texts(place) == ALL
