"""The scope that an API key needs for each route: one row a route, and a route without a row is for no key that has scopes.

Tokens of a sign-in, and keys without scopes, may do whatever their account may. ``/ws`` needs ``read``, and ``chat`` for what it writes.
"""

from collections.abc import Mapping
from typing import Final

from domain.api_key import SCOPES, Scope

Scopes = frozenset[Scope]  # one of them is enough

EVERY: Final[Scopes] = frozenset(SCOPES)
READ: Final[Scopes] = frozenset({"read"})  # also included in ``chat``
CHAT: Final[Scopes] = frozenset({"chat"})
ACCOUNT: Final[Scopes] = frozenset({"account"})
ADMIN: Final[Scopes] = frozenset({"admin"})

ROUTE_SCOPES: Final[Mapping[str, Scopes]] = {
    "GET /api/v1/auths": EVERY,
    "POST /api/v1/auths/ticket": READ,
    "GET /api/v1/users/user/settings": READ,
    "GET /api/v1/users/{user_id}": READ,
    "GET /api/v1/chats": READ,
    "GET /api/v1/chats/list": READ,
    "GET /api/v1/chats/search": READ,
    "GET /api/v1/chats/pinned": READ,
    "GET /api/v1/chats/archived": READ,
    "GET /api/v1/chats/archived/count": READ,
    "GET /api/v1/chats/folder/{folder_id}": READ,
    "GET /api/v1/chats/folder/{folder_id}/list": READ,
    "POST /api/v1/chats/tags": READ,
    "GET /api/v1/chats/all/tags": READ,
    "GET /api/v1/chats/all": READ,
    "GET /api/v1/chats/all/archived": READ,
    "GET /api/v1/chats/stats/usage": READ,
    "GET /api/v1/chats/stats/export": READ,
    "GET /api/v1/chats/stats/export/{chat_id}": READ,
    "GET /api/v1/chats/{chat_id}": READ,
    "GET /api/v1/chats/{chat_id}/messages": READ,
    "GET /api/v1/chats/{chat_id}/events": READ,
    "GET /api/v1/chats/{chat_id}/pinned": READ,
    "GET /api/v1/chats/{chat_id}/tags": READ,
    "GET /api/v1/chats/share/{share_id}": READ,
    "GET /api/v1/chats/shared": READ,
    "GET /api/v1/chats/shared/{chat_id}/access": READ,
    "GET /api/v1/chats/{chat_id}/export": READ,
    "GET /api/v1/folders": READ,
    "GET /api/v1/folders/{folder_id}": READ,
    "GET /api/tasks": READ,
    "GET /api/tasks/chat/{chat_id}": READ,
    "GET /api/models": READ,
    "GET /v1/models": READ,
    "GET /v1/models/{model_id}": READ,
    "GET /api/v1/streams/{kind}/{stream_id}/events": READ,
    "GET /api/v1/streams/{kind}/{stream_id}/blobs/{sha256}": READ,
    "POST /api/v1/chats/new": CHAT,
    "DELETE /api/v1/chats": CHAT,
    "POST /api/v1/chats/archive/all": CHAT,
    "POST /api/v1/chats/unarchive/all": CHAT,
    "POST /api/v1/chats/import": CHAT,
    "POST /api/v1/chats/read": CHAT,
    "POST /api/v1/chats/{chat_id}": CHAT,
    "DELETE /api/v1/chats/{chat_id}": CHAT,
    "PATCH /api/v1/chats/{chat_id}/params": CHAT,
    "POST /api/v1/chats/{chat_id}/messages": CHAT,
    "POST /api/v1/chats/{chat_id}/messages/{message_id}": CHAT,
    "DELETE /api/v1/chats/{chat_id}/messages/{message_id}": CHAT,
    "POST /api/v1/chats/{chat_id}/messages/{message_id}/event": CHAT,
    "POST /api/v1/chats/{chat_id}/messages/{message_id}/rating": CHAT,
    "POST /api/v1/chats/{chat_id}/branch": CHAT,
    "POST /api/v1/chats/{chat_id}/access": CHAT,
    "POST /api/v1/chats/{chat_id}/pin": CHAT,
    "POST /api/v1/chats/{chat_id}/archive": CHAT,
    "POST /api/v1/chats/{chat_id}/folder": CHAT,
    "POST /api/v1/chats/{chat_id}/tags": CHAT,
    "DELETE /api/v1/chats/{chat_id}/tags": CHAT,
    "DELETE /api/v1/chats/{chat_id}/tags/all": CHAT,
    "POST /api/v1/chats/{chat_id}/read": CHAT,
    "POST /api/v1/chats/{chat_id}/unread": CHAT,
    "POST /api/v1/chats/{chat_id}/share": CHAT,
    "DELETE /api/v1/chats/{chat_id}/share": CHAT,
    "DELETE /api/v1/chats/share/all": CHAT,
    "POST /api/v1/chats/shared/{chat_id}/access/update": CHAT,
    "POST /api/v1/chats/{chat_id}/clone": CHAT,
    "POST /api/v1/chats/{share_id}/clone/shared": CHAT,
    "POST /api/v1/chats/{chat_id}/fork": CHAT,
    "POST /api/v1/folders": CHAT,
    "POST /api/v1/folders/{folder_id}/update": CHAT,
    "POST /api/v1/folders/{folder_id}/update/parent": CHAT,
    "POST /api/v1/folders/{folder_id}/update/expanded": CHAT,
    "DELETE /api/v1/folders/{folder_id}": CHAT,
    "POST /api/chat/completions": CHAT,
    "POST /api/tasks/stop/{task_id}": CHAT,
    "POST /api/tasks/chat/{chat_id}/stop": CHAT,
    "POST /v1/chat/completions": CHAT,
    "POST /api/v1/auths/update/password": ACCOUNT,
    "POST /api/v1/auths/update/profile": ACCOUNT,
    "GET /api/v1/auths/api_key": ACCOUNT,
    "POST /api/v1/auths/api_key": ACCOUNT,
    "DELETE /api/v1/auths/api_key": ACCOUNT,
    "POST /api/v1/users/user/settings/update": ACCOUNT,
    "GET /api/v1/auths/keys": ACCOUNT,
    "POST /api/v1/auths/keys": ACCOUNT,
    "DELETE /api/v1/auths/keys/{key_id}": ACCOUNT,
    "GET /api/v1/auths/sessions": ACCOUNT,
    "DELETE /api/v1/auths/sessions": ACCOUNT,
    "DELETE /api/v1/auths/sessions/{session_id}": ACCOUNT,
    "DELETE /api/v1/users/{user_id}": ACCOUNT | ADMIN,
    "POST /api/v1/auths/add": ADMIN,
    "GET /api/v1/users": ADMIN,
    "POST /api/v1/users/{user_id}/update": ADMIN,
    "GET /api/v1/chats/all/db": ADMIN,
    "GET /api/v1/chats/list/user/{user_id}": ADMIN,
    "GET /api/v1/log": ADMIN,
    "GET /api/v1/users/{user_id}/keys": ADMIN,
    "DELETE /api/v1/users/{user_id}/keys": ADMIN,
    "DELETE /api/v1/users/{user_id}/keys/{key_id}": ADMIN,
    "DELETE /api/v1/users/{user_id}/sessions": ADMIN,
}


def scopes_for(method: str, path: str) -> Scopes:
    """The scopes of which an API key needs one. ``path`` is the route's, with its parameters in braces."""
    return ROUTE_SCOPES.get(f"{method} {path.rstrip('/')}", frozenset())
