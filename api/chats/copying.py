"""A new chat out of one that is there: all of it, a shared version, or one branch up to a message."""

from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.request.caller import Caller
from commands.transfer.copying import ChatCopier


class CloneIn(msgspec.Struct):
    title: str | None = None


class ForkIn(msgspec.Struct):
    message_id: str | None = None  # null: the message that is looked at


class CopyOut(msgspec.Struct):
    """The new chat's head: its messages are read from it like any other's."""

    id: UUID
    title: str
    version: int
    position: int


class CopiesController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/{chat_id:str}/clone", status_code=200)
    async def clone(
        self, chat_id: FromPath[str], data: JSONBody[CloneIn], caller: NamedDependency[Caller], chat_copier: NamedDependency[ChatCopier]
    ) -> CopyOut:
        """A chat of one's own with all that stands in this one, which one must be allowed to read."""
        return CopyOut(*await chat_copier.clone(caller.principal, caller.bound(chat_id), data.title, caller.key))

    @post("/{share_id:str}/clone/shared", status_code=200)
    async def clone_shared(
        self, share_id: FromPath[str], caller: NamedDependency[Caller], chat_copier: NamedDependency[ChatCopier]
    ) -> CopyOut:
        """A chat of one's own out of a shared version whose link one may open."""
        return CopyOut(*await chat_copier.clone_shared(caller.principal, share_id, caller.key))

    @post("/{chat_id:str}/fork", status_code=200)
    async def fork(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_copier: NamedDependency[ChatCopier],
        data: JSONBody[ForkIn | None] = None,
    ) -> CopyOut:
        """A chat of one's own with the branch up to ``message_id``. An answer that is running goes along with what it has said so far."""
        leaf = caller.bound_or_none(data.message_id) if data is not None else None
        return CopyOut(*await chat_copier.fork(caller.principal, caller.bound(chat_id), leaf, caller.key))
