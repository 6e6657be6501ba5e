"""A span for each HTTP request, where tracing is switched on: the first of its trace, or a part of the caller's."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from commands.tracing import CURRENT, Span

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER: Final = b"traceparent"
NOT_TRACED: Final = frozenset({"/health", "/ready", "/metrics"})  # what watches a process asks every few seconds
STREAMED: Final = b"text/event-stream"


class RequestSpan(Span, Protocol):
    """The span of one request."""

    def end(self, route: str, status: int) -> None:
        """``route``: the template of the path, "" where there is none; ``status`` 0: there was no response."""
        ...

    def fail(self, error: BaseException) -> None:
        """It ended with an error of the server."""
        ...


class TracedRequests:
    """``begin(method, traceparent)`` gives the span of a request, None for one that is not sampled."""

    def __init__(self, app: App, begin: Callable[[str, str | None], RequestSpan | None]) -> None:
        self._app = app
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NOT_TRACED:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), None)
        span = self._begin(scope["method"], None if given is None else given.decode("latin-1"))
        if span is None:
            await self._app(scope, receive, send)
            return
        status = 0
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                # The template: the path itself may hold a token, and ids of people.
                span.end(str(scope.get("path_template") or ""), status)

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if any(name == b"content-type" and value.startswith(STREAMED) for name, value in message["headers"]):
                    end()  # an event stream lasts for hours; what it carries has spans of its own
            await send(message)

        before = CURRENT.set(span)
        try:
            await self._app(scope, receive, sending)
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            CURRENT.reset(before)
            end()
