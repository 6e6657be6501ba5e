"""Who types where. Nothing of it is stored; it ends by itself, and how often a stream's readers hear of it is bounded.

The process of the one who types says so to its own subscribers and to the other processes. Each process notes whom it has shown as typing
and takes that back after a silence, so that it also ends where the process, or the connection, of the one who types is gone.
"""

from collections.abc import Callable
from typing import Any, Final

from api.streams.frames import frame
from api.streams.websocket_protocol import text_frame
from domain.log.stream import Stream, parse_stream

OP: Final = "ephemeral"
SILENCE_S: Final = 6.0  # after it somebody does not type any more
REPEAT_S: Final = 3.0  # said again for those who came later, while somebody goes on typing
STARTS_BURST: Final = 10  # in one stream; each is followed by one end
STARTS_PER_S: Final = 0.5
TYPING_MAX: Final = 10_000  # noted at once; above it nobody is shown as typing

Listener = Callable[[Stream, str | None, dict[str, Any], bool], None]  # (the stream, the thread, who, whether they type)
Key = tuple[Stream, str | None, str]  # the stream, the message whose thread it is in, who types


class Entry:
    __slots__ = ("origin", "said_s", "until_s", "user")

    def __init__(self, user: dict[str, Any], origin: object | None) -> None:
        self.user = user
        self.origin = origin  # the connection that said so; None: another process did
        self.said_s = 0.0
        self.until_s = 0.0


class Budget:
    """How often it may still be said in one stream that somebody types."""

    __slots__ = ("at_s", "left")

    def __init__(self, now_s: float) -> None:
        self.left = float(STARTS_BURST)
        self.at_s = now_s

    def refill(self, now_s: float) -> None:
        self.left = min(STARTS_BURST, self.left + (now_s - self.at_s) * STARTS_PER_S)
        self.at_s = now_s

    def spend(self, now_s: float) -> bool:
        self.refill(now_s)
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Typing:
    """``deliver(stream, user_id, framed)`` sends to this process's subscribers of the stream, except to the connections of that person;
    ``relay`` tells the other processes. ``clock`` gives seconds that only go forward.
    """

    def __init__(self, deliver: Callable[[Stream, str, bytes], None], relay: Callable[[bytes], None], clock: Callable[[], float]) -> None:
        self._deliver = deliver
        self._relay = relay
        self._clock = clock
        self._entries: dict[Key, Entry] = {}
        self._budgets: dict[Stream, Budget] = {}
        self.listeners: list[Listener] = []  # they hear of all who type, in any stream

    def say(self, origin: object, stream: Stream, user: dict[str, Any], thread: str | None, *, typing: bool) -> None:
        """A client here says that its person types, or not any more. ``user``: ``{id, name, role}``."""
        self._note((stream, thread, user["id"]), user, origin, typing=typing)

    def on_signal(self, content: dict[str, Any]) -> None:
        """Another process says so."""
        data = content["data"]
        if data.get("type") == "typing":
            key = (parse_stream(content["stream"]), data.get("message_id"), content["user"]["id"])
            self._note(key, content["user"], None, typing=bool(data["data"]["typing"]))

    def connection_ended(self, origin: object) -> None:
        for key in [key for key, entry in self._entries.items() if entry.origin is origin]:
            self._end(key)

    def tick(self) -> None:
        """To be called about every second."""
        now_s = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.until_s <= now_s]:
            self._end(key)
        for stream, budget in list(self._budgets.items()):
            budget.refill(now_s)
            if budget.left >= STARTS_BURST:
                del self._budgets[stream]

    def _note(self, key: Key, user: dict[str, Any], origin: object | None, *, typing: bool) -> None:
        entry = self._entries.get(key)
        if not typing:
            if entry is not None:
                self._end(key)
            return
        now_s = self._clock()
        if entry is None:
            if len(self._entries) >= TYPING_MAX or not self._may_say(key[0], now_s):
                return
            entry = self._entries[key] = Entry(user, origin)
        elif now_s - entry.said_s < REPEAT_S or not self._may_say(key[0], now_s):
            entry.until_s = now_s + SILENCE_S
            return
        entry.said_s, entry.until_s = now_s, now_s + SILENCE_S
        self._send(key, entry, typing=True)

    def _may_say(self, stream: Stream, now_s: float) -> bool:
        budget = self._budgets.get(stream)
        if budget is None:
            budget = self._budgets[stream] = Budget(now_s)
        return budget.spend(now_s)

    def _end(self, key: Key) -> None:
        self._send(key, self._entries.pop(key), typing=False)

    def _send(self, key: Key, entry: Entry, *, typing: bool) -> None:
        stream, thread, user_id = key
        data = {"type": "typing", "data": {"typing": typing}, "message_id": thread}
        said = frame(OP, stream=str(stream), user=entry.user, data=data)
        self._deliver(stream, user_id, text_frame(said))
        for listener in self.listeners:
            listener(stream, thread, entry.user, typing)
        if entry.origin is not None:
            self._relay(said)
