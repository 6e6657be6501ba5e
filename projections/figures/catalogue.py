"""What can be asked: metrics, and the dimensions by which they are split and chosen. Published as it stands here."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Source = Literal["generations", "messages", "ratings", "memberships", "people"]
Aggregate = Literal["count", "share", "sum", "max", "distinct", "percentile"]


class Metric(msgspec.Struct, frozen=True):
    """One number of a group of rows: ``aggregate`` of ``column``, of the rows in which ``where`` holds, if it is there.

    ``share`` is how many of all rows have ``where``, from 0 to 1. Of no rows, or where nothing is known,
    all but ``count`` and ``distinct`` are null.
    """

    name: str
    source: Source
    unit: str
    description: str
    aggregate: Aggregate = "count"
    column: str | None = None
    where: tuple[str, str] | None = None  # a column and the text of its value
    fraction: float | None = None  # of a percentile


class Dimension(msgspec.Struct, frozen=True):
    name: str
    description: str
    columns: Mapping[Source, str]  # which sources have it, and as which column


def percentiles(name: str, source: Source, column: str, what: str) -> list[Metric]:
    return [
        Metric(
            f"{name}_p{percent}",
            source,
            "ms",
            f"{what}: {percent} of 100 answers took no longer.",
            "percentile",
            column,
            None,
            percent / 100,
        )
        for percent in (50, 95, 99)
    ]


G: Final = "generations"
M: Final = "messages"
R: Final = "ratings"
ALL_METRICS: Final = (
    Metric("generations", G, "answers", "Answers of models that began."),
    Metric("completed", G, "answers", "Answers that came to their end.", where=("outcome", "completed")),
    Metric("failed", G, "answers", "Answers that ended in an error.", where=("outcome", "failed")),
    Metric("cancelled", G, "answers", "Answers that a person stopped.", where=("outcome", "cancelled")),
    Metric("interrupted", G, "answers", "Answers whose server stopped or died.", where=("outcome", "interrupted")),
    Metric("open", G, "answers", "Answers that have not ended.", where=("outcome", "open")),
    Metric("failure_share", G, "share", "Share of answers that ended in an error, from 0 to 1.", "share", None, ("outcome", "failed")),
    Metric("continued", G, "answers", "Answers that go on from one that ended early.", where=("is_continued", "true")),
    Metric("retries", G, "times", "How often a provider refused and was asked again.", "sum", "retries"),
    Metric("input_tokens", G, "tokens", "Tokens read, as the providers said.", "sum", "input_tokens"),
    Metric("output_tokens", G, "tokens", "Tokens written, as the providers said.", "sum", "output_tokens"),
    Metric("cached_tokens", G, "tokens", "Of the tokens read those that came from a cache.", "sum", "cached_tokens"),
    Metric("reasoning_tokens", G, "tokens", "Of the tokens written those of reasoning.", "sum", "reasoning_tokens"),
    Metric("cost", G, "currency", "By the prices that were set, of the answers whose tokens are known.", "sum", "cost"),
    Metric("deltas", G, "deltas", "Pieces in which answers arrived.", "sum", "deltas"),
    Metric("characters", G, "characters", "Characters that were streamed, reasoning and tool calls included.", "sum", "characters"),
    Metric("tool_calls", G, "calls", "Tools that models called.", "sum", "tool_calls"),
    Metric("askers", G, "people", "People who asked a model.", "distinct", "user_id"),
    *percentiles("first_token_ms", G, "first_token_ms", "From the start of an answer to its first token"),
    *percentiles("duration_ms", G, "duration_ms", "From the start of an answer to its end"),
    *percentiles("gap_p50_ms", G, "gap_p50_ms", "An answer's median time between two deltas"),
    *percentiles("gap_p99_ms", G, "gap_p99_ms", "An answer's 99th percentile of the times between two deltas"),
    Metric("gap_max_ms", G, "ms", "The longest time between two deltas of one answer.", "max", "gap_max_ms"),
    Metric(
        "tokens_per_second_p50",
        G,
        "tokens/s",
        "Median speed of answers after their first token.",
        "percentile",
        "tokens_per_second",
        None,
        0.5,
    ),
    Metric("messages", M, "messages", "Messages, of people and of models."),
    Metric("questions", M, "messages", "Messages of people.", where=("role", "user")),
    Metric("answers", M, "messages", "Messages of models, imported ones included.", where=("role", "assistant")),
    Metric("deleted_messages", M, "messages", "Messages that were deleted since.", where=("is_deleted", "true")),
    Metric("edits", M, "times", "How often the text of messages was changed.", "sum", "edits"),
    Metric("reactions", M, "reactions", "Reactions that are on messages.", "sum", "reactions"),
    Metric("written_characters", M, "characters", "Characters of messages.", "sum", "characters"),
    Metric("message_input_tokens", M, "tokens", "Tokens read, imported answers included.", "sum", "input_tokens"),
    Metric("message_output_tokens", M, "tokens", "Tokens written, imported answers included.", "sum", "output_tokens"),
    Metric("people", M, "people", "People who wrote, or asked.", "distinct", "user_id"),
    Metric("conversations", M, "conversations", "Chats and channels in which something was written.", "distinct", "stream_id"),
    Metric("models", M, "models", "Models that answered.", "distinct", "answering_model_id"),
    Metric("ratings", R, "ratings", "Ratings that count: a person's last one of each message."),
    Metric("thumbs_up", R, "ratings", "Ratings of 1.", where=("rating", "1")),
    Metric("thumbs_down", R, "ratings", "Ratings of -1.", where=("rating", "-1")),
    Metric("approval", R, "share", "Share of ratings that are 1, from 0 to 1.", "share", None, ("rating", "1")),
    Metric("joins", "memberships", "people", "Times that a person joined a channel or a group."),
    Metric("leaves", "memberships", "people", "Of these, those who have left since.", where=("has_left", "true")),
    Metric("new_accounts", "people", "accounts", "Accounts that were made."),
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in ALL_METRICS}

IN_CONVERSATIONS: Final[Mapping[Source, str]] = {"generations": "kind", "messages": "kind", "ratings": "kind", "memberships": "kind"}
ALL_DIMENSIONS: Final = (
    Dimension("model", "The model that answered; of a question the model that was asked.", {G: "model_id", M: "model_id", R: "model_id"}),
    Dimension("base_model", "Of a custom model: the model that it stands on.", {G: "base_model_id", M: "base_model_id"}),
    Dimension("requested_model", "The model that was asked: an arena, or the same.", {G: "requested_model_id", R: "requested_model_id"}),
    Dimension("provider", "The provider that was asked, by its name in the settings.", {G: "provider_name"}),
    Dimension(
        "person",
        "Who asked, wrote, rated or joined.",
        {G: "user_id", M: "user_id", R: "user_id", "memberships": "user_id", "people": "user_id"},
    ),
    Dimension("conversation", "The chat or channel.", {G: "stream_id", M: "stream_id", R: "stream_id", "memberships": "stream_id"}),
    Dimension("kind", "`chat` or `channel`; of a membership `channel` or `group`.", IN_CONVERSATIONS),
    Dimension("listed", "`false`: a chat that was made for one completion.", {G: "listed", M: "listed"}),
    Dimension("outcome", "`completed`, `failed`, `cancelled`, `interrupted` or `open`.", {G: "outcome"}),
    Dimension("finish_reason", "As the provider said.", {G: "finish_reason"}),
    Dimension("error", "The code of the error that ended an answer.", {G: "error_code"}),
    Dimension("arena", "`true`: an arena was asked.", {G: "is_arena"}),
    Dimension(
        "role",
        "Of a message `user`, `assistant`, `system`, `webhook`; of an account or a member its role.",
        {M: "role", "memberships": "role", "people": "role"},
    ),
    Dimension("origin", "`here`, or `imported` from elsewhere. Copies are not counted.", {M: "origin"}),
    Dimension("rating", "`1` or `-1`.", {R: "rating"}),
)
DIMENSIONS: Final[Mapping[str, Dimension]] = {dimension.name: dimension for dimension in ALL_DIMENSIONS}
GRANULARITIES: Final = ("hour", "day", "week", "month")
