"""What the generations of a process came to: counted once for each, when its run is over."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from commands.metrics import LONG_SECONDS, Histogram, MetricFigure, counted
from commands.providers.provider import PROVIDER_CODES
from projections.figures.usage import Tokens

# ``elsewhere``: another process ended it, or its stream is gone.
Outcome = Literal["completed", "failed", "cancelled", "interrupted", "elsewhere"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("completed", "failed", "cancelled", "interrupted", "elsewhere")


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run that is over. It holds nothing that anybody said."""

    outcome: Outcome
    model: str  # its public id; of a direct connection that is its user's word
    owned_by: str  # the kind of its provider: "openai", "ollama", "demo", "pipe", "direct"; "" where it is not known
    duration_s: float  # from its start to the end of the provider's answer
    first_token_s: float | None  # from its start; None: nothing came
    tokens: Tokens  # as the provider said
    chunks: int  # pieces that the provider sent
    finish_reason: str | None
    error_code: str | None  # of a failed one
    provider_error: str | None  # what the provider failed with


class RunFigures:
    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._provider_errors: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._chunks = 0
        self._duration_s = Histogram(LONG_SECONDS)
        self._first_token_s = Histogram(LONG_SECONDS)

    def count(self, report: RunReport) -> None:
        self._outcomes[report.outcome] += 1
        self._chunks += report.chunks
        self._duration_s.observe(report.duration_s)
        if report.first_token_s is not None:
            self._first_token_s.observe(report.first_token_s)
        if report.provider_error is not None:
            self._provider_errors[report.provider_error] += 1
        self._tokens["input"] += report.tokens.input or 0
        self._tokens["output"] += report.tokens.output or 0

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of generations (``commands/metrics.py``)."""
        of = "stenograph_generation"
        yield "counter", f"{of}s", "Generations that are over.", counted("outcome", OUTCOMES, self._outcomes)
        yield "histogram", f"{of}_duration_seconds", "From the start of a generation to the end of its answer.", self._duration_s
        yield "histogram", f"{of}_first_token_seconds", "From the start of a generation to its first token.", self._first_token_s
        yield "counter", f"{of}_tokens", "Tokens as the providers counted them.", counted("type", ("input", "output"), self._tokens)
        yield "counter", f"{of}_chunks", "Pieces of answers that were appended.", self._chunks
        errors = counted("code", PROVIDER_CODES, self._provider_errors)
        yield "counter", "stenograph_provider_errors", "Generations that a provider failed.", errors
