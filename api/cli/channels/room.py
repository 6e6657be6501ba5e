"""A channel in the terminal: what happens in it as lines, each message under a number, and what a person types."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import rich_click as click

from api.cli.login import Failed
from api.cli.safe_text import safe, safe_line
from stenograph_client import Channel, ChannelView, Event, Signal

OLDER: Final = 20  # messages of one step back
HELP: Final = """\
/reply N TEXT    answer in the thread of message N        /thread N   show that thread
/quote N TEXT    answer beside it, with a quote           /older      show what was said before
/edit N TEXT     change a message of yours                /delete N   delete it
/react N NAME    react, or take the reaction away         /pin N      pin it, or not any more
/pinned          what is pinned                           /who        who is in the channel
/help            this                                     /quit       leave the room (so does Ctrl-D)
Anything else is said in the channel; // begins a text that begins with a slash. Where a function asks you
something, the next line is your answer; Ctrl-D leaves it to another client.
"""


class LeftRoom(Exception):
    """The person has typed ``/quit``."""


class Room:
    """``show`` writes one or more lines. ``me`` is the account's id."""

    def __init__(self, channel: Channel, me: str, show: Any) -> None:
        self.channel = channel
        self.me = me
        self.view = ChannelView()
        self.typing: dict[str, str] = {}  # the names of those who type, by their ids
        self._show = show
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._oldest: int | None = None  # a version below which nothing was shown

    # ---------------------------------------------------------------------------------------------------- what is seen

    def begin(self, view: ChannelView, shown: int) -> None:
        """The channel as it was entered, or as the server has it after another history began."""
        self.view = view
        messages = view.timeline()[:shown]
        self._show(click.style(f"{title_of(view.channel)} · {len(messages)} of its newest messages · /help", bold=True))
        for message in reversed(messages):
            self._show(self.line_of(message))
        self._oldest = min((int(one["created_version"]) for one in messages), default=None)

    def on_event(self, event: Event) -> None:
        before = self.view.message(event.message_id) if event.message_id is not None else None
        self.view.apply(event)
        line = self.told(event, before)
        if line is not None:
            self._show(line)

    def on_signal(self, signal: Signal) -> None:
        if signal.type != "typing" or signal.user is None or signal.user.id == self.me:
            return
        if signal.data["typing"]:
            self.typing[signal.user.id] = safe_line(signal.user.name)
        else:
            self.typing.pop(signal.user.id, None)

    @property
    def status(self) -> str:
        """Who types, for the line at the bottom."""
        names = list(self.typing.values())
        if not names:
            return ""
        return f"({names[0]} types …) " if len(names) == 1 else f"({names[0]} and {len(names) - 1} more type …) "

    def told(self, event: Event, before: Mapping[str, Any] | None) -> str | None:
        """The line that says what happened; None where it is not worth one."""
        data, who = event.data, safe_line(event.user.name) if event.user is not None else "the server"
        now = self.view.message(event.message_id) if event.message_id is not None else None
        match event.type:
            case "message" if now is not None:
                self.typing.pop(now["user_id"] or "", None)
                return self.line_of(now)
            case "message_end" | "error" | "cancelled" | "interrupted" if now is not None:
                return self.line_of(now)
            case "message:update" if now is not None and "content" in data:
                return self.line_of(now)
            case "message:delete" if before is not None:
                return note(f"{self.number(before['id'])} {who} deleted it")
            case "message:reaction:add" if now is not None:
                return note(f"{self.number(now['id'])} {who} reacts: {safe_line(data['name'])}")
            case "message:pin" if now is not None:
                return note(f"{self.number(now['id'])} {who} pinned it")
            case "channel:update" if "name" in data:
                return note(f"{who} renamed the channel: {safe_line(data['name'])}")
            case "member:joined":
                return note("somebody joined" if event.user is None or event.user.id != data["user_id"] else f"{who} joined")
            case "member:left":
                return note(f"{who} left" if event.user is not None and event.user.id == data["user_id"] else f"{who} removed somebody")
            case "channel:archived" | "channel:unarchived" | "channel:delete":
                return note(f"{who} {event.type.partition(':')[2].rstrip('d')}d the channel")
            case _:
                return None

    def number(self, message_id: str) -> str:
        """``#n``: given to a message when it is first shown."""
        if message_id not in self._numbers:
            self._numbers[message_id] = len(self._numbers) + 1
            self._ids[self._numbers[message_id]] = message_id
        return f"#{self._numbers[message_id]}"

    def line_of(self, message: Mapping[str, Any]) -> str:
        at = datetime.fromtimestamp(message["created_at"] / 1e9).astimezone()
        user = message["user"]
        model = message["meta"].get("model_name")
        who = safe_line(str(model or (user["name"] if user is not None else "a webhook")))
        place = f" ↳{self.number(message['parent_id'])}" if message["parent_id"] is not None else ""
        quote = message["reply_to_message"] if message["reply_to_id"] is not None else None
        quoted = f" re {self.number(quote['id'])}" if quote is not None else ""
        more = f" ({message['reply_count']} replies)" if message.get("reply_count") else ""
        edited = " (edited)" if message["edited"] else ""
        reactions = "".join(f" [{safe_line(one['name'])} {one['count']}]" for one in message["reactions"])
        content = message["content"] if isinstance(message["content"], str) else "(a long text: read it elsewhere)"
        text = safe(content).replace("\n", "\n      ")
        number = click.style(f"{self.number(message['id']):>4}", dim=True)
        after = click.style(f"{edited}{reactions}{more}", dim=True) if edited or reactions or more else ""
        name = click.style(who, fg="green" if message["user_id"] == self.me and model is None else "cyan")
        return f"{number} {at:%H:%M} {name}{click.style(place + quoted, dim=True)}: {text}{after}"

    # ---------------------------------------------------------------------------------------------------- what is typed

    async def obey(self, line: str) -> None:
        """One line. Raises ``LeftRoom``, ``Failed``, ``ClientError``."""
        command, _, rest = line.partition(" ")
        if not line:
            return
        if not command.startswith("/") or command.startswith("//"):
            await self.channel.post(line[1:] if line.startswith("//") else line)
            return
        match command:
            case "/quit":
                raise LeftRoom
            case "/help":
                self._show(HELP.rstrip())
            case "/who":
                people = await self.channel.members()
                self._show(note("\n".join(f"{'●' if one['is_active'] else '○'} {safe_line(one['name'])}" for one in people)))
            case "/pinned":
                for message in reversed(await self.channel.pinned()):
                    self._show(self.line_of(message))
            case "/older":
                await self._older()
            case "/thread" | "/delete" | "/pin":
                await self._about(command, self._id(rest), "")
            case "/reply" | "/quote" | "/edit" | "/react":
                number, _, text = rest.strip().partition(" ")
                if not text.strip():
                    raise Failed(f"{command} takes the number of a message, and a text. /help lists what there is.")
                await self._about(command, self._id(number), text.strip())
            case _:
                raise Failed(f"There is no {safe_line(command)}. /help lists what there is; // begins a text with a slash.")

    async def _about(self, command: str, message_id: str, text: str) -> None:
        channel, known = self.channel, self.view.message(message_id)
        match command:
            case "/reply":
                parent_id = known["parent_id"] if known is not None and known["parent_id"] is not None else message_id
                await channel.post(text, parent_id=parent_id)
            case "/quote":
                await channel.post(text, reply_to_id=message_id)
            case "/edit":
                await channel.edit(message_id, text)
            case "/delete":
                await channel.delete(message_id)
            case "/react":
                mine = known is not None and any(
                    one["name"] == text and any(person["id"] == self.me for person in one["users"]) for one in known["reactions"]
                )
                await channel.react(message_id, text, present=not mine)
            case "/pin":
                await channel.pin(message_id, pinned=known is None or not known["is_pinned"])
            case _:
                replies = await channel.thread(message_id)
                for message in reversed(replies):
                    self._show(self.line_of(message))
                await channel.read_thread(message_id)

    async def _older(self) -> None:
        found = await self.channel.messages(before=self._oldest, limit=OLDER) if self._oldest is not None else []
        if not found:
            self._show(note("Nothing was said before."))
            return
        self.view.add_older(found)
        for message in reversed(found):
            self._show(self.line_of(message))
        self._oldest = min(int(one["created_version"]) for one in found)

    def _id(self, number: str) -> str:
        try:
            return self._ids[int(number.strip().removeprefix("#"))]
        except (ValueError, KeyError):
            raise Failed(f"There is no message {safe_line(number.strip()) or 'without a number'} here.") from None


def title_of(channel: Mapping[str, Any]) -> str:
    return f"#{safe_line(channel['name'])}" if channel["name"] else "a dm"


def note(text: str) -> str:
    return click.style(text, dim=True)
