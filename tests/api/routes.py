"""The routes of a test's server: made once, and given the parts of one server after the other.

Making them takes longer than most tests do. Two servers that run at the same time have routes of their own.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from litestar import Litestar

from api.app import Routes, routes_of
from api.process.server import System

_idle: defaultdict[tuple[Sequence[str], bool], list[Routes]] = defaultdict(list)  # by the settings that are the app's own


@contextlib.contextmanager
def routes_for(system: System) -> Iterator[Litestar]:
    """The app on ``system``. After a failure it is not used again."""
    idle = _idle[system.settings.allowed_origins, system.settings.docs_public]
    routes = idle.pop() if idle else routes_of(system.settings)
    yield routes.on(system)
    idle.append(routes)
