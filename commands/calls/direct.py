"""A completion that the asker's own tab answers, by a provider that this server does not know."""

from typing import Protocol
from uuid import UUID

import msgspec

from commands.providers.provider import Provider
from domain.errors import BadRequest
from domain.log.event import Actor


class DirectTab(msgspec.Struct, frozen=True):
    session_id: str  # of the tab that acts first
    model: str | None = None  # its model, where several models are asked; None: all that are asked
    stream: bool = True  # False: the tab gives a whole completion
    url_index: int | str | None = None  # by which the tab knows the provider: said again in the question, and used for nothing else


class DirectTabs(Protocol):
    def __call__(self, actor: Actor, chat_id: UUID, message_id: UUID, tab: DirectTab) -> Provider:
        """The provider of one answer."""
        ...


def no_direct_tabs(actor: Actor, chat_id: UUID, message_id: UUID, tab: DirectTab) -> Provider:
    """Of a server without direct connections."""
    raise BadRequest("direct connections are switched off on this server", param="model_item")
