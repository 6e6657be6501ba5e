"""Generations in the words of OpenTelemetry's conventions for generative AI: attributes of spans, and the metrics.

Names, units and buckets: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (attributes of version 1.37).
"""

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter

from commands.generation.run_figures import RunReport

OPERATION: Final = "chat"
DIRECT: Final = "direct"  # its model is named by its user
# The finish reasons that are reported by name. Any other is a provider's own text, and is reported as ``OTHER``.
FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})
OTHER: Final = "other"
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
FIRST_TOKEN_SECONDS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_SECONDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


def generation_attributes(model: str, owned_by: str) -> dict[str, str]:
    attributes = {"gen_ai.operation.name": OPERATION, "gen_ai.provider.name": owned_by or OTHER}
    return attributes if owned_by == DIRECT or not model else {**attributes, "gen_ai.request.model": model}


def report_attributes(report: RunReport) -> Mapping[str, Any]:
    """What the span of a generation holds besides, once it is over."""
    attributes: dict[str, Any] = {"stenograph.generation.outcome": report.outcome, "stenograph.generation.chunks": report.chunks}
    if report.finish_reason is not None:
        attributes["gen_ai.response.finish_reasons"] = [report.finish_reason if report.finish_reason in FINISH_REASONS else OTHER]
    if report.tokens.input is not None:
        attributes["gen_ai.usage.input_tokens"] = report.tokens.input
    if report.tokens.output is not None:
        attributes["gen_ai.usage.output_tokens"] = report.tokens.output
    if report.first_token_s is not None:
        attributes["stenograph.generation.first_token_s"] = report.first_token_s
    if report.error_code is not None:
        attributes["error.type"] = report.error_code
    return attributes


class GenerationMetrics:
    """One value in each histogram for a generation that is over, whether or not it is traced."""

    def __init__(self, meter: Meter) -> None:
        def histogram(name: str, unit: str, text: str, bounds: tuple[float, ...]) -> Any:
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)

        self._duration = histogram("gen_ai.client.operation.duration", "s", "Duration of a generation.", SECONDS)
        self._tokens = histogram("gen_ai.client.token.usage", "{token}", "Tokens of a generation, as its provider said.", TOKENS)
        first_token, per_token = "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"
        self._first_token = histogram(first_token, "s", "Time to the first token of an answer.", FIRST_TOKEN_SECONDS)
        self._per_token = histogram(per_token, "s", "Time of a token after the first.", PER_TOKEN_SECONDS)

    def count(self, report: RunReport) -> None:
        attributes = generation_attributes(report.model, report.owned_by)
        failed = {} if report.error_code is None else {"error.type": report.error_code}
        self._duration.record(report.duration_s, attributes | failed)
        for kind, count in (("input", report.tokens.input), ("output", report.tokens.output)):
            if count is not None:
                self._tokens.record(count, attributes | {"gen_ai.token.type": kind})
        if report.outcome == "completed" and report.first_token_s is not None:
            self._first_token.record(report.first_token_s, attributes)
            if report.tokens.output is not None and report.tokens.output > 1:
                self._per_token.record((report.duration_s - report.first_token_s) / (report.tokens.output - 1), attributes)
