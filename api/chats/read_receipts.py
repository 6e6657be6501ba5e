"""How far people have read: reported by their clients all the time and written once a second; or marked by hand, from a list of chats."""

from typing import Final

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.chats.chat import CommandOut
from api.periodic import Periodic
from api.request.caller import Caller
from commands.accounts.principal import Principal
from commands.chats.read_receipts import ReadReceipts
from domain.log.stream import Stream

EVERY_S: Final = 1.0


class ReadReceiptWriter(Periodic):
    """``note`` never waits; what it noted is written within a second, the furthest version only."""

    def __init__(self, receipts: ReadReceipts) -> None:
        super().__init__(EVERY_S, "reads")
        self.receipts = receipts

    def note(self, principal: Principal, stream: Stream, version: int, head: int) -> None:
        self.receipts.note(principal, stream, version, head)

    async def _write(self) -> None:
        await self.receipts.write_noted()


class ReadIn(msgspec.Struct):
    version: int | None = None  # null: all that there is


class ReadsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/read", status_code=200)
    async def read_all(self, caller: NamedDependency[Caller], read_receipts: NamedDependency[ReadReceipts]) -> bool:
        """Mark every chat in one's list as read, those in the archive and what others share, too."""
        await read_receipts.mark_all_read(caller.principal)
        return True

    @post("/{chat_id:str}/read", status_code=200)
    async def read(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        read_receipts: NamedDependency[ReadReceipts],
        data: JSONBody[ReadIn | None] = None,
    ) -> CommandOut:
        """Mark one chat as read, up to ``version``. It only moves forward; for clients that have no socket to say so."""
        known_id, version = caller.bound(chat_id), data.version if data is not None else None
        head, appended = await read_receipts.mark_read(caller.principal, known_id, version, caller.key)
        return CommandOut(known_id, head, appended.position)

    @post("/{chat_id:str}/unread", status_code=200)
    async def unread(
        self, chat_id: FromPath[str], caller: NamedDependency[Caller], read_receipts: NamedDependency[ReadReceipts]
    ) -> CommandOut:
        """Mark one chat as unread, for oneself alone and until some of it is read again."""
        known_id = caller.bound(chat_id)
        head, appended = await read_receipts.mark_unread(caller.principal, known_id, caller.key)
        return CommandOut(known_id, head, appended.position)
