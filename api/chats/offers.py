"""What a person does with chats that others share with them, and with those who share."""

from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.chats.list_items import ChatListOut, PageNumber, list_out, page_bounds
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.chats.chat_lists import ChatLists
from commands.chats.offers import Offers


class OfferOut(msgspec.Struct):
    id: UUID  # of the chat
    offered_by: UUID


class OffersController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @get("/offers")
    async def waiting(self, caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> list[OfferOut]:
        """The chats that others share with the caller, who has neither read nor hidden them."""
        return [OfferOut(chat_id, sender) for chat_id, sender in (await offers.waiting(caller.user_id)).items()]

    @get("/hidden")
    async def hidden(
        self,
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """The chats of others that the caller has hidden."""
        return list_out(await chat_lists.list_hidden(caller.user_id, **page_bounds(page), at_least=at_least))

    @post("/{chat_id:str}/hide", status_code=200)
    async def hide(self, chat_id: FromPath[str], caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> bool:
        """Leave a shared chat out of one's lists and searches. The access stays, and the sender is not told."""
        await offers.hide(caller.actor, caller.bound(chat_id), caller.key, hidden=True)
        return True

    @delete("/{chat_id:str}/hide", status_code=200)
    async def show(self, chat_id: FromPath[str], caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> bool:
        """Show it again."""
        await offers.hide(caller.actor, caller.bound(chat_id), None, hidden=False)
        return True

    @post("/{chat_id:str}/leave", status_code=200)
    async def leave(self, chat_id: FromPath[str], caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> bool:
        """Give one's access to a shared chat up: one's open streams of it end at once."""
        await offers.leave(caller.actor, caller.bound(chat_id), caller.key)
        return True


class BlocksController(Controller):
    path = "/api/v1/users"
    tags = ("accounts",)

    @get("/blocked")
    async def blocked(self, caller: NamedDependency[Caller], accounts: NamedDependency[Accounts]) -> list[UUID]:
        """The people from whom the caller takes no shares."""
        return sorted((await accounts.account(caller.user_id, fresh=True)).blocked)

    @post("/{user_id:uuid}/block", status_code=200)
    async def block(self, user_id: FromPath[UUID], caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> bool:
        """Take no shares from this person, and leave theirs out of one's lists and searches."""
        await offers.block(caller.actor, user_id, caller.key, blocked=True)
        return True

    @delete("/{user_id:uuid}/block", status_code=200)
    async def unblock(self, user_id: FromPath[UUID], caller: NamedDependency[Caller], offers: NamedDependency[Offers]) -> bool:
        """Take them again."""
        await offers.block(caller.actor, user_id, None, blocked=False)
        return True
