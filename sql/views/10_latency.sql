-- How long each model's answers took, by the times of the log.
CREATE VIEW analytics.latency AS
SELECT p.granularity, date_trunc(p.granularity, g.started_at) AS period, g.model_id, count(g.first_token_ms) AS answers,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.first_token_ms) AS first_token_p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY g.first_token_ms) AS first_token_p95_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY g.first_token_ms) AS first_token_p99_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.duration_ms) AS duration_p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY g.duration_ms) AS duration_p95_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY g.duration_ms) AS duration_p99_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.gap_p50_ms) AS gap_p50_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY g.gap_p99_ms) AS gap_p99_ms,
       max(g.gap_max_ms) AS gap_max_ms
  FROM analytics.generations AS g
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 GROUP BY p.granularity, date_trunc(p.granularity, g.started_at), g.model_id;

COMMENT ON VIEW analytics.latency IS 'How long each model''s answers took, by the times of the log.';
COMMENT ON COLUMN analytics.latency.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.latency.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.latency.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.latency.answers IS 'That had a token.';
COMMENT ON COLUMN analytics.latency.first_token_p50_ms IS 'Milliseconds to the first token: the median.';
COMMENT ON COLUMN analytics.latency.first_token_p95_ms IS 'The same: 95 of 100 took no longer.';
COMMENT ON COLUMN analytics.latency.first_token_p99_ms IS 'The same: 99 of 100 took no longer.';
COMMENT ON COLUMN analytics.latency.duration_p50_ms IS 'Milliseconds to the end: the median.';
COMMENT ON COLUMN analytics.latency.duration_p95_ms IS 'The same: 95 of 100 took no longer.';
COMMENT ON COLUMN analytics.latency.duration_p99_ms IS 'The same: 99 of 100 took no longer.';
COMMENT ON COLUMN analytics.latency.gap_p50_ms IS 'Median over answers of their median milliseconds between two pieces.';
COMMENT ON COLUMN analytics.latency.gap_p99_ms IS '99th percentile over answers of their 99th percentile.';
COMMENT ON COLUMN analytics.latency.gap_max_ms IS 'The longest between two pieces.';
