"""The only table from an error to its HTTP status and WebSocket close code.

Answers are ``application/problem+json`` (RFC 9457); below ``/v1`` they have OpenAI's shape (``openai_errors.py``).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from api.request import anthropic_errors, openai_errors, security_log
from api.request.loggable_path import loggable_path
from api.request.request_id import request_id
from domain import errors

logger = structlog.get_logger("api")

RETRY_AFTER_S: Final = 1
MEDIA_TYPE: Final = "application/problem+json"


class ErrorStatus(NamedTuple):
    status: int
    close: int  # for a WebSocket that cannot go on


TABLE: Final[Mapping[type[errors.StenographError], ErrorStatus]] = {
    errors.StenographError: ErrorStatus(500, 1011),
    errors.Refusal: ErrorStatus(400, 1008),
    errors.BadStreamName: ErrorStatus(400, 1008),
    errors.BadCursor: ErrorStatus(400, 1008),
    errors.BadRequest: ErrorStatus(400, 1008),
    errors.BadSearch: ErrorStatus(400, 1008),
    errors.ContentRefused: ErrorStatus(400, 1008),
    errors.BodyTooLarge: ErrorStatus(413, 1009),
    errors.NotAuthenticated: ErrorStatus(401, 4401),
    errors.WrongCredentials: ErrorStatus(400, 4401),  # at sign-in; 400 in the reference
    errors.Forbidden: ErrorStatus(403, 4403),
    errors.ScopeMissing: ErrorStatus(403, 4403),
    errors.AccountInactive: ErrorStatus(403, 4403),
    errors.TooManyAttempts: ErrorStatus(429, 4429),
    errors.ChatToActInNotFound: ErrorStatus(404, 4403),  # as in the reference
    errors.ChatNotFound: ErrorStatus(401, 4403),  # the reference says 401 for a chat that is not yours, and its clients expect it
    errors.StreamNotFound: ErrorStatus(404, 4403),
    errors.MessageNotFound: ErrorStatus(404, 1008),
    errors.ShareRefused: ErrorStatus(403, 4403),
    errors.TooManyOffers: ErrorStatus(429, 1008),
    errors.BeforeFirstEvent: ErrorStatus(404, 1008),
    errors.ImportRefused: ErrorStatus(400, 1008),
    errors.BadLine: ErrorStatus(400, 1008),
    errors.ModelNotFound: ErrorStatus(400, 1008),  # as in the reference; 404 below /v1
    errors.ModelEntryNotFound: ErrorStatus(401, 1008),  # as in the reference
    errors.ModelExists: ErrorStatus(401, 1008),  # as in the reference
    errors.ArenaEmpty: ErrorStatus(400, 1008),
    errors.GroupNotFound: ErrorStatus(404, 1008),
    errors.ProviderNotFound: ErrorStatus(404, 1008),
    errors.ChannelNotFound: ErrorStatus(404, 4403),
    errors.ChannelExists: ErrorStatus(409, 1008),
    errors.NotAThread: ErrorStatus(400, 1008),
    errors.WebhookNotFound: ErrorStatus(404, 1008),
    errors.ResponseNotFound: ErrorStatus(404, 1008),
    errors.TooLarge: ErrorStatus(413, 1008),
    errors.UserNotFound: ErrorStatus(400, 1008),  # as in the reference
    errors.TaskNotFound: ErrorStatus(404, 1008),
    errors.ApiKeyNotFound: ErrorStatus(404, 1008),
    errors.SessionNotFound: ErrorStatus(404, 1008),
    errors.FolderNotFound: ErrorStatus(404, 1008),
    errors.FolderExists: ErrorStatus(409, 1008),
    errors.FolderNameTaken: ErrorStatus(400, 1008),  # as in the reference
    errors.FolderCycle: ErrorStatus(400, 1008),
    errors.FunctionNotFound: ErrorStatus(401, 1008),  # as in the reference
    errors.FunctionVersionNotFound: ErrorStatus(404, 1008),
    errors.ActionNotFound: ErrorStatus(400, 1008),  # as in the reference
    errors.ActionNotAvailable: ErrorStatus(400, 1008),
    errors.FunctionExists: ErrorStatus(400, 1008),  # as in the reference
    errors.FunctionInactive: ErrorStatus(400, 1008),
    errors.FunctionReadOnly: ErrorStatus(400, 1008),
    errors.FunctionNotLoaded: ErrorStatus(400, 1008),
    errors.ValvesRefused: ErrorStatus(400, 1008),
    errors.ChatExists: ErrorStatus(409, 1008),
    errors.MessageExists: ErrorStatus(409, 1008),
    errors.ParentNotFound: ErrorStatus(400, 1008),
    errors.GenerationNotOpen: ErrorStatus(409, 1008),
    errors.GenerationOpen: ErrorStatus(409, 1008),
    errors.DeltaGap: ErrorStatus(409, 1008),
    errors.BlockGap: ErrorStatus(409, 1008),
    errors.CallNotFound: ErrorStatus(404, 1008),
    errors.CallTaken: ErrorStatus(409, 1008),
    errors.CallExpired: ErrorStatus(409, 1008),
    errors.TooManyCalls: ErrorStatus(429, 1008),
    errors.ChunkGap: ErrorStatus(409, 1008),
    errors.QuotaReached: ErrorStatus(403, 4403),
    errors.RateReached: ErrorStatus(429, 4409),
    errors.ChatFull: ErrorStatus(413, 1008),
    errors.ChatChanged: ErrorStatus(409, 1008),
    errors.EditConflict: ErrorStatus(409, 1008),
    errors.ClaimTaken: ErrorStatus(400, 1008),  # a known e-mail address: 400 in the reference
    errors.CommandMismatch: ErrorStatus(422, 1008),
    errors.CursorGone: ErrorStatus(410, 1008),
    errors.ConcurrencyConflict: ErrorStatus(409, 1008),
    errors.TooManyLostRaces: ErrorStatus(409, 1008),
    errors.Unavailable: ErrorStatus(503, 1013),
    errors.LogUnavailable: ErrorStatus(503, 1013),
    errors.ProjectionBehind: ErrorStatus(503, 1013),
    errors.Overloaded: ErrorStatus(503, 1013),
    errors.ProviderFailed: ErrorStatus(502, 1011),
    errors.PipelineFailed: ErrorStatus(502, 1011),
    errors.FilterRefused: ErrorStatus(502, 1011),
    errors.FunctionFailed: ErrorStatus(400, 1011),  # as in the reference: a function is no part of the server
}

# Of what Litestar and the HTTP protocol below it refuse by themselves.
CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "no_such_route",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    421: "host_not_allowed",
    429: "too_many_connections",
    431: "headers_too_large",
}


def error_status(error: errors.StenographError) -> ErrorStatus:
    return next(TABLE[known] for known in type(error).__mro__ if known in TABLE)


def members(error: errors.StenographError) -> dict[str, Any]:
    """What a program may want beside the text."""
    match error:
        case errors.ConcurrencyConflict(expected=expected, current=current):
            return {"expected": expected, "current": current}
        case errors.EditConflict(conflicts=conflicts, expected=expected, current=current):
            return {"expected": expected, "current": current, "conflicts": conflicts}
        case errors.CursorGone(epoch=epoch, head=head):
            return {"epoch": str(epoch), "head": head}
        case errors.DeltaGap(expected_seq=expected, received_seq=received):
            return {"expected_seq": expected, "received_seq": received}
        case errors.CallTaken(by=by, session_id=session_id):
            return {"by": str(by), "session_id": session_id}
        case errors.CallExpired(reason=reason):
            return {"reason": reason}
        case errors.ChunkGap(expected_seq=expected, received_seq=received):
            return {"expected_seq": expected, "received_seq": received}
        case errors.BlockGap(open_blocks=blocks, received_index=received):
            return {"open_blocks": blocks, "received_index": received}
        case errors.QuotaReached(quota=quota, used=used, limit=limit):
            return {"quota": quota, "used": used, "limit": limit}
        case errors.ChatFull(used=used, limit=limit):
            return {"used": used, "limit": limit}
        case errors.BadRequest(param=str(param)) | errors.ResponseNotFound(param=str(param)):
            return {"param": param}
        case errors.ProviderFailed(said=said) if said:
            return {"provider": dict(said)}
        case errors.FunctionNotLoaded(function_id=function_id, reason=reason, line=line):
            return {"function_id": function_id, "reason": reason, "line": line}
        case errors.FunctionFailed(function_id=function_id, reason=reason):
            return {"function_id": function_id, "reason": reason}
        case errors.ValvesRefused(function_id=function_id, problems=problems):
            return {"function_id": function_id, "problems": [{"name": name, "reason": why} for name, why in problems]}
        case _:
            return {}


def status_of(error: errors.StenographError) -> int:
    """The table's, but a provider's refusal keeps its own status: a client must not repeat what cannot succeed."""
    if isinstance(error, errors.ProviderFailed):
        return status_of_provider(error.said)
    return error_status(error).status


def status_of_provider(said: Mapping[str, Any]) -> int:
    """The HTTP status for a failure of a provider: its own, or 502 where it gave none. ``said`` as in ``ProviderFailed``."""
    status = said.get("status")
    return status if isinstance(status, int) and 400 <= status <= 599 else TABLE[errors.ProviderFailed].status


def headers_of_provider(said: Mapping[str, Any]) -> dict[str, str]:
    retry_after = said.get("retry_after")
    return {"retry-after": str(retry_after)} if retry_after else {}


def problem(
    request: Request[Any, Any, Any], status: int, code: str, detail: str, more: Mapping[str, Any], headers: dict[str, str]
) -> Response[dict[str, Any]]:
    """The answer that says ``code`` and ``detail``, in the shape that the clients of this route read."""
    security_log.note_code(request.scope, code)
    if anthropic_errors.is_spoken(request.url.path, request.headers):
        status = openai_errors.STATUSES.get(code, status)
        return Response(anthropic_errors.shaped(status, detail, more), status_code=status, headers=headers)
    if openai_errors.is_spoken(request.url.path):
        status = openai_errors.STATUSES.get(code, status)
        return Response(openai_errors.shaped(status, code, detail, more), status_code=status, headers=headers)
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code, **more}
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def known_error(request: Request[Any, Any, Any], error: errors.StenographError) -> Response[dict[str, Any]]:
    status = status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.TooManyAttempts | errors.RateReached):
        headers["retry-after"] = str(error.retry_after_s)
    elif isinstance(error, errors.ProviderFailed):
        headers |= headers_of_provider(error.said)
    elif status == 503:
        headers["retry-after"] = str(RETRY_AFTER_S)
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    if error_status(error).status == 500:
        return unknown_error(request, error)
    if isinstance(error, errors.Unavailable):
        logger.warning(
            "request_not_served",
            request_id=request_id(request.scope),
            method=request.method,
            path=loggable_path(request.url.path),
            code=error.code,
            error=str(error),
        )
    return problem(request, status, error.code, error.detail, members(error), headers)


def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """What Litestar itself refuses: no such route, a body that does not fit, a method that is not there."""
    status = error.status_code
    if status >= 500:
        return unknown_error(request, error)
    detail = error.detail
    if isinstance(error, ValidationException):
        detail = "; ".join(reasons(error)) or detail
    elif status == 404:
        detail = "there is no such route; /docs lists them"
    elif status == 405:
        detail = f"{request.method} is not for this route; /docs says what is"
    elif status == 413:
        detail = f"expected a body of at most {request.route_handler.resolve_request_max_body_size()} bytes"
    return problem(request, status, CODES.get(status, "bad_request"), detail, {}, dict(error.headers or {}))


def undecodable(request: Request[Any, Any, Any], _error: UnicodeDecodeError) -> Response[dict[str, Any]]:
    """A body or a query that is no UTF-8."""
    return problem(request, 400, "bad_request", "expected text in UTF-8", {}, {})


def too_deep(request: Request[Any, Any, Any], _error: RecursionError) -> Response[dict[str, Any]]:
    """A body whose JSON is nested beyond the stack of the decoder."""
    return problem(request, 400, "bad_request", "expected JSON that is nested less deeply", {}, {})


def printable(path: str) -> str:
    """A path for the log: escaped, so that control characters in it do not reach a terminal."""
    return quote(path)


def reasons(error: ValidationException) -> list[str]:
    extra = error.extra if isinstance(error.extra, list) else []
    said = []
    for one in extra:
        if isinstance(one, dict):
            key = one.get("key")
            said.append(f"{key}: {one.get('message')}" if key else str(one.get("message")))
    return said


def unknown_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Our own bug: all of it goes to the log, none of it to the caller."""
    logger.error(
        "request_failed",
        request_id=request_id(request.scope),
        method=request.method,
        path=printable(loggable_path(request.url.path)),
        exc_info=error,
    )
    more = {"request_id": request_id(request.scope)}
    return problem(request, 500, "internal", "the server made a mistake; it has been logged under this request id", more, {})


HANDLERS: Final[dict[Any, Any]] = {
    errors.StenographError: known_error,
    HTTPException: http_error,
    UnicodeDecodeError: undecodable,
    RecursionError: too_deep,
    Exception: unknown_error,
}
