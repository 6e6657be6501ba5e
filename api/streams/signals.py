"""Ephemeral signals: from one client to the other subscribers of a stream (typing, presence), and from one process to another (that
chunks of a direct connection have come). They are never stored.
"""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from adapters.delivery.hub import Hub
from api.streams.websocket_protocol import text_frame
from domain.log.stream import Stream


class SignalDelivery:
    """Hands signals to this process's subscribers, whether they come from here or through the bell from another process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.handlers: dict[str, Callable[[dict[str, Any]], None]] = {}  # of signals between processes, by their op

    def deliver(self, signal: bytes) -> None:
        """``signal`` is for one of ``handlers``, or an ``ephemeral`` frame: that goes to every subscriber of its stream except the
        connections of its sender.
        """
        content = json.loads(signal)
        handler = self.handlers.get(content["op"])
        if handler is not None:
            handler(content)
            return
        kind, _, stream_id = content["stream"].partition("/")
        framed = text_frame(signal)
        for subscription in self._hub.subscriptions(Stream(kind, UUID(stream_id))):
            owner: Any = subscription.owner
            if subscription.ends_after is None and str(owner.principal.user_id) != content["user"]["id"]:
                owner.send_signal(framed)
