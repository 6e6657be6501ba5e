-- How each model's answers were rated, by ratings that count.
CREATE VIEW analytics.approval AS
SELECT p.granularity, date_trunc(p.granularity, r.rated_at) AS period, r.model_id, count(*) AS ratings,
       count(*) FILTER (WHERE r.rating = 1) AS thumbs_up, count(*) FILTER (WHERE r.rating = -1) AS thumbs_down,
       (avg((r.rating = 1)::integer))::double precision AS approval
  FROM analytics.ratings AS r
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 WHERE r.superseded_at IS NULL
 GROUP BY p.granularity, date_trunc(p.granularity, r.rated_at), r.model_id;

COMMENT ON VIEW analytics.approval IS 'How each model''s answers were rated, by ratings that count.';
COMMENT ON COLUMN analytics.approval.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.approval.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.approval.model_id IS 'The model that was rated.';
COMMENT ON COLUMN analytics.approval.ratings IS 'How many.';
COMMENT ON COLUMN analytics.approval.thumbs_up IS 'Ratings of 1.';
COMMENT ON COLUMN analytics.approval.thumbs_down IS 'Ratings of -1.';
COMMENT ON COLUMN analytics.approval.approval IS 'Share of ratings that are 1.';
