"""How many responses of each HTTP status this process has begun."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from litestar.types import Message, Scope

from commands.metrics import Labelled, MetricFigure


class ResponseCounts:
    def __init__(self) -> None:
        self._by_status: Counter[int] = Counter()

    def note(self, status: int) -> None:
        self._by_status[status] += 1

    def figures(self) -> Iterator[MetricFigure]:
        """The metric of responses (``commands/metrics.py``)."""
        by_status = Labelled("status", {str(status): count for status, count in sorted(self._by_status.items())})
        yield "counter", "stenograph_http_responses", "HTTP responses.", by_status


def counts_responses(counts_of: Callable[[], ResponseCounts]) -> Callable[[Message, Scope], Awaitable[None]]:
    """Litestar's ``before_send``. ``counts_of`` is asked for each response."""

    async def count(message: Message, _: Scope) -> None:
        if message["type"] == "http.response.start":
            counts_of().note(message["status"])

    return count
