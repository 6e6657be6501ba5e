-- name: add_password!
INSERT INTO passwords (user_id, password_hash) VALUES ($1, $2);

-- name: newest_password
SELECT password_hash FROM passwords WHERE user_id = $1 ORDER BY added_at DESC LIMIT 1;

-- name: add_api_key!
INSERT INTO api_keys (key_hash, key_id, user_id) VALUES ($1, $2, $3);

-- name: api_key_owner
SELECT key_id, user_id FROM api_keys WHERE key_hash = $1;

-- name: propose_secret!
-- The first one proposed is the one for every process.
INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: secret
SELECT value FROM secrets WHERE name = $1;

-- name: put_ticket!
-- $4 interval: how long it is good for, by the database's own clock.
INSERT INTO tickets (ticket_hash, user_id, session, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4);

-- name: take_ticket
-- Taken once, by one caller in the cluster; those that are too old go with it.
WITH taken AS (
    DELETE FROM tickets WHERE ticket_hash = $1 OR expires_at < clock_timestamp()
    RETURNING ticket_hash, user_id, session, expires_at
)
SELECT user_id, session FROM taken WHERE ticket_hash = $1 AND expires_at >= clock_timestamp();
