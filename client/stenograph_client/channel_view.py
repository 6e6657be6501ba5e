"""A channel as its reader sees it: a snapshot, or nothing, and the events that follow. No IO, no clock.

What ``ChannelView.apply`` makes of the events is what the server would answer now: a client which was away has nothing to fetch anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from stenograph_client.events import Event, Snapshot

Message = dict[str, Any]  # as ``GET …/messages`` answers it
END_STATES: Final[Mapping[str, str]] = {"message_end": "done", "error": "error", "cancelled": "cancelled", "interrupted": "interrupted"}
POSTED: Final = frozenset({"message", "message_start"})
MERGED: Final = ("data", "meta")  # keys of a message that are changed key by key
# Keys of a posted message's facts that are no keys of the client's own.
OF_THE_FACT: Final = frozenset({"user_id", "content", "parent_id", "reply_to_id", "webhook_id", "temp_id", "client_id"})
ABOUT_OTHERS: Final = ("reply_count", "latest_reply_at", "reply_to_message")


class ChannelView:
    """``channel`` holds its name, description, grants and the like, ``members`` the roles by account, and ``version`` what it is as of.

    Messages of the channel itself are known from the oldest page on that was loaded. What happens to a message that is not known changes
    nothing here.

    >>> channel = await client.create_channel("Friends")
    >>> posted = await channel.post("Hello")
    >>> view = ChannelView()
    >>> async for event in client.events(channel.stream):
    ...     view.apply(event)
    >>> [message["content"] for message in view.timeline()], view.channel["name"]
    (['Hello'], 'Friends')
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.version = 0
        self.channel: dict[str, Any] = {}
        self.members: dict[str, str] = {}
        self.deleted = False
        self._known: dict[str, Message] = {}
        self._gone: set[str] = set()  # deleted ones
        self._blocks: dict[str, dict[int, list[str]]] = {}  # of answers that are being written: the texts of their text blocks
        self._order: list[str] = []  # of the channel itself, the oldest first
        self._threads: dict[str, list[str]] = {}  # the replies that are known, the oldest first
        self._pinned: list[str] = []  # pinned last comes last
        if snapshot is not None:
            self._begin(snapshot)

    def _begin(self, snapshot: Snapshot) -> None:
        state = dict(snapshot.state)
        self.version = snapshot.version
        self.members = {one["user_id"]: one["role"] for one in state.pop("members")}
        self.deleted = state.pop("deleted")
        pinned = state.pop("pinned")
        self.add_older(state.pop("messages"))
        self._keep(pinned)
        self._pinned = [one["id"] for one in reversed(pinned)]
        self.channel = {name: value for name, value in state.items() if name not in ("version", "user_ids")}

    # --------------------------------------------------------------------------------------------------------- reading

    def timeline(self) -> list[Message]:
        """The messages of the channel itself, the newest first."""
        return [self._shown(message_id) for message_id in reversed(self._order)]

    def thread(self, message_id: str) -> list[Message]:
        """The replies to a message that are known, the newest first."""
        return [self._shown(one) for one in reversed(self._threads.get(message_id, ()))]

    def message(self, message_id: str) -> Message | None:
        return self._shown(message_id) if message_id in self._known and message_id not in self._gone else None

    @property
    def pinned_ids(self) -> Sequence[str]:
        """Pinned last comes first."""
        return self._pinned[::-1]

    def _shown(self, message_id: str) -> Message:
        message = self._known[message_id]
        quoted_id = message["reply_to_id"]
        quote = None
        if quoted_id in self._known and quoted_id not in self._gone:
            quote = {name: value for name, value in self._known[quoted_id].items() if name not in ABOUT_OTHERS}
        elif quoted_id is not None:
            quote = {"id": quoted_id, "deleted": True} if quoted_id in self._gone else {"id": quoted_id}
        return {**message, "reply_to_message": quote}

    @property
    def unknown_ids(self) -> list[str]:
        """Messages that known ones quote and that were never loaded: fetch them, and hand them to ``add_quoted``."""
        quoted = {self._known[one]["reply_to_id"]: None for one in [*self._order, *(one for ids in self._threads.values() for one in ids)]}
        return [one for one in quoted if one is not None and one not in self._known and one not in self._gone]

    # --------------------------------------------------------------------------------------------------------- loading

    def add_quoted(self, message_id: str, message: Message | None) -> None:
        """One of ``unknown_ids``, as the server has answered it; None: it is deleted."""
        if message is None:
            self._gone.add(message_id)
        else:
            self._keep([message])

    def add_older(self, messages: Sequence[Message]) -> None:
        """An older page of the channel itself, the newest first, as the server has answered it."""
        older = [one for one in messages if one["id"] not in self._order]
        self._keep(older)
        self._order[:0] = [one["id"] for one in reversed(older) if one["id"] not in self._gone]

    def add_replies(self, message_id: str, messages: Sequence[Message]) -> None:
        """All replies to a message, the newest first, as the server has answered them."""
        self._keep(messages)
        self._threads[message_id] = [one["id"] for one in reversed(messages) if one["parent_id"] == message_id]

    def _keep(self, messages: Iterable[Message]) -> None:
        """Of two answers, and of an answer and what was applied to it, the newer one counts."""
        for one in messages:
            quote = one.get("reply_to_message")
            if quote is not None and quote.get("deleted"):
                self._gone.add(quote["id"])
            elif quote is not None:
                self._keep([{**quote, "reply_count": 0, "latest_reply_at": None}])
            known = self._known.get(one["id"])
            if known is None or known["version"] < one["version"] or known["reply_count"] < one.get("reply_count", 0):
                self._known[one["id"]] = {**one, "reactions": list(one["reactions"])}
                if one["meta"].get("done") is False:
                    self._blocks[one["id"]] = {0: [str(one["content"])]}

    # -------------------------------------------------------------------------------------------------------- applying

    def apply(self, event: Event) -> None:
        """The next event of the channel's stream. One that is known already changes nothing."""
        if event.version <= self.version:
            return
        self.version = event.version
        if event.message_id is None:
            self._channel_changed(event)
        elif event.type in POSTED:
            self._posted(event.message_id, event)
        elif event.type == "message:delete":
            self._removed(event.message_id, event)
        else:
            if event.type == "message:pin":
                self._pinned = [*(one for one in self._pinned if one != event.message_id), event.message_id]
            elif event.type == "message:unpin":
                self._pinned = [one for one in self._pinned if one != event.message_id]
            message = self._known.get(event.message_id)
            if message is not None and message["version"] < event.version:
                message["version"] = event.version
                self._changed(message, event)

    def _posted(self, message_id: str, event: Event) -> None:
        data = event.data
        message: Message = {
            "id": message_id,
            "channel_id": event.stream.partition("/")[2],
            "user_id": data.get("user_id"),
            "user": {"id": event.user.id, "name": event.user.name, "role": event.user.role} if event.user is not None else None,
            "webhook_id": data.get("webhook_id"),
            "parent_id": data.get("parent_id"),
            "reply_to_id": data.get("reply_to_id"),
            "temp_id": data.get("temp_id"),
            "content": "",
            "data": {},
            "meta": {},
            "is_pinned": False,
            "pinned_at": None,
            "pinned_by": None,
            "edited": False,
            "reactions": [],
            "created_at": nanoseconds(event.at),
            "updated_at": nanoseconds(event.at),
            "version": event.version,
            "created_version": event.version,
            "reply_count": 0,
            "latest_reply_at": None,
        }
        if data.get("client_id") is not None:
            message["client_id"] = data["client_id"]
        if event.type == "message":
            message["content"] = data["content"]
            change(message, {name: value for name, value in data.items() if name not in OF_THE_FACT})
        else:
            message["meta"] = {"model_id": data["model"], "model_name": data["model"], "done": False, "task_id": data["task_id"]}
            if data.get("selected_model_id") is not None:
                message["meta"]["selected_model_id"] = data["selected_model_id"]
            self._blocks[message_id] = {}
        self._known[message_id] = message
        parent_id = message["parent_id"]
        if parent_id is None:
            self._order.append(message_id)
            return
        self._threads.setdefault(parent_id, []).append(message_id)
        parent = self._known.get(parent_id)
        if parent is not None:
            parent["reply_count"] += 1
            parent["latest_reply_at"] = message["created_at"]

    def _removed(self, message_id: str, event: Event) -> None:
        self._gone.add(message_id)
        self._order = [one for one in self._order if one != message_id]
        self._pinned = [one for one in self._pinned if one != message_id]
        parent_id = event.data.get("parent_id")
        if parent_id in self._threads:
            self._threads[parent_id] = [one for one in self._threads[parent_id] if one != message_id]
        parent = self._known.get(parent_id)
        if parent is not None and parent["reply_count"] > 0:
            parent["reply_count"] -= 1
            if parent["reply_count"] == 0:
                parent["latest_reply_at"] = None

    def _changed(self, message: Message, event: Event) -> None:
        data, blocks = event.data, self._blocks.get(message["id"])
        match event.type:
            case "message:update":
                change(message, data)
                message["updated_at"], message["edited"] = nanoseconds(event.at), True
                if "content" in data:
                    self._blocks.pop(message["id"], None)
            case "message:pin":
                by = event.user.id if event.user is not None else None
                message["is_pinned"], message["pinned_at"], message["pinned_by"] = True, nanoseconds(event.at), by
            case "message:unpin":
                message["is_pinned"], message["pinned_at"], message["pinned_by"] = False, None, None
            case "message:reaction:add":
                name = event.user.name if event.user is not None and event.user.id == data["user_id"] else ""
                react(message, data["name"], {"id": data["user_id"], "name": name})
            case "message:reaction:remove":
                unreact(message, data["name"], data["user_id"])
            case "content_block":
                if blocks is not None and data["type"] == "text":
                    blocks[data["index"]] = []
            case "message_delta":
                if blocks is not None and data["index"] in blocks:
                    blocks[data["index"]].append(data["text"])
                    message["content"] = "".join("".join(blocks[index]) for index in sorted(blocks))
            case "message_end" | "error" | "cancelled" | "interrupted":
                self._blocks.pop(message["id"], None)
                end(message, event)
            case "files":
                files = data.get("files") if isinstance(data, dict) else None
                if isinstance(files, list):
                    known = message["data"].get("files")
                    message["data"] = {**message["data"], "files": [*files, *(known if isinstance(known, list) else [])]}
            case _:
                pass

    def _channel_changed(self, event: Event) -> None:
        data = event.data
        match event.type:
            case "channel:created":
                self.channel = {
                    "id": event.stream.partition("/")[2],
                    "user_id": data["owner_id"],
                    "type": None if data["type"] == "standard" else data["type"],
                    **{name: data.get(name, other) for name, other in (("name", ""), ("description", ""), ("is_private", False))},
                    "data": dict(data.get("data", {})),
                    "meta": dict(data.get("meta", {})),
                    "access_grants": [],
                    "archived": False,
                }
            case "channel:update":
                change(self.channel, data)
            case "channel:archived" | "channel:unarchived":
                self.channel["archived"] = event.type == "channel:archived"
            case "channel:delete":
                self.deleted = True
            case "access_granted" | "access_revoked":
                grant = {name: data[name] for name in ("principal_type", "principal_id", "permission")}
                others = [one for one in self.channel["access_grants"] if one != grant]
                self.channel["access_grants"] = others if event.type == "access_revoked" else [*others, grant]
            case "member:joined" | "member:role":
                if event.type == "member:joined" or data["user_id"] in self.members:
                    self.members[data["user_id"]] = data.get("role", "member")
            case "member:left":
                self.members.pop(data["user_id"], None)
            case _:
                pass


def nanoseconds(at: datetime) -> int:
    """As the server counts the times of channels."""
    return int(at.timestamp() * 1_000_000) * 1_000


def change(thing: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name not in MERGED:
            thing[name] = value
        elif isinstance(value, Mapping):
            thing[name] = {key: one for key, one in {**thing[name], **value}.items() if one is not None}


def end(message: Message, event: Event) -> None:
    data = event.data
    message["content"], message["updated_at"] = data.get("content", ""), nanoseconds(event.at)
    message["meta"] = {**message["meta"], "done": True, "state": END_STATES[event.type]}
    if event.type == "message_end" and data.get("usage") is not None:
        message["meta"]["usage"] = data["usage"]
    if event.type == "error":
        message["meta"]["error"] = {"content": data["detail"], "code": data["code"]}


def react(message: Message, name: str, who: dict[str, str]) -> None:
    """A new list each time: what was shown before stays as it was."""
    known = next((one for one in message["reactions"] if one["name"] == name), None)
    if known is None:
        message["reactions"] = [*message["reactions"], {"name": name, "count": 1, "users": [who]}]
        return
    people = {one["id"]: one for one in known["users"]} | {who["id"]: who}
    changed = {"name": name, "count": len(people), "users": list(people.values())}
    message["reactions"] = [changed if one["name"] == name else one for one in message["reactions"]]


def unreact(message: Message, name: str, user_id: str) -> None:
    left = []
    for one in message["reactions"]:
        users = [person for person in one["users"] if person["id"] != user_id] if one["name"] == name else one["users"]
        if users:
            left.append({"name": one["name"], "count": len(users), "users": users})
    message["reactions"] = left
