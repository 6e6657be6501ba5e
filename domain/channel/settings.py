"""What a channel's ``data`` says to this server. Its other keys are the clients' own."""

from collections.abc import Mapping
from typing import Any, Final

from domain.channel.state import Channel
from domain.errors import BadRequest

MODEL_ANSWERS: Final = "model_answers"  # where a model answers that is asked outside of a thread
IN_THREAD: Final = "thread"
IN_CHANNEL: Final = "channel"


def require_settings(data: Mapping[str, Any]) -> None:
    """Raises ``BadRequest``."""
    where = data.get(MODEL_ANSWERS)
    if where not in (None, IN_THREAD, IN_CHANNEL):
        raise BadRequest(f"expected {MODEL_ANSWERS} to be {IN_THREAD} or {IN_CHANNEL}", param=MODEL_ANSWERS)


def answers_in_thread(channel: Channel) -> bool:
    return channel.data.get(MODEL_ANSWERS) != IN_CHANNEL
