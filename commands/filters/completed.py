"""What a client that runs outlets itself asks for: the filters' outlets on a body that it sends. The chat is not changed.

The reference has given this up in favour of outlets on the server (``commands/generation/filtering.py``), and older clients still ask.
"""

from collections.abc import Mapping
from typing import Any

from commands.chats.chat_places import place_of
from commands.chats.chats import Chats
from commands.filters.filtered_body import copied, wrong
from commands.filters.filters import EmailOf, Filters, Scene
from commands.functions.actions import ModelOf
from commands.functions.functions import CallContext
from domain.errors import BadRequest
from domain.log.event import Actor


class CompletedFilters:
    def __init__(self, filters: Filters, chats: Chats, model_of: ModelOf, email_of: EmailOf) -> None:
        self._filters = filters
        self._chats = chats
        self._model_of = model_of
        self._email_of = email_of

    async def run(self, body: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
        """The body after all outlets.

        Raises ``ModelNotFound``, ``BadRequest``, ``ChatNotFound``, and what an outlet raises or refuses: ``FunctionFailed``,
        ``PipelineFailed``.
        """
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("expected model as text", param="model")
        if wrong(dict(body)) is not None:
            raise BadRequest("expected messages as a list of objects, each with a role", param="messages")
        card = await self._model_of(model, actor)
        await place_of(self._chats, body.get("chat_id"), body.get("id"), actor)
        filter_ids = [one for one in body.get("filter_ids") or () if isinstance(one, str)]
        session_id, chat_id, message_id = (text_or_none(body.get(name)) for name in ("session_id", "chat_id", "id"))
        scene = Scene(
            model=model,
            context=CallContext(
                actor=actor,
                chat_id=chat_id,
                message_id=message_id,
                session_id=session_id,
                model=card,
                metadata={
                    "user_id": str(actor.id),
                    "chat_id": chat_id,
                    "message_id": message_id,
                    "session_id": session_id,
                    "filter_ids": filter_ids,
                },
            ),
            meta=(card.get("info") or {}).get("meta") or {},
            filter_ids=frozenset(filter_ids),
            email=await self._email_of(actor.id) if self._filters.has_pipelines else "",
        )
        chain = self._filters.chain(scene)
        if chain is None:
            return dict(body)
        made, _, _ = await chain.run("outlet", copied(dict(body)), forgotten, raising=True)
        return made


async def forgotten(_: bytes) -> None:
    """The client keeps its own original."""


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
