-- Answers of models that were generated here, one row each, from their start on. Times are those of the log.
CREATE VIEW analytics.generations AS
SELECT analytics.pseudonym(g.stream_id, a) AS conversation_id, analytics.pseudonym(g.message_id, a) AS message_id, g.kind, g.listed,
       analytics.pseudonym(g.user_id, a) AS person_id,
       g.requested_model_id, g.model_id, g.base_model_id, g.provider_name, g.is_arena, g.is_continued, g.started_at, g.first_token_at, g.ended_at, g.outcome,
       g.finish_reason, g.error_code, g.provider_status, g.input_tokens, g.output_tokens, g.cached_tokens, g.reasoning_tokens, g.deltas,
       g.characters, g.tool_calls, g.retries, g.first_token_ms, g.duration_ms, g.gap_p50_ms, g.gap_p95_ms, g.gap_p99_ms, g.gap_max_ms,
       (SELECT (g.input_tokens * r.input_per_million + g.output_tokens * r.output_per_million) / 1000000
          FROM public.model_prices AS r
         WHERE r.model_id IN (g.model_id, g.base_model_id) AND r.since <= (g.started_at AT TIME ZONE 'UTC')::date
         ORDER BY r.model_id = g.model_id DESC, r.since DESC LIMIT 1) AS cost
  FROM stenograph_figures.counted_generations AS g CROSS JOIN public.analyst_settings AS a
 WHERE g.origin = 'here';

COMMENT ON VIEW analytics.generations IS 'Answers of models that were generated here, one row each, from their start on. Times are those of the log.';
COMMENT ON COLUMN analytics.generations.conversation_id IS 'The chat or channel.';
COMMENT ON COLUMN analytics.generations.message_id IS 'The answer.';
COMMENT ON COLUMN analytics.generations.kind IS 'chat or channel.';
COMMENT ON COLUMN analytics.generations.listed IS 'False: the chat was made for one completion.';
COMMENT ON COLUMN analytics.generations.person_id IS 'Who asked.';
COMMENT ON COLUMN analytics.generations.requested_model_id IS 'The model that was asked: an arena, or the same as model_id.';
COMMENT ON COLUMN analytics.generations.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.generations.base_model_id IS 'Of a custom model: the model that it stands on.';
COMMENT ON COLUMN analytics.generations.provider_name IS 'The provider that was asked, by its name in the settings; null: the log does not say.';
COMMENT ON COLUMN analytics.generations.is_arena IS 'An arena was asked, and picked the model.';
COMMENT ON COLUMN analytics.generations.is_continued IS 'It goes on from an answer that ended early.';
COMMENT ON COLUMN analytics.generations.started_at IS 'When it began.';
COMMENT ON COLUMN analytics.generations.first_token_at IS 'When its first token was in the log; null: there was none, or it is open.';
COMMENT ON COLUMN analytics.generations.ended_at IS 'When it ended; null: it is open.';
COMMENT ON COLUMN analytics.generations.outcome IS 'completed, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN analytics.generations.finish_reason IS 'Why the provider stopped, as it said.';
COMMENT ON COLUMN analytics.generations.error_code IS 'Of a failed one: what happened.';
COMMENT ON COLUMN analytics.generations.provider_status IS 'Of a failed one: the HTTP status of the provider.';
COMMENT ON COLUMN analytics.generations.input_tokens IS 'Tokens read, as the provider said; null: it did not.';
COMMENT ON COLUMN analytics.generations.output_tokens IS 'Tokens written, as the provider said; null: it did not.';
COMMENT ON COLUMN analytics.generations.cached_tokens IS 'Of the tokens read those from a cache.';
COMMENT ON COLUMN analytics.generations.reasoning_tokens IS 'Of the tokens written those of reasoning.';
COMMENT ON COLUMN analytics.generations.deltas IS 'Pieces in which it arrived.';
COMMENT ON COLUMN analytics.generations.characters IS 'Characters of all pieces, reasoning and tool calls included.';
COMMENT ON COLUMN analytics.generations.tool_calls IS 'Tools that the model called.';
COMMENT ON COLUMN analytics.generations.retries IS 'Times that the provider refused and was asked again.';
COMMENT ON COLUMN analytics.generations.first_token_ms IS 'Milliseconds from its start to its first token.';
COMMENT ON COLUMN analytics.generations.duration_ms IS 'Milliseconds from its start to its end.';
COMMENT ON COLUMN analytics.generations.gap_p50_ms IS 'Median of the milliseconds between two pieces.';
COMMENT ON COLUMN analytics.generations.gap_p95_ms IS 'Their 95th percentile.';
COMMENT ON COLUMN analytics.generations.gap_p99_ms IS 'Their 99th percentile.';
COMMENT ON COLUMN analytics.generations.gap_max_ms IS 'The longest.';
COMMENT ON COLUMN analytics.generations.cost IS 'By the price of the day; null: no price, or the tokens are unknown.';
