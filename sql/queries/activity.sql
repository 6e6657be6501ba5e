-- name: note_active!
-- $1 uuid[]: people who were seen just now. By the database's clock: those of two servers may differ.
INSERT INTO activity (user_id, last_active_at) SELECT user_id, now() FROM unnest($1::uuid[]) AS seen(user_id) ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET last_active_at = excluded.last_active_at;

-- name: last_active
-- $1 uuid[]: people.
SELECT user_id, last_active_at FROM activity WHERE user_id = ANY ($1::uuid[]);

-- name: count_active
-- $1 float8: seconds. By the database's clock, like the rows.
SELECT count(*)::int AS active FROM activity WHERE last_active_at > now() - make_interval(secs => $1);
