"""Every failure that the client names.

ClientError
├── ServerUnreachable        no answer from that address, or not in time
├── ConnectionStopped        the server closed the socket with a code that says: do not come back
├── ApiError                 an HTTP answer that is a refusal (``status``, ``code``, ``detail``)
│   ├── NotSignedIn          401
│   ├── Forbidden            403
│   ├── NotFound             404
│   ├── Conflict             409
│   └── CursorGone           410: the cursor belongs to another history
└── FollowFailed             one follow ended; others on the same socket go on
    ├── EpochChanged         the history was replaced: the cursor means nothing any more
    ├── AccessEnded          the server ended the subscription
    ├── SubscriptionRefused  the server would not begin it
    ├── GapNotRepaired       the server left events out, again and again
    └── AlreadyFollowed      this client follows that stream already
"""


class ClientError(Exception):
    """The root."""


class ServerUnreachable(ClientError):
    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"no answer from {url}: {reason}")


class ConnectionStopped(ClientError):
    """Coming back would end the same way. ``code`` is the close code, or the HTTP status of a refused handshake."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"the server ended the connection for good ({code}): {reason or 'no reason given'}")


class ApiError(ClientError):
    """An HTTP refusal. ``code`` is the server's stable name for it, "" where it gave none."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(f"{detail} ({status}{' ' + code if code else ''})")


class NotSignedIn(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class CursorGone(ApiError):
    """``epoch`` and ``head`` are those of the history that the server has now."""

    def __init__(self, status: int, code: str, detail: str, *, epoch: str, head: int) -> None:
        self.epoch, self.head = epoch, head
        super().__init__(status, code, detail)


class FollowFailed(ClientError):
    def __init__(self, stream: str, text: str) -> None:
        self.stream = stream
        super().__init__(f"{stream}: {text}")


class EpochChanged(FollowFailed):
    """``had`` is the cursor that was asked for; ``epoch`` and ``head`` are the server's. Follow again from ``start``, or with snapshots."""

    def __init__(self, stream: str, *, had: str, epoch: str, head: int) -> None:
        self.had, self.epoch, self.head = had, epoch, head
        super().__init__(stream, f"the cursor {had} is not of the server's history, which is {epoch} at version {head}")


class AccessEnded(FollowFailed):
    def __init__(self, stream: str, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(stream, f"the subscription has ended: {reason or code or 'no reason given'}")


class SubscriptionRefused(FollowFailed):
    def __init__(self, stream: str, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(stream, f"{detail} ({code})")


class GapNotRepaired(FollowFailed):
    def __init__(self, stream: str, *, expected: int, received: int) -> None:
        self.expected, self.received = expected, received
        super().__init__(stream, f"expected version {expected}, received {received}; asking again did not help")


class AlreadyFollowed(FollowFailed):
    def __init__(self, stream: str) -> None:
        super().__init__(stream, "is followed by this client already")
