-- How much each model was asked.
CREATE VIEW analytics.models AS
SELECT p.granularity, date_trunc(p.granularity, g.started_at) AS period, g.model_id, count(*) AS answers,
       count(DISTINCT g.user_id) AS people, count(DISTINCT g.stream_id) AS conversations,
       count(*) FILTER (WHERE g.is_arena) AS arena_answers,
       (count(*) FILTER (WHERE g.outcome = 'failed'))::double precision / count(*) AS failure_share
  FROM stenograph_figures.counted_generations AS g
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 WHERE g.origin = 'here'
 GROUP BY p.granularity, date_trunc(p.granularity, g.started_at), g.model_id;

COMMENT ON VIEW analytics.models IS 'How much each model was asked.';
COMMENT ON COLUMN analytics.models.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.models.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.models.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.models.answers IS 'That began.';
COMMENT ON COLUMN analytics.models.people IS 'Who asked it.';
COMMENT ON COLUMN analytics.models.conversations IS 'In which it was asked.';
COMMENT ON COLUMN analytics.models.arena_answers IS 'Of the answers those for which an arena picked it.';
COMMENT ON COLUMN analytics.models.failure_share IS 'Share of answers that ended in an error, from 0 to 1.';
