"""What each account may have, and what it has: asked before each append that makes the log grow.

Bytes of a day are counted here as this process commits them, and added to a table for all processes about once a second: the bound on
them is exact but for what other processes wrote since. Chats and the bytes in them are those of the projection ``chat_list`` with what
this process wrote since it was asked; they may lag behind by as much as it does. Runs at once are exact: ``RunSlots``.
"""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.ports import AccountUsage, AppendRequest, StreamAppend, Usage
from domain.accounts.user.facts import ProfileChanged, SettingsChanged
from domain.accounts.user.state import Account
from domain.chat.facts import ChatConfigured, ChatCreated, MessageAdded, MessageEdited
from domain.chat.folder import FolderConfigured, FolderCreated
from domain.errors import ChatFull, QuotaReached, RateReached
from domain.generation import MessageStarted
from domain.log.codec import EVENT_BYTES_MAX, NAMES, decode_actor
from domain.log.event import Emitted, StoredEvent, Verbatim
from projections.chat_list import stored_bytes

# Facts that hold what a person says. All others are small, and some of them make room: those are never refused.
GROWING: Final = frozenset(
    {
        ChatConfigured,
        ChatCreated,
        Emitted,
        FolderConfigured,
        FolderCreated,
        MessageAdded,
        MessageEdited,
        MessageStarted,
        ProfileChanged,
        SettingsChanged,
        Verbatim,
    }
)
ADDED: Final = frozenset({NAMES[MessageAdded], NAMES[MessageStarted]})
REFRESH_S: Final = 10.0  # after which what is known of an account is asked again
KNOWN_MAX: Final = 10_000  # accounts, and chats


class Quotas(msgspec.Struct, frozen=True):
    """What one account may have."""

    chats: int
    storage_bytes: int
    bytes_a_day: int
    runs: int
    connections: int  # to one process

    def of(self, account: Account) -> "Quotas":
        """With what an admin has said of this account."""
        return msgspec.structs.replace(self, **account.quotas) if account.quotas else self


class KnownUsage(msgspec.Struct):
    """What one account has, as far as this process knows. What it has written since is added as it is committed."""

    quotas: Quotas
    day: date
    day_bytes: int
    chats: int
    bytes: int
    asked_s: float


class UsageBook:
    """``quotas_of`` says what an account may have. ``now`` gives the time in UTC, ``clock`` seconds that only go forward."""

    def __init__(
        self,
        usage: Usage,
        quotas_of: Callable[[UUID], Awaitable[Quotas]],
        *,
        chat_messages_max: int,
        chat_bytes_max: int,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._usage = usage
        self._quotas_of = quotas_of
        self._chat_messages_max = chat_messages_max
        self._chat_bytes_max = chat_bytes_max
        self._now = now
        self._clock = clock
        self._known: OrderedDict[UUID, KnownUsage] = OrderedDict()
        self._waiting: Counter[UUID] = Counter()  # bytes that are committed and not yet added to the table
        self._roomy_until: OrderedDict[UUID, int] = OrderedDict()  # versions until which a chat cannot be full

    # ---------------------------------------------------------------------------------------------------- before an append

    async def require(self, request: AppendRequest) -> None:
        """Raises ``QuotaReached``, ``RateReached`` or ``ChatFull`` where the request would write more than its actor may."""
        growing = [append for append in request.appends if any(type(event.data) in GROWING for event in append.events)]
        if request.actor is None or not growing:
            return
        known = await self._of(request.actor.id)
        self._require_content(known)
        created = count_of(growing, NAMES[ChatCreated])
        if created and known.chats + created > known.quotas.chats:
            raise QuotaReached("chats", used=known.chats, limit=known.quotas.chats)
        for append in growing:
            if append.stream.kind == "chat" and append.expected > 0:
                await self._require_room(append)

    async def require_account(self, user_id: UUID) -> None:
        """See ``EventLog.require_account``."""
        self._require_content(await self._of(user_id))

    def _require_content(self, known: KnownUsage) -> None:
        self._require_day(known)
        if known.bytes >= known.quotas.storage_bytes:
            raise QuotaReached("storage_bytes", used=known.bytes, limit=known.quotas.storage_bytes)

    async def _require_room(self, append: StreamAppend) -> None:
        """An event adds one message at most, so a chat that has room for many is asked about only once in a while."""
        chat_id = append.stream.id
        if append.expected + len(append.events) <= self._roomy_until.get(chat_id, 0):
            return
        known = await self._usage.of_chat(chat_id)
        added = sum(count_of([append], name) for name in ADDED)
        if added and known.messages + added > self._chat_messages_max:
            raise ChatFull("messages", used=known.messages, limit=self._chat_messages_max)
        if known.bytes >= self._chat_bytes_max:
            raise ChatFull("bytes", used=known.bytes, limit=self._chat_bytes_max)
        room = min(self._chat_messages_max - known.messages, (self._chat_bytes_max - known.bytes) // EVENT_BYTES_MAX)
        remember(self._roomy_until, chat_id, known.version + room)

    def _require_day(self, known: KnownUsage) -> None:
        if known.day_bytes >= known.quotas.bytes_a_day:
            now = self._now()
            if known.day == now.date():
                midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
                left_s = max(1, round((midnight - now).total_seconds()))
                raise RateReached("bytes_a_day", used=known.day_bytes, limit=known.quotas.bytes_a_day, retry_after_s=left_s)

    async def _of(self, user_id: UUID) -> KnownUsage:
        known, today = self._known.get(user_id), self._now().date()
        if known is None or known.day != today or self._clock() - known.asked_s >= REFRESH_S:
            quotas, used = await self._quotas_of(user_id), await self._usage.of_account(user_id, today)
            day_bytes = used.day_bytes + self._waiting[user_id]
            known = KnownUsage(quotas, today, day_bytes, used.chats, used.bytes, self._clock())
            remember(self._known, user_id, known)
        return known

    def forget(self, user_id: UUID) -> None:
        """What the account may have has changed."""
        self._known.pop(user_id, None)

    # ----------------------------------------------------------------------------------------------------- what was written

    def count(self, events: Iterable[StoredEvent]) -> None:
        """Events that this process has committed. Tokens have no actor: see ``spend``."""
        for event in events:
            if event.actor is not None:
                user_id = actor_id(event.actor)
                known = self._add(user_id, stored_bytes(event))
                if known is not None and event.type == "chat_created":
                    known.chats += 1

    def spend(self, user_id: UUID, size_bytes: int) -> None:
        """Tokens that were committed for an account. Raises ``RateReached`` once it has written as much today as it may."""
        known = self._add(user_id, size_bytes)
        if known is not None:
            self._require_day(known)

    def _add(self, user_id: UUID, size_bytes: int) -> KnownUsage | None:
        """Returns what is known of the account, with these bytes."""
        self._waiting[user_id] += size_bytes
        known = self._known.get(user_id)
        if known is not None:
            known.day_bytes += size_bytes
            known.bytes += size_bytes
        return known

    async def flush(self) -> None:
        """Add what was counted to the table. Raises ``LogUnavailable``; then it is added the next time."""
        waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return
        today = self._now().date()
        try:
            totals = await self._usage.add(today, waiting)
        except BaseException:
            self._waiting.update(waiting)
            raise
        for user_id, total in totals.items():
            known = self._known.get(user_id)
            if known is not None and known.day == today:
                known.day_bytes = total + self._waiting[user_id]

    # -------------------------------------------------------------------------------------------------------- what is shown

    async def usage_of(self, user_id: UUID) -> tuple[AccountUsage, Quotas]:
        """What the account has now, and may have."""
        used = await self._usage.of_account(user_id, self._now().date())
        return msgspec.structs.replace(used, day_bytes=used.day_bytes + self._waiting[user_id]), await self._quotas_of(user_id)


def count_of(appends: Sequence[StreamAppend], name: str) -> int:
    """How many of the events are of this type."""
    return sum(name_of(event.data) == name for append in appends for event in append.events)


def name_of(fact: Any) -> str | None:
    return fact.name if isinstance(fact, Verbatim | Emitted) else NAMES.get(type(fact))


@lru_cache(maxsize=4096)
def actor_id(actor: bytes) -> UUID:
    known = decode_actor(actor)
    assert known is not None
    return known.id


def remember(table: OrderedDict[UUID, Any], key: UUID, value: Any) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > KNOWN_MAX:
        table.popitem(last=False)
