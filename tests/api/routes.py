"""The routes of a test's server: made once, and given the parts of one server after the other.

Making them takes longer than most tests do. Two servers that run at the same time have routes of their own.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from litestar import Litestar
from litestar.types import Receive, Scope, Send

from api.app import parts_of, routes_on
from api.process.server import System


class Routes:
    """One app, and what it serves at the moment."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._parts: dict[str, Any] = parts_of(system)

        async def sockets(scope: Scope, receive: Receive, send: Send) -> None:
            await self._system.sockets(scope, receive, send)

        async def page_sockets(scope: Scope, receive: Receive, send: Send) -> None:
            await self._system.page_sockets(scope, receive, send)

        settings = system.settings
        self.app = routes_on(self._parts, sockets, page_sockets, settings.allowed_origins, docs_public=settings.docs_public)

    def give(self, system: System) -> None:
        self._system = system
        self._parts.update(parts_of(system))
        self.app.state["accounts"] = system.accounts


_idle: defaultdict[tuple[Sequence[str], bool], list[Routes]] = defaultdict(list)  # by the settings that are the app's own


@contextlib.contextmanager
def routes_for(system: System) -> Iterator[Litestar]:
    """The app on ``system``. After a failure it is not used again."""
    idle = _idle[system.settings.allowed_origins, system.settings.docs_public]
    if idle:
        routes = idle.pop()
        routes.give(system)
    else:
        routes = Routes(system)
    yield routes.app
    idle.append(routes)
