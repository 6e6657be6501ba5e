"""``/api/v1/evaluations``: a rating as Open WebUI's page sends it, that of a message with which it stands in its chat; and all of them."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.accounts.principal import require_admin
from commands.analytics import Analytics
from commands.chats.chats import Chats
from domain.chat.commands import RateMessage
from domain.errors import BadRequest
from projections.figures.ports import ListedRating

COMMENT_CHARACTERS_MAX: Final = 10_000
PAGE: Final = 30  # as Open WebUI's page shows them
PAGES_MAX: Final = 100_000


class FeedbackDataIn(msgspec.Struct):
    rating: Literal[-1, 0, 1] | None = None
    comment: Annotated[str, msgspec.Meta(max_length=COMMENT_CHARACTERS_MAX)] | None = None


class FeedbackMetaIn(msgspec.Struct):
    chat_id: str
    message_id: str


class FeedbackIn(msgspec.Struct):
    """The page also sends a copy of the whole chat: the log has that as it was."""

    meta: FeedbackMetaIn
    data: FeedbackDataIn
    type: str = "rating"


class FeedbackOut(msgspec.Struct):
    id: str  # the chat's and the message's: a message has one rating
    user_id: UUID
    type: str
    data: dict[str, Any]
    meta: dict[str, Any]
    version: int  # of the chat
    position: int


class RaterOut(msgspec.Struct):
    id: UUID
    name: str | None
    email: str | None
    role: str


class ListedFeedbackOut(msgspec.Struct):
    """Without its comment, which no figure holds: it is in the chat. Times are seconds since 1970."""

    id: str
    user_id: UUID | None
    type: str
    version: int
    data: dict[str, Any]  # rating, model_id
    meta: dict[str, Any]  # chat_id, message_id, arena
    created_at: int
    updated_at: int
    user: RaterOut | None


class FeedbackListOut(msgspec.Struct):
    items: list[ListedFeedbackOut]
    total: int


class FeedbackListController(Controller):
    path = "/api/v1/evaluations/feedbacks"
    tags = ("analytics",)

    @get("/list")
    async def page(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        accounts: NamedDependency[Accounts],
        page: Annotated[int, QueryParameter(ge=1, le=PAGES_MAX, required=False)] = 1,
        order_by: FromQuery[Literal["updated_at", "created_at", "rating"]] = "updated_at",
        direction: FromQuery[Literal["asc", "desc"]] = "desc",
        at_least: FromQuery[int | None] = None,
    ) -> FeedbackListOut:
        """All ratings that count, 30 a page, the newest first, without what people wrote beside them (admin)."""
        require_admin(caller.principal)
        await analytics.wait(at_least)
        total, ratings = await analytics.figures.ratings(
            by_rating=order_by == "rating", ascending=direction == "asc", offset=(page - 1) * PAGE, limit=PAGE
        )
        raters: dict[UUID, RaterOut] = {}
        for one in ratings:
            if one.user_id is not None and one.user_id not in raters:
                account = await accounts.account(one.user_id)
                raters[one.user_id] = RaterOut(one.user_id, account.name or None, account.email or None, account.role)
        return FeedbackListOut([listed(one, raters.get(one.user_id) if one.user_id is not None else None) for one in ratings], total)


def listed(one: ListedRating, rater: RaterOut | None) -> ListedFeedbackOut:
    at_s = int(one.rated_at.timestamp())
    meta = {"chat_id": str(one.stream_id), "message_id": str(one.message_id)}
    if one.requested_model_id is not None and one.requested_model_id != one.model_id:
        meta["arena"] = one.requested_model_id
    data = {"rating": one.rating, "model_id": one.model_id}
    return ListedFeedbackOut(id_of(one.stream_id, one.message_id), one.user_id, "rating", one.version, data, meta, at_s, at_s, rater)


class FeedbackController(Controller):
    path = "/api/v1/evaluations/feedback"
    tags = ("chats",)

    @post("/", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def rate(self, data: JSONBody[FeedbackIn], caller: NamedDependency[Caller], chats: NamedDependency[Chats]) -> FeedbackOut:
        """Rate an answer: thumbs up (1), down (-1), or neither."""
        return await rated(data, caller, chats)

    @post("/{feedback_id:str}", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def rate_again(
        self, feedback_id: FromPath[str], data: JSONBody[FeedbackIn], caller: NamedDependency[Caller], chats: NamedDependency[Chats]
    ) -> FeedbackOut:
        """Change a rating. The message is that of the body; ``feedback_id`` must be its."""
        if feedback_id != id_of(caller.bound(data.meta.chat_id), caller.bound(data.meta.message_id)):
            raise BadRequest("expected the id of the rating of the message that meta names", param="feedback_id")
        return await rated(data, caller, chats)


async def rated(data: FeedbackIn, caller: Caller, chats: Chats) -> FeedbackOut:
    if data.type != "rating":
        raise BadRequest(f"expected the type rating, received {data.type[:40]!r}", param="type")
    chat_id, message_id = caller.bound(data.meta.chat_id), caller.bound(data.meta.message_id)
    rating = data.data.rating or 0
    command = RateMessage(chat_id=chat_id, by=caller.user_id, message_id=message_id, rating=rating, comment=data.data.comment)
    appended = await chats.handle(command, actor=caller.actor, key=caller.key)
    kept = {"rating": rating, "comment": data.data.comment}
    meta = {"chat_id": str(chat_id), "message_id": str(message_id)}
    return FeedbackOut(id_of(chat_id, message_id), caller.user_id, "rating", kept, meta, appended.versions[0], appended.position)


def id_of(chat_id: UUID, message_id: UUID) -> str:
    return f"{chat_id}.{message_id}"
