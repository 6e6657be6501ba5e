"""``/api/v1/evaluations/feedback``: a rating as Open WebUI's page sends it: that of a message, with which it stands in its chat."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.chats.chats import Chats
from domain.chat.commands import RateMessage
from domain.errors import BadRequest

COMMENT_CHARACTERS_MAX: Final = 10_000


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
