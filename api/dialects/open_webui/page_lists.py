"""The lists beside a page: its user's chats and channels. What somebody does in one tab, or by the API, the page's other tabs are told.

A page that is told of its chats reads their list anew, which waits for its user's own events. A page that reads too slowly is not told.
"""

import asyncio
from typing import Any, Final
from uuid import UUID

from api.dialects.open_webui import packets
from api.dialects.open_webui.channel_envelopes import list_changed_envelope
from api.dialects.open_webui.page_channels import NAME
from api.dialects.open_webui.page_socket import PageSocket
from api.streams.access import LiveConnections
from domain.channel.own import ChannelHidden, ChannelMuted, ChannelPinned, ChannelUnhidden, ChannelUnmuted, ChannelUnpinned
from domain.log.codec import decode_actor, decode_event
from domain.log.event import StoredEvent

# By which a chat comes, goes, or gets another place or name in its user's list.
CHAT_TYPES: Final = frozenset(
    {
        *("chat_created", "chat_imported", "chat_deleted", "chat_renamed", "chat_pinned", "chat_unpinned"),
        *("chat_archived", "chat_unarchived", "chat_moved", "message_added"),
    }
)
CHANNEL_TYPES: Final = frozenset(
    {"channel_muted", "channel_unmuted", "channel_pinned", "channel_unpinned", "channel_hidden", "channel_unhidden"}
)
TURN_S: Final = 0.2  # many changes at once are told once


class PageLists:
    """Of all pages of a process."""

    def __init__(self, live: LiveConnections) -> None:
        self._live = live
        self._changed: dict[UUID, UUID] = {}  # the chat that changed last in the list of each of these users

    def observe(self, stored: StoredEvent) -> None:
        """An event of any stream, as it passes."""
        if stored.type in CHAT_TYPES and stored.stream.kind == "chat":
            actor = decode_actor(stored.actor)
            if actor is not None and self._pages(actor.id):
                if actor.id not in self._changed:
                    asyncio.get_running_loop().call_later(TURN_S, self._tell_chats, actor.id)
                self._changed[actor.id] = stored.stream.id
        elif stored.type in CHANNEL_TYPES and stored.stream.kind == "user":
            pages = self._pages(stored.stream.id)
            if pages:
                self._tell(pages, NAME, channel_envelope(decode_event(stored).data))

    def _tell_chats(self, user_id: UUID) -> None:
        chat_id = str(self._changed.pop(user_id))
        envelope = {"chat_id": chat_id, "message_id": None, "data": {"type": "chat:list", "data": {"chat_id": chat_id}}}
        self._tell(self._pages(user_id), b"events", envelope)

    def _pages(self, user_id: UUID) -> list[PageSocket]:
        return [one for one in self._live.of(user_id) if isinstance(one, PageSocket)]

    def _tell(self, pages: list[PageSocket], name: bytes, envelope: dict[str, Any]) -> None:
        pieces = packets.pieces_of_event(name, packets.encoded(envelope))
        for page in pages:
            if page.can_write and self._live.may_send(page.principal):
                page.write(*pieces)


def channel_envelope(fact: Any) -> dict[str, Any]:
    match fact:
        case ChannelMuted(channel_id=channel_id) | ChannelUnmuted(channel_id=channel_id):
            data = {"is_channel_muted": isinstance(fact, ChannelMuted)}
            return {"channel_id": str(channel_id), "data": {"type": "channel:mute", "data": data}}
        case (
            ChannelPinned(channel_id=channel_id)
            | ChannelUnpinned(channel_id=channel_id)
            | ChannelHidden(channel_id=channel_id)
            | ChannelUnhidden(channel_id=channel_id)
        ):
            return list_changed_envelope(channel_id)
        case _:
            raise AssertionError(f"expected a fact of {sorted(CHANNEL_TYPES)}, received {fact!r}")
