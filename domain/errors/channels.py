"""Channels."""

from uuid import UUID

from domain.errors.kinds import Refusal


class ChannelNotFound(Refusal):
    code = "channel_not_found"

    def __init__(self, channel_id: object) -> None:
        self.channel_id = channel_id
        super().__init__(f"there is no channel {str(channel_id)[:200]}")


class ChannelExists(Refusal):
    code = "channel_exists"

    def __init__(self, channel_id: UUID) -> None:
        self.channel_id = channel_id
        super().__init__(f"channel {channel_id} exists already")


class NotAThread(Refusal):
    """A reply to a reply."""

    code = "not_a_thread"

    def __init__(self, parent_id: UUID) -> None:
        self.parent_id = parent_id
        super().__init__(f"message {parent_id} is itself a reply: name the first message of its thread as parent_id")


class WebhookNotFound(Refusal):
    code = "webhook_not_found"

    def __init__(self, webhook_id: UUID) -> None:
        self.webhook_id = webhook_id
        super().__init__(f"there is no webhook {webhook_id} in this channel")
