"""Ephemeral signals: from one process to the others, and to the connections of this one. They are never stored."""

import json
from collections.abc import Callable
from typing import Any

from adapters.delivery.hub import Hub
from domain.log.stream import Stream


class SignalDelivery:
    """``handlers`` get what other processes say, by its op: that chunks of a direct connection have come, who types, who is there."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.handlers: dict[str, Callable[[dict[str, Any]], None]] = {}

    def on_signal(self, signal: bytes) -> None:
        """A signal of another process. One of a later version may be unknown."""
        content = json.loads(signal)
        handler = self.handlers.get(content["op"])
        if handler is not None:
            handler(content)

    def deliver(self, stream: Stream, user_id: str, framed: bytes) -> None:
        """To every subscriber of the stream here, except the connections of that person."""
        for subscription in self._hub.subscriptions(stream):
            owner: Any = subscription.owner
            if subscription.ends_after is None and str(owner.principal.user_id) != user_id:
                owner.send_signal(framed)
