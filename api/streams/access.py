"""The client connections of this process, and the end of subscriptions whose access has ended.

``LiveConnections.observe`` gets every event except deltas as it passes, before any subscriber is woken, on every process: access ends at
exactly the version that ends it, whatever was already waiting.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from adapters.delivery.hub import Hub, Subscription
from api.streams.channel_access import ChannelAccess
from api.streams.reader_access import Access
from api.streams.resumes import Resumes
from commands.accounts.authentication import Authentication
from commands.accounts.principal import READS_EVERYTHING, Principal
from commands.chats.chats import Chats
from commands.security_log import read_by_role
from domain.chat.facts import ChatUnshared
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.redaction import HidesWords
from domain.log.stream import Stream

ACCOUNT_TYPES: Final = frozenset({"user_deactivated", "role_changed", "tokens_revoked", "password_changed", "api_key_revoked"})


class ClientConnection(Protocol):
    """The owner of subscriptions: a WebSocket, or an HTTP request that streams."""

    principal: Principal
    counted: bool  # whether it counts towards the account's limit of live connections

    def account_changed(self) -> None:
        """The account has changed since the connection was authenticated. Nothing more may be sent to it."""
        ...

    def wake_all(self) -> None:
        """Postgres answers again: send what has waited."""
        ...

    def send_signal(self, framed: bytes) -> None:
        """An ephemeral signal, as a WebSocket text frame. It may be dropped."""
        ...

    def write_access_changed(self, subscription: Subscription, may_write: bool) -> None:
        """Whether its person may write in the stream may have changed."""
        ...


class LiveConnections:
    """All client connections of this process by their account.

    ``has_recent_contact`` says whether Postgres answered within the lease; a process without it must serve nothing from memory.
    """

    def __init__(
        self,
        hub: Hub,
        authentication: Authentication,
        chats: Chats,
        channels: ChannelAccess,
        has_recent_contact: Callable[[], bool],
        *,
        connections_per_user_max: int = 32,
    ) -> None:
        self.hub = hub
        self.authentication = authentication
        self.chats = chats
        self.channels = channels
        self.has_recent_contact = has_recent_contact
        self.connections_per_user_max = connections_per_user_max
        self.resumes = Resumes()
        self._readers: dict[UUID, dict[ClientConnection, None]] = {}
        self.stalled: set[ClientConnection] = set()  # connections that wait because this process is cut off from Postgres
        self._asked: WeakValueDictionary[Stream, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return sum(len(readers) for readers in self._readers.values())

    def all(self) -> Iterator[ClientConnection]:
        return iter([reader for readers in self._readers.values() for reader in readers])

    def of(self, user_id: UUID) -> Iterator[ClientConnection]:
        return iter(list(self._readers.get(user_id, ())))

    def count(self, user_id: UUID) -> int:
        return sum(reader.counted for reader in self._readers.get(user_id, ()))

    def user_ids(self) -> list[UUID]:
        """The accounts that are connected."""
        return [user_id for user_id, readers in self._readers.items() if any(reader.counted for reader in readers)]

    def connections_max(self, principal: Principal) -> int:
        """How many live connections the account may have to this process."""
        standing = principal.standing
        own = standing.account.quotas.get("connections") if standing is not None else None
        return self.connections_per_user_max if own is None else own

    def add(self, reader: ClientConnection) -> None:
        self._readers.setdefault(reader.principal.user_id, {})[reader] = None

    def remove(self, reader: ClientConnection) -> None:
        readers = self._readers.get(reader.principal.user_id)
        if readers is not None:
            readers.pop(reader, None)
            if not readers:
                del self._readers[reader.principal.user_id]

    def may_send(self, principal: Principal) -> bool:
        """Whether a batch may be sent now: the account is unchanged, and this process is not cut off from Postgres."""
        return self.authentication.still_valid(principal) and self.has_recent_contact()

    async def access(self, principal: Principal, stream: Stream, *, at_least: int = 0) -> Access:
        """Judged on the stream as of version ``at_least`` or later.

        Who subscribes passes the head that was learned after the interest was registered: what ends access below it is
        judged here, and what ends it above it passes ``observe``.
        """
        reads_everything = principal.role in READS_EVERYTHING
        match stream.kind:
            case "user":
                own = stream.id == principal.user_id
                if reads_everything and not own:
                    read_by_role(principal.user_id, principal.role, str(stream))
                return Access(own or reads_everything, may_write=False)
            case "chat":
                lock = self._asked.get(stream)
                if lock is None:
                    lock = self._asked[stream] = asyncio.Lock()
                async with lock:  # of many who ask at once, one reads
                    version, chat = await self.chats.state(stream.id, fresh=False)
                    if version < at_least or not chat.may_read(principal.user_id):
                        _, chat = await self.chats.state(stream.id)
                readable = chat.may_read(principal.user_id)
                if not readable and reads_everything and chat.owner_id is not None:
                    read_by_role(principal.user_id, principal.role, str(stream))
                    readable = True
                since = 0 if reads_everything else chat.access_since(principal.user_id)
                return Access(readable, chat.may_write(principal.user_id) and principal.may("chat"), since)
            case "channel":
                return await self.channels.access(principal, stream.id, at_least=at_least)
            case "model" | "group" | "function" | "provider":
                if reads_everything:
                    read_by_role(principal.user_id, principal.role, str(stream))
                return Access(reads_everything, may_write=False)

    async def redaction(self, access: Access, stream: Stream, after: int) -> HidesWords | None:
        """What is hidden from a reader with this access of what follows version ``after``; None: nothing is."""
        if after >= access.since:
            return None
        of: Chats | ChannelAccess = self.channels if stream.kind == "channel" else self.chats
        return await of.redaction(stream.id, access.since)

    def observe(self, stored: StoredEvent) -> None:
        self.channels.observe(stored)
        stream = stored.stream
        if stream.kind == "user" and stored.type in ACCOUNT_TYPES:
            for reader in list(self._readers.get(stream.id, ())):
                if not self.authentication.still_valid(reader.principal):
                    reader.account_changed()
        elif stored.type == "chat_unshared":
            fact: Any = decode_event(stored).data
            assert isinstance(fact, ChatUnshared)
            for subscription in self.hub.subscriptions(stream):
                owner: Any = subscription.owner
                if owner is not None and owner.principal.user_id == fact.user_id and owner.principal.role not in READS_EVERYTHING:
                    subscription.end(stored.version, "access_ended")
        elif stored.type == "chat_deleted":
            for subscription in self.hub.subscriptions(stream):
                subscription.end(stored.version, "chat_deleted")

    def expired(self, principal: Principal) -> bool:
        return principal.expires_at is not None and principal.expires_at <= time.time()
