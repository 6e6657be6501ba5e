-- A rated answer against each answer of another model beside it, by ratings that count.
CREATE VIEW analytics.duels AS
SELECT analytics.pseudonym(d.stream_id, a) AS conversation_id, analytics.pseudonym(d.user_id, a) AS person_id,
       d.winner_model_id, d.loser_model_id, d.arena_id, d.decided_at
  FROM stenograph_figures.counted_duels AS d JOIN stenograph_figures.counted_ratings AS r USING (stream_id, version) JOIN stenograph_figures.counted_conversations AS c USING (stream_id) CROSS JOIN public.analyst_settings AS a
 WHERE r.superseded_at IS NULL AND d.version >= c.imported_version;

COMMENT ON VIEW analytics.duels IS 'A rated answer against each answer of another model beside it, by ratings that count.';
COMMENT ON COLUMN analytics.duels.conversation_id IS 'The chat.';
COMMENT ON COLUMN analytics.duels.person_id IS 'Who rated.';
COMMENT ON COLUMN analytics.duels.winner_model_id IS 'The better one.';
COMMENT ON COLUMN analytics.duels.loser_model_id IS 'The other.';
COMMENT ON COLUMN analytics.duels.arena_id IS 'The arena that was asked; null: the models were chosen.';
COMMENT ON COLUMN analytics.duels.decided_at IS 'When it was rated.';
