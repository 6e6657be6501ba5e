-- Tokens as the providers said, and what they cost.
CREATE VIEW analytics.tokens AS
SELECT p.granularity, date_trunc(p.granularity, g.started_at) AS period, g.model_id, count(*) AS answers, count(g.output_tokens) AS known_answers,
       sum(g.input_tokens) AS input_tokens, sum(g.output_tokens) AS output_tokens, sum(g.cached_tokens) AS cached_tokens,
       sum(g.reasoning_tokens) AS reasoning_tokens, sum(g.cost) AS cost
  FROM analytics.generations AS g
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 GROUP BY p.granularity, date_trunc(p.granularity, g.started_at), g.model_id;

COMMENT ON VIEW analytics.tokens IS 'Tokens as the providers said, and what they cost.';
COMMENT ON COLUMN analytics.tokens.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.tokens.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.tokens.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.tokens.answers IS 'That began.';
COMMENT ON COLUMN analytics.tokens.known_answers IS 'Of these, those whose tokens are known.';
COMMENT ON COLUMN analytics.tokens.input_tokens IS 'Read; null: unknown.';
COMMENT ON COLUMN analytics.tokens.output_tokens IS 'Written; null: unknown.';
COMMENT ON COLUMN analytics.tokens.cached_tokens IS 'Of those read those from a cache.';
COMMENT ON COLUMN analytics.tokens.reasoning_tokens IS 'Of those written those of reasoning.';
COMMENT ON COLUMN analytics.tokens.cost IS 'By the prices of the days; null: no price.';
