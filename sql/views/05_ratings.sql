-- Ratings of messages, also those that a later one of the same person supersedes.
CREATE VIEW analytics.ratings AS
SELECT analytics.pseudonym(r.stream_id, a) AS conversation_id, analytics.pseudonym(r.message_id, a) AS message_id,
       analytics.pseudonym(r.user_id, a) AS person_id, r.model_id,
       r.requested_model_id AS arena_id, r.rating, r.rated_at, r.superseded_at
  FROM stenograph_figures.counted_ratings AS r JOIN stenograph_figures.counted_conversations AS c USING (stream_id) CROSS JOIN public.analyst_settings AS a
 WHERE r.version >= c.imported_version;

COMMENT ON VIEW analytics.ratings IS 'Ratings of messages, also those that a later one of the same person supersedes.';
COMMENT ON COLUMN analytics.ratings.conversation_id IS 'The chat.';
COMMENT ON COLUMN analytics.ratings.message_id IS 'What was rated.';
COMMENT ON COLUMN analytics.ratings.person_id IS 'Who rated.';
COMMENT ON COLUMN analytics.ratings.model_id IS 'The model that answered.';
COMMENT ON COLUMN analytics.ratings.arena_id IS 'The arena that was asked; null: none was.';
COMMENT ON COLUMN analytics.ratings.rating IS '1 or -1.';
COMMENT ON COLUMN analytics.ratings.rated_at IS 'When.';
COMMENT ON COLUMN analytics.ratings.superseded_at IS 'When the same person rated it again or took the rating back; null: it counts.';
