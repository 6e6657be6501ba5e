"""Makes ``docs/walkthrough-channels.md``: three people and a model in one channel, one of them away, one removed while the model speaks.

    .venv/bin/python docs/walkthrough_channels.py --model-url http://127.0.0.1:9411/v1 --model NAME

``--model-url`` is any OpenAI-compatible server; without it the built-in ``demo`` answers. Everything else is started here, on a free
port and in a temporary folder. What the page shows is what was seen; the checks are made on the log. The import at its end needs
``pip install chitchat-dataset``; without it that part is left out.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from walkthrough import ACCOUNT, ANSWER_TOKENS_MAX, ASKED_MAX, CUT_AFTER_DELTAS, HERE, ROOT, Server, Story

from bench.load.dataset import installed
from stenograph_client import ENDS, ApiError, Channel, ChannelLeft, ChannelView, Client, Event

PASSWORD = ACCOUNT[2]
QUESTIONS = (
    "write a short story about a lighthouse keeper who writes down everything that the sea says.",
    "go on, and tell us much more of the sea.",
)
SYSTEM = "You are a storyteller. Whoever asks, answer with a story of at least five sentences, and do not write names before it."
FORTY = 40  # messages while somebody is away
SHOWN_CHARACTERS = 90
WAIT_S = 300
IMPORT = "chitchat"
MOST = 1_500  # conversations: all of them take some minutes more


class Person:
    """One person's program: it follows all of their channels over one socket, and folds what comes."""

    def __init__(self, url: str, email: str) -> None:
        self._url, self._email = url, email
        self.client = self._program()
        self.view = ChannelView()
        self.events: list[Event] = []
        self.left: ChannelLeft | None = None
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    def _program(self) -> Client:
        return Client(self._url, email=self._email, password=PASSWORD, retry_s=60)

    def follow(self, stream: str) -> None:
        """From the last event that was applied, or from the start."""
        after = self.events[-1].cursor if self.events else "start"
        self._following = asyncio.create_task(self._follow(stream, after))

    async def _follow(self, stream: str, after: str) -> None:
        async with contextlib.aclosing(self.client.follow_channels({stream: after})) as items:
            async for item in items:
                if item.stream == stream and isinstance(item, Event):
                    self.events.append(item)
                    self.view.apply(item)
                elif item.stream == stream and isinstance(item, ChannelLeft):
                    self.left = item
                self._changed.set()

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not wanted():
                self._changed.clear()
                await self._changed.wait()

    async def go_away(self) -> None:
        """The program ends. All that it keeps is what it has applied."""
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.client.aclose()

    def come_back(self, stream: str) -> None:
        self.client = self._program()
        self.follow(stream)

    @property
    def version(self) -> int:
        return self.events[-1].version if self.events else 0


async def walk(model_url: str | None, model: str) -> str:
    story = Story()
    folder = Path(tempfile.mkdtemp(prefix="steno-walk-"))
    folder.chmod(0o711)  # the embedded Postgres runs as another user when we are root
    server = Server(folder / "data", model_url)
    server.environment["STENO_DEFAULT_PARAMS"] = json.dumps({"max_tokens": ANSWER_TOKENS_MAX, "seed": 7, "system": SYSTEM})
    people: list[Person] = []
    try:
        await server.start()
        url = f"http://127.0.0.1:{server.port}"
        async with Client(url, retry_s=60) as client:
            await client.sign_up(*ACCOUNT)
            people.append(Person(url, ACCOUNT[1]))
            for name in ("Ben", "Cleo"):
                account = await client.add_user(name, f"{name.lower()}@example.org", PASSWORD)
                people.append(Person(url, account.email))
            channel = await client.create_channel("Lighthouse", user_ids=[(await one.client.me()).id for one in people[1:]])
            await the_room(story, people, channel)
            await away(story, people[1])
            await removed(story, people, channel, model)
            await meanwhile(story, people, channel)
            await back(story, people[1], channel)
            await asked_in_a_thread(story, people[1], channel, model)
            await the_log(story, client, channel)
            await imported(story, client, server, folder)
        verified(server, story)
    finally:
        for one in people:
            with contextlib.suppress(AssertionError):
                await one.go_away()
            await one.client.aclose()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return page(story, model, model_url)


async def the_room(story: Story, people: list[Person], channel: Channel) -> None:
    story.say("## A room\n")
    story.say(
        "Ada makes a channel with Ben and Cleo. Each has a program that calls `client.follow_channels({stream: cursor})`, and makes the "
        "channel of the events that come.\n"
    )
    for one in people:
        one.follow(channel.stream)
    hello = await people[0].client.channel(channel.id).post("Does anybody know a story of the sea?")
    await people[1].client.channel(channel.id).post("Ask the machine.", parent_id=hello["id"])
    await people[2].client.channel(channel.id).react(hello["id"], "wave")
    head = (await channel.get())["version"]
    for one in people:
        await one.until(lambda one=one: one.version == head)  # type: ignore[misc]
    story.say(f"They have written, replied in a thread and reacted: all three have applied version {head}.\n")


async def away(story: Story, ben: Person) -> None:
    await ben.go_away()
    story.say(f"Ben's laptop is closed. What his program keeps is what it has applied, and the last event's cursor: `…:{ben.version}`.\n")


async def removed(story: Story, people: list[Person], channel: Channel, model: str) -> None:
    """The model answers; after some of its tokens Cleo is removed. A small model may say little: it is asked again then."""
    ada, _, cleo = people
    story.say("## A model answers, and somebody is removed\n")
    cleo_id = (await cleo.client.me()).id
    mine = ada.client.channel(channel.id)
    for question in (QUESTIONS[0], *([QUESTIONS[1]] * (ASKED_MAX - 1))):
        story.say(f"Ada writes: *@{model}, {question}*")
        posted = await mine.post(f"<@M:{model}|{model}>, {question}")
        [answer] = posted["answers"]
        message_id, shown, gone_at = answer["message_id"], 0, 0
        while True:
            its = [event for event in ada.events if event.message_id == message_id]
            for event in its[shown:]:
                if event.type == "message_delta":
                    story.token(event.data["text"])
                if sum(one.type == "message_delta" for one in its[:shown]) == CUT_AFTER_DELTAS and not gone_at and event.type not in ENDS:
                    gone_at = event.version
                    await mine.remove_members([cleo_id])
                    story.note("Ada removes Cleo")
                shown += 1
            if its and its[-1].type in ENDS:
                break
            count = len(ada.events)
            await ada.until(lambda count=count: len(ada.events) > count)  # type: ignore[misc]
        story.end()
        if gone_at:
            break
    else:
        raise AssertionError(f"none of {ASKED_MAX} answers had {CUT_AFTER_DELTAS} deltas")
    await cleo.until(lambda: cleo.left is not None)
    assert cleo.left is not None
    left = next(event.version for event in ada.events if event.type == "member:left")
    later = [event for event in ada.events if event.version > left and event.message_id == message_id]
    refused = await status_of(cleo.client.http.get(f"/api/v1/channels/{channel.id}/messages/"))
    refused_post = await status_of(cleo.client.channel(channel.id).post("May I come back?"))
    story.say("| | |\n|---|---|")
    story.say(f"| Cleo's removal | version {left}, in the middle of the answer |")
    story.say(f"| the last event that came to her | version {cleo.version}; then `unsubscribed`, `{cleo.left.code}` |")
    story.say(f"| events of the answer after it, which came to Ada | {len(later)} |")
    story.say(f"| what Cleo gets of the messages now, and for a message of her own | {refused}, {refused_post} |\n")
    assert cleo.version <= left


async def status_of(asking: Any) -> int:
    try:
        await asking
    except ApiError as refused:
        return refused.status
    return 200


async def meanwhile(story: Story, people: list[Person], channel: Channel) -> None:
    """What Ben misses."""
    mine = people[0].client.channel(channel.id)
    first, *_ = await mine.messages(limit=1)
    await mine.edit(first["id"], f"{first['content']} (It is a good one.)" if first["meta"].get("model_id") is None else "A good one.")
    doomed = await mine.post("This is a mistake.")
    await mine.delete(doomed["id"])
    await mine.react(first["id"], "heart")
    await mine.pin(first["id"])
    await people[0].client.http.post(f"/api/v1/channels/{channel.id}/update", {"name": "The keeper's room"})
    for number in range(FORTY):
        await mine.post(f"Line {number + 1} of the keeper's book.")
    story.say(f"While Ben is away, Ada edits, deletes, reacts, pins, renames the channel, and writes {FORTY} messages.\n")


async def back(story: Story, ben: Person, channel: Channel) -> None:
    story.say("## Ben comes back\n")
    had, head = ben.version, (await channel.get())["version"]
    began = time.monotonic()
    ben.come_back(channel.stream)
    await ben.until(lambda: ben.version == head)
    took_ms = (time.monotonic() - began) * 1e3
    versions = [event.version for event in ben.events]
    assert versions == list(range(1, head + 1))
    his = ben.client.channel(channel.id)
    fresh, now = await his.messages(limit=200), await his.get()
    same = ben.view.timeline() == fresh and {name: now[name] for name in ben.view.channel} == ben.view.channel
    assert same
    story.say("| | |\n|---|---|")
    story.say(f"| events that he had missed, and got in order, each once | {head - had}, in {took_ms:.0f} ms |")
    story.say("| requests for anything else | none |")
    story.say(f"| what he has, compared with a fresh answer: {len(fresh)} messages, their reactions, pins, the name | the same |")
    story.say(f"| unread, as the server counts for him | {now['unread_count']} outside of threads, {now['unread_replies']} in them |\n")


async def asked_in_a_thread(story: Story, ben: Person, channel: Channel, model: str) -> None:
    his = ben.client.channel(channel.id)
    answer = next(one for one in await his.messages(limit=200) if one["reply_count"])
    root = answer["id"]
    words = answer["content"].rpartition(">, ")[2]
    story.say(f"In the thread of “{words[:SHOWN_CHARACTERS]}” Ben asks: *@{model}, is that true?*\n")
    posted = await his.post(f"<@M:{model}|{model}>, is that true?", parent_id=root)
    message_id = posted["answers"][0]["message_id"]
    await ben.until(lambda: any(event.message_id == message_id and event.type in ENDS for event in ben.events))
    for event in ben.events:
        if event.message_id == message_id and event.type == "message_delta":
            story.token(event.data["text"])
    story.end()
    await his.read()
    now = await his.get()
    story.say(f"\nHe has read it all: {now['unread_count']} and {now['unread_replies']} are left.\n")


async def the_log(story: Story, client: Client, channel: Channel) -> None:
    story.say("## What the log has of it\n\n| type | events |\n|---|---|")
    counts: dict[str, int] = {}
    async for event in client.events(channel.stream):
        counts[event.type] = counts.get(event.type, 0) + 1
    for name, count in counts.items():
        story.say(f"| `{name}` | {count} |")
    was = await client.http.get(f"/api/v1/channels/{channel.id}", at=3)
    members = len(was["user_ids"])
    story.say(f"\n`GET /api/v1/channels/{{id}}?at=3`: then the channel was called “{was['name']}” and had {members} members.\n")


async def imported(story: Story, client: Client, server: Server, folder: Path) -> None:
    source = installed()
    if source is None:
        return
    story.say("## Thousands of conversations as one channel\n")
    data = folder / "dataset.json"
    chosen = dict(list(json.loads(source.read_text()).items())[:MOST])
    data.write_text(json.dumps(chosen))
    story.say(f"{len(chosen):,} conversations of `chitchat-dataset`, each a thread, with their times, beside the running server:\n")
    for is_repeat in (False, True):
        command = [sys.executable, "-m", "api.cli", "import", str(data), "--format", "chitchat", "--channel", IMPORT, "--user", ACCOUNT[1]]
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command, env=server.environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode in (0, 1), said  # 1: something was skipped, and named
        last = said.decode().strip().splitlines()[-1].strip()
        story.say(f"```text\n$ steno import dataset.json --format chitchat --channel {IMPORT}\n{last}\n```\n")
        story.say(f"It took {time.monotonic() - began:.1f} s.{'' if is_repeat else ' To repeat it changes nothing:'}\n")
    listed = next(one for one in await client.channels() if one["name"] == IMPORT)
    newest = await client.channel(listed["id"]).messages(limit=1)
    at = datetime.fromtimestamp(newest[0]["created_at"] / 1e9, UTC)
    story.say(
        f"Ada wrote none of its {listed['version']:,} events: {listed['unread_count']:,} messages and {listed['unread_replies']:,} replies"
    )
    story.say(f"are unread. The newest conversation is of {at:%Y-%m-%d}, when it was held.\n")


def verified(server: Server, story: Story) -> None:
    server.stop()
    shown = subprocess.run(
        [sys.executable, "-m", "api.cli", "verify", "--projections"],
        env=server.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    story.say(f"`steno verify --projections`:\n\n```text\n{shown.stdout.strip()}\n```")


def page(story: Story, model: str, model_url: str | None) -> str:
    where = "an OpenAI-compatible server on this machine" if model_url else "the built-in model"
    when = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    made = f"Made by `docs/walkthrough_channels.py` on {when}, with the model `{model}` behind {where}."
    intro = (
        "Three people and a model in one channel. One of them is away while much happens, and comes back by a cursor. One is removed while "
        "the model speaks, and hears nothing more."
    )
    return "\n".join(["# Walkthrough: a channel", "", intro, "", made, "", *story.lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make docs/walkthrough-channels.md.")
    parser.add_argument("--model-url", help="an OpenAI-compatible server, such as http://127.0.0.1:9411/v1; default: the built-in model")
    parser.add_argument("--model", default="demo:60")
    parser.add_argument("--output", type=Path, default=HERE / "walkthrough-channels.md")
    given = parser.parse_args()
    given.output.write_text(asyncio.run(walk(given.model_url, given.model)))
    json.dump({"written": str(given.output)}, sys.stdout)


if __name__ == "__main__":
    main()
