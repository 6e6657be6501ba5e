"""How far people have read: said by their clients all the time, joined to at most one event a second for each of their streams; or by
hand, from a list of chats.
"""

from typing import Final
from uuid import UUID

import msgspec
import structlog
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from api.chats.chat import CommandOut
from api.chats.list_scope import require_position
from api.chats.past import readable
from api.process.periodic import Periodic
from api.request.ids import bound_id
from commands.accounts import Accounts, Principal, actor_of
from commands.ports import CommandKey, EventLog
from domain.errors import StenographError
from domain.event import Actor
from domain.stream import Stream, chat_stream
from domain.user import MANY_READ_MAX, MarkManyRead, MarkRead, MarkUnread
from projections.ports import History

log = structlog.get_logger("reads")

EVERY_S: Final = 1.0
WAITING_MAX: Final = 50_000


class Reads(Periodic):
    """``note`` never waits; what it noted is written within a second, the furthest version only."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(EVERY_S, "reads")
        self._accounts = accounts
        # By person, not by session: two tabs of one person write once.
        self._waiting: dict[tuple[UUID, Stream], tuple[int, Actor]] = {}

    def note(self, principal: Principal, stream: Stream, version: int) -> None:
        key = (principal.user_id, stream)
        known = self._waiting.get(key)
        if known is not None or len(self._waiting) < WAITING_MAX:
            self._waiting[key] = (max(version, known[0] if known is not None else 0), actor_of(principal))

    def forget(self, principal: Principal, stream: Stream) -> None:
        """What waits of this stream is not written: it is to be unread."""
        self._waiting.pop((principal.user_id, stream), None)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (user_id, stream), (version, actor) in waiting.items():
            try:
                command = MarkRead(user_id=user_id, stream=str(stream), version=version)
                await self._accounts.handle(command, actor=actor)
            except StenographError as error:
                log.warning("read_not_marked", stream=str(stream), error=str(error))


class ReadIn(msgspec.Struct):
    version: int | None = None  # null: all that there is


class ReadsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/read", status_code=200)
    async def read_all(
        self,
        principal: NamedDependency[Principal],
        accounts: NamedDependency[Accounts],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """Mark every chat in one's list as read, those in the archive and what others share, too."""
        await require_position(history, await log.head())
        account = await accounts.account(principal.user_id, fresh=True)
        offset = 0
        while True:
            page = await history.listed(principal.user_id, offset=offset, limit=MANY_READ_MAX)
            unread = {str(chat_stream(one.chat_id)): one.version for one in page if account.read_version(one.chat_id) < one.version}
            if unread:
                await accounts.handle(MarkManyRead(user_id=principal.user_id, versions=unread), actor=actor_of(principal))
            if len(page) < MANY_READ_MAX:
                return True
            offset += MANY_READ_MAX

    @post("/{chat_id:str}/read", status_code=200)
    async def read(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        accounts: NamedDependency[Accounts],
        history: NamedDependency[SkipValidation[History]],
        key: NamedDependency[CommandKey | None],
        data: JSONBody[ReadIn | None] = None,
    ) -> CommandOut:
        """Mark one chat as read, up to ``version``. It only moves forward; for clients that have no socket to say so."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        head = (await readable(history, principal, known_id)).version
        version = head if data is None or data.version is None else min(head, data.version)
        command = MarkRead(user_id=principal.user_id, stream=str(chat_stream(known_id)), version=version)
        appended = await accounts.handle(command, actor=actor_of(principal), key=key)
        return CommandOut(known_id, head, appended.position)

    @post("/{chat_id:str}/unread", status_code=200)
    async def unread(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        accounts: NamedDependency[Accounts],
        history: NamedDependency[SkipValidation[History]],
        reads: NamedDependency[SkipValidation[Reads]],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Mark one chat as unread, for oneself alone and until some of it is read again."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        stream = chat_stream(known_id)
        head = (await readable(history, principal, known_id)).version
        reads.forget(principal, stream)
        appended = await accounts.handle(MarkUnread(user_id=principal.user_id, stream=str(stream)), actor=actor_of(principal), key=key)
        return CommandOut(known_id, head, appended.position)
