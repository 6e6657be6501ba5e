"""A small Python client that resumes by cursor and yields each event exactly once.

It speaks Stenograph's protocol over websockets and httpx, and imports nothing of the server, so that it is installed without it.
Start reading with ``Client.follow``.

    async with Client("http://localhost:8080", email=…, password=…) as client:
        async for event in client.follow("chat/0190…", after="start"):
            print(event.type, event.data)
            save(event.cursor)

``client.py`` is what a program calls, ``session.py`` which event comes next (pure), ``connection.py`` and ``sse.py`` the ways to the
server, ``backoff.py`` how long to wait, ``errors.py`` everything that can go wrong.
"""

from stenograph_client.backoff import Backoff
from stenograph_client.client import ENDS, Account, Begun, Client, Page
from stenograph_client.connection import State
from stenograph_client.errors import (
    AccessEnded,
    AlreadyFollowed,
    ApiError,
    ClientError,
    Conflict,
    ConnectionStopped,
    CursorGone,
    EpochChanged,
    FollowFailed,
    Forbidden,
    GapNotRepaired,
    NotFound,
    NotSignedIn,
    ServerUnreachable,
    SubscriptionRefused,
)
from stenograph_client.events import CaughtUp, Cursor, Event, Item, Snapshot, User, parse_cursor

__all__ = [
    "ENDS",
    "AccessEnded",
    "Account",
    "AlreadyFollowed",
    "ApiError",
    "Backoff",
    "Begun",
    "CaughtUp",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionStopped",
    "Cursor",
    "CursorGone",
    "EpochChanged",
    "Event",
    "FollowFailed",
    "Forbidden",
    "GapNotRepaired",
    "Item",
    "NotFound",
    "NotSignedIn",
    "Page",
    "ServerUnreachable",
    "Snapshot",
    "State",
    "SubscriptionRefused",
    "User",
    "parse_cursor",
]
