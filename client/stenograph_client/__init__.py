"""A small Python client that resumes by cursor and yields each event exactly once.

It speaks Stenograph's protocol over websockets and httpx, and imports nothing of the server, so that it is installed without it.
Start reading with ``Client.follow``.

The examples are written as in ``python -m asyncio``, where ``await`` may stand outside of a function. Each runs as a test, as Ada:

>>> text = ""
>>> async with Client("http://localhost:8080", email="ada@example.org", password="correct horse battery") as client:
...     chat = await client.new_chat("The weather")
...     begun = await client.complete("demo:5", [{"role": "user", "content": "Will it rain?"}], chat_id=chat["id"])
...     async for event in client.follow(begun.stream, after="start"):
...         if event.type == "message_delta":
...             text += event.data["text"]
...         saved = event.cursor  # to go on behind it, later
...         if event.type in ENDS:
...             break
>>> text
'A page that is finished.'

``client.py`` is what a program calls, ``channel.py`` what it does in a channel and ``channel_view.py`` what it sees there, ``session.py``
which event comes next (pure), ``connection.py`` and ``sse.py`` the ways to the server, ``calls.py`` what the server asks the person,
``backoff.py`` how long to wait, ``errors.py`` everything that can go wrong.
"""

from stenograph_client.backoff import Backoff
from stenograph_client.calls import UNANSWERED, Call, CallWatch, OnCall
from stenograph_client.channel import Channel
from stenograph_client.channel_view import ChannelView
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
from stenograph_client.events import CaughtUp, ChannelLeft, Cursor, Event, Item, Signal, Snapshot, User, parse_cursor

__all__ = [
    "ENDS",
    "UNANSWERED",
    "AccessEnded",
    "Account",
    "AlreadyFollowed",
    "ApiError",
    "Backoff",
    "Begun",
    "Call",
    "CallWatch",
    "CaughtUp",
    "Channel",
    "ChannelLeft",
    "ChannelView",
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
    "OnCall",
    "Page",
    "ServerUnreachable",
    "Signal",
    "Snapshot",
    "State",
    "SubscriptionRefused",
    "User",
    "parse_cursor",
]
