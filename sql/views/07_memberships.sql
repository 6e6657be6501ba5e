-- Who was a member of a channel or group from when to when.
CREATE VIEW analytics.memberships AS
SELECT analytics.pseudonym(m.stream_id, a) AS conversation_id, m.kind, analytics.pseudonym(m.user_id, a) AS person_id, m.role, m.joined_at, m.left_at
  FROM stenograph_figures.counted_memberships AS m CROSS JOIN public.analyst_settings AS a;

COMMENT ON VIEW analytics.memberships IS 'Who was a member of a channel or group from when to when.';
COMMENT ON COLUMN analytics.memberships.conversation_id IS 'The channel or group.';
COMMENT ON COLUMN analytics.memberships.kind IS 'channel or group.';
COMMENT ON COLUMN analytics.memberships.person_id IS 'The member.';
COMMENT ON COLUMN analytics.memberships.role IS 'member or manager, as it was last.';
COMMENT ON COLUMN analytics.memberships.joined_at IS 'When they joined.';
COMMENT ON COLUMN analytics.memberships.left_at IS 'When they left or were removed; null: they are there.';
