-- How answers ended.
CREATE VIEW analytics.outcomes AS
SELECT p.granularity, date_trunc(p.granularity, g.started_at) AS period, g.model_id, g.outcome, g.finish_reason, g.error_code, count(*) AS answers
  FROM analytics.generations AS g
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 GROUP BY p.granularity, date_trunc(p.granularity, g.started_at), g.model_id, g.outcome, g.finish_reason, g.error_code;

COMMENT ON VIEW analytics.outcomes IS 'How answers ended.';
COMMENT ON COLUMN analytics.outcomes.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.outcomes.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.outcomes.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.outcomes.outcome IS 'completed, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN analytics.outcomes.finish_reason IS 'As the provider said.';
COMMENT ON COLUMN analytics.outcomes.error_code IS 'Of failed ones.';
COMMENT ON COLUMN analytics.outcomes.answers IS 'How many.';
