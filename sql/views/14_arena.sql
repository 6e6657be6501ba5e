-- Each model against each other. Ranks with their confidence: GET /api/v1/analytics/arena.
CREATE VIEW analytics.arena AS
SELECT s.model_id, s.opponent_model_id, sum(s.won) AS won, sum(s.lost) AS lost, sum(s.won)::double precision / count(*) AS won_share
  FROM (SELECT winner_model_id AS model_id, loser_model_id AS opponent_model_id, 1 AS won, 0 AS lost FROM analytics.duels
        UNION ALL
        SELECT loser_model_id, winner_model_id, 0, 1 FROM analytics.duels) AS s
 GROUP BY s.model_id, s.opponent_model_id;

COMMENT ON VIEW analytics.arena IS 'Each model against each other. Ranks with their confidence: GET /api/v1/analytics/arena.';
COMMENT ON COLUMN analytics.arena.model_id IS 'The model.';
COMMENT ON COLUMN analytics.arena.opponent_model_id IS 'The other.';
COMMENT ON COLUMN analytics.arena.won IS 'Duels that it won.';
COMMENT ON COLUMN analytics.arena.lost IS 'Duels that it lost.';
COMMENT ON COLUMN analytics.arena.won_share IS 'Share of duels that it won.';
