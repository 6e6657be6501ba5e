"""What the security log says of requests and sockets: refusals by their status, and acts by their route."""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast

from litestar.types import Message, Scope

from api.request.loggable_path import loggable_path
from api.request.request_id import request_id
from commands import security_log
from domain.errors import AccountInactive, Forbidden, NotAuthenticated, StenographError, StreamNotFound, TooManyAttempts, WrongCredentials

PRINCIPAL: Final = "principal"  # the key in a request's state, as in api/request/authentication.py
CODE: Final = "error_code"
REFUSALS: Final = (AccountInactive, Forbidden, NotAuthenticated, StreamNotFound, TooManyAttempts, WrongCredentials)
REFUSED: Final = frozenset({401, 403, 429})
# What changes who may do what. A failure of it is recorded as ``…_failed``.
ACTS: Final[Mapping[str, str]] = {
    "POST /api/v1/auths/signin": "sign_in",
    "POST /api/v1/auths/signup": "sign_up",
    "POST /api/v1/auths/signout": "sign_out",
    "GET /api/v1/auths/signout": "sign_out",
    "POST /api/v1/auths/update/password": "password_change",
    "POST /api/v1/auths/api_key": "api_key_made",
    "DELETE /api/v1/auths/api_key": "api_keys_revoked",
    "POST /api/v1/auths/keys": "api_key_made",
    "DELETE /api/v1/auths/keys/{key_id}": "api_keys_revoked",
    "DELETE /api/v1/auths/sessions": "sessions_ended",
    "DELETE /api/v1/auths/sessions/{session_id}": "sessions_ended",
    "POST /api/v1/auths/add": "account_added",
    "GET /api/v1/users": "accounts_listed",
    "POST /api/v1/users/{user_id}/update": "account_changed",
    "DELETE /api/v1/users/{user_id}": "account_deactivated",
    "POST /api/v1/functions/create": "function_made",
    "POST /api/v1/functions/id/{function_id}/update": "function_changed",
    "POST /api/v1/functions/id/{function_id}/update/version": "function_changed",
    "POST /api/v1/functions/id/{function_id}/toggle": "function_switched",
    "POST /api/v1/functions/id/{function_id}/toggle/global": "function_switched",
    "POST /api/v1/functions/id/{function_id}/valves/update": "function_valves_changed",
    "DELETE /api/v1/functions/id/{function_id}/delete": "function_deleted",
    "POST /api/v1/models/create": "model_changed",
    "POST /api/v1/models/import": "models_imported",
    "POST /api/v1/models/model/toggle": "model_changed",
    "POST /api/v1/models/model/update": "model_changed",
    "POST /api/v1/models/model/access/update": "model_access_changed",
    "POST /api/v1/models/model/delete": "model_deleted",
    "DELETE /api/v1/models/delete/all": "models_deleted",
    "POST /api/v1/groups/create": "group_changed",
    "POST /api/v1/groups/id/{group_id}/update": "group_changed",
    "POST /api/v1/groups/id/{group_id}/users/add": "group_members_added",
    "POST /api/v1/groups/id/{group_id}/users/remove": "group_members_removed",
    "DELETE /api/v1/groups/id/{group_id}/delete": "group_deleted",
    "POST /api/v1/providers": "provider_added",
    "POST /api/v1/providers/{provider_id}": "provider_changed",
    "DELETE /api/v1/providers/{provider_id}": "provider_removed",
    "POST /api/v1/channels/{channel_id}/webhooks/create": "webhook_made",
    "DELETE /api/v1/channels/{channel_id}/webhooks/{webhook_id}/delete": "webhook_revoked",
    "POST /api/v1/channels/{channel_id}/webhooks/outgoing/create": "webhook_made",
    "DELETE /api/v1/channels/{channel_id}/webhooks/outgoing/{webhook_id}/delete": "webhook_revoked",
    "POST /openai/config/update": "provider_changed",
    "POST /ollama/config/update": "provider_changed",
}


def begin(scope: MutableMapping[str, Any]) -> None:
    """A request or a WebSocket arrives."""
    client = scope.get("client")
    scope.setdefault("state", {})
    # The path without its query, which may hold a ticket.
    security_log.begin(
        request_id=request_id(cast(Scope, scope)),
        address=client[0] if client else None,
        method=scope.get("method"),
        path=loggable_path(scope["path"]),
    )


def note_code(scope: Scope, code: str) -> None:
    """The refusal that a response says."""
    scope["state"][CODE] = code


async def record_response(message: Message, scope: Scope) -> None:
    """Litestar's ``before_send``."""
    if message["type"] != "http.response.start":
        return
    status, state = message["status"], scope["state"]
    principal = state.get(PRINCIPAL)
    route = f"{scope.get('method')} {str(scope.get('path_template') or '').rstrip('/')}"
    act = ACTS.get(route)
    if act is not None:
        event = act if status < 400 else f"{act}_failed"
    elif status in REFUSED:
        event = "refused"
    else:
        return
    named = scope.get("path_params", {})
    target = named.get("user_id", named.get("group_id"))
    who = {} if principal is None else {"account": principal.user_id, "role": principal.role}
    security_log.record(event, status=status, code=state.get(CODE), **who, **({"target": target} if target is not None else {}))


def record_socket(error: StenographError, account: object) -> None:
    """A WebSocket was refused something: the handshake, or a stream."""
    if isinstance(error, REFUSALS):
        security_log.record("refused", code=error.code, account=account)
