-- name: add_password!
-- The newest counts, so its time runs forward for each user, whatever the clock does.
INSERT INTO passwords (user_id, password_hash, added_at)
SELECT $1, $2, greatest(clock_timestamp(), max(added_at) + interval '1 microsecond') FROM passwords WHERE user_id = $1;

-- name: newest_password
SELECT password_hash FROM passwords WHERE user_id = $1 ORDER BY added_at DESC LIMIT 1;

-- name: add_api_key!
-- Nothing where it is there already: an insert whose answer was lost is made again. A key of somebody else cannot be, it is random.
INSERT INTO api_keys (key_hash, key_id, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: api_key_owner
SELECT key_id, user_id FROM api_keys WHERE key_hash = $1;

-- name: propose_secret!
-- The first one proposed is the one for every process.
INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: secret
SELECT value FROM secrets WHERE name = $1;

-- name: put_ticket!
-- $4 interval: how long it is good for, by the database's own clock. One in sixteen, by its hash, sweeps out those that nobody took.
WITH swept AS (
    DELETE FROM tickets WHERE get_byte($1, 0) < 16 AND expires_at < clock_timestamp()
)
INSERT INTO tickets (ticket_hash, user_id, session, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4)
    ON CONFLICT DO NOTHING;

-- name: take_ticket
-- Once, by one caller in the cluster.
WITH taken AS (DELETE FROM tickets WHERE ticket_hash = $1 RETURNING user_id, session, expires_at)
SELECT user_id, session FROM taken WHERE expires_at >= clock_timestamp();

-- name: add_session!
-- Those of the same person that are over are swept out with it.
WITH swept AS (
    DELETE FROM sessions WHERE user_id = $2 AND expires_at < clock_timestamp() RETURNING token_id
), unused AS (
    DELETE FROM credential_uses WHERE credential_id IN (SELECT token_id FROM swept)
)
INSERT INTO sessions (token_id, user_id, generation, address, user_agent, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING;

-- name: sessions
-- $2 int: at most, the newest first.
SELECT token_id, generation, address, user_agent, created_at, expires_at FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, token_id LIMIT $2;

-- name: note_used!
-- $1 uuid[]: tokens and keys that were used just now. By the database's clock.
INSERT INTO credential_uses (credential_id, last_used_at) SELECT credential_id, now() FROM unnest($1::uuid[]) AS used(credential_id)
 ORDER BY credential_id
ON CONFLICT (credential_id) DO UPDATE SET last_used_at = excluded.last_used_at;

-- name: last_used
-- $1 uuid[]: tokens and keys.
SELECT credential_id, last_used_at FROM credential_uses WHERE credential_id = ANY ($1::uuid[]);

-- name: add_provider_secrets!
-- Nothing where they are there already: an insert whose answer was lost is made again.
INSERT INTO provider_secrets (secret_id, secrets) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: provider_secrets
SELECT secrets FROM provider_secrets WHERE secret_id = $1;

-- name: forget_provider_secrets!
DELETE FROM provider_secrets WHERE secret_id = $1;
