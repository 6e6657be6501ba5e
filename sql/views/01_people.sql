-- Accounts.
CREATE VIEW analytics.people AS
SELECT analytics.pseudonym(u.user_id, a) AS person_id, u.role, u.created_at, u.deactivated_at
  FROM stenograph_figures.counted_people AS u CROSS JOIN public.analyst_settings AS a;

COMMENT ON VIEW analytics.people IS 'Accounts.';
COMMENT ON COLUMN analytics.people.person_id IS 'Whose account it is.';
COMMENT ON COLUMN analytics.people.role IS 'admin, user or pending, as it is now.';
COMMENT ON COLUMN analytics.people.created_at IS 'When it was made.';
COMMENT ON COLUMN analytics.people.deactivated_at IS 'When it was closed; null: it is open.';
