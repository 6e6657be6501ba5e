"""Whether a refused request is made again: only where the provider itself says when, and only before its first token."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import Final

import structlog

from domain.errors import ProviderFailed

RETRIES_MAX: Final = 3  # of one request
# All waits of one request: somebody looks at an empty answer meanwhile, and a stream begins at its first ping (``PING_S``) at the latest;
# until then a refusal is still the refusal of the request.
WAITS_S_MAX: Final = 10.0
STATUSES: Final = frozenset({429, 503})  # with ``Retry-After``: too many requests; not available now

logger = structlog.get_logger(__name__)


class Retries:
    """Of one request. ``deadline_s``, by the event loop's clock, is when its first token must have come."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._left = RETRIES_MAX
        self._left_s = WAITS_S_MAX

    def next_wait_s(self, refused: ProviderFailed) -> float | None:
        """How long to wait before the request is made again. None: the refusal stands."""
        wait_s = asked_wait_s(refused)
        if wait_s is None or not self._left or wait_s > self._left_s or asyncio.get_running_loop().time() + wait_s > self._deadline_s:
            return None
        self._left -= 1
        self._left_s -= wait_s
        logger.info("provider_asked_again", after_s=wait_s, status=refused.said.get("status"))
        return wait_s


def asked_wait_s(refused: ProviderFailed) -> float | None:
    """The seconds that a refusal asks to wait, by its ``Retry-After`` (RFC 9110 §10.2.3: seconds, or a date); None if it does not."""
    given = refused.said.get("retry_after")
    if refused.said.get("status") not in STATUSES or not isinstance(given, str):
        return None
    if given.strip().isdecimal():
        return float(given[:10])
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
