-- How far the log is counted.
CREATE VIEW analytics.freshness AS
SELECT p.position, p.moved_at, (SELECT max(e.position) FROM public.events AS e) - p.position AS events_behind, 1 AS version
  FROM public.projections AS p WHERE p.name = 'figures';

COMMENT ON VIEW analytics.freshness IS 'How far the log is counted.';
COMMENT ON COLUMN analytics.freshness.position IS 'Everything up to this position of the log is in the other views.';
COMMENT ON COLUMN analytics.freshness.moved_at IS 'When that last became more.';
COMMENT ON COLUMN analytics.freshness.events_behind IS 'Events of the log that are not counted yet.';
COMMENT ON COLUMN analytics.freshness.version IS 'Of these views: a column may be added in the same version, and what a column means changes only with a new one.';
