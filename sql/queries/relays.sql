-- name: open_relay!
-- $1 uuid: a call. $2 uuid: who is asked. $3 uuid: the node that waits. $4 bytea: the question.
INSERT INTO relays (call_id, user_id, node_id, question) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: relay_question
-- $1 uuid: a call. $2 uuid: who asks for it.
SELECT question FROM relays WHERE call_id = $1 AND user_id = $2;

-- name: relay_chunk
-- See sql/functions/relay_chunk.sql.
SELECT outcome, next_seq FROM relay_chunk($1, $2, $3, $4, $5, $6, $7);

-- name: take_chunks
-- $1 uuid: a call. $2 int: the chunk that was taken last; those up to it go. $3 int: chunks at most. Safe to repeat: what is returned stays
-- until the next call.
WITH done AS (
    DELETE FROM relayed_chunks WHERE call_id = $1 AND seq <= $2 RETURNING octet_length(chunk) AS bytes
),
counted AS (
    UPDATE relays SET waiting = waiting - (SELECT count(*) FROM done), waiting_bytes = waiting_bytes - (SELECT sum(bytes) FROM done)
     WHERE call_id = $1 AND EXISTS (SELECT FROM done)
)
SELECT seq, session_id, chunk FROM relayed_chunks WHERE call_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: close_relay!
-- $1 uuid: a call.
WITH gone AS (DELETE FROM relays WHERE call_id = $1)
DELETE FROM relayed_chunks WHERE call_id = $1;

-- name: close_relays_of_node!
-- $1 uuid: a node that is gone.
WITH gone AS (DELETE FROM relays WHERE node_id = $1 RETURNING call_id)
DELETE FROM relayed_chunks WHERE call_id IN (SELECT call_id FROM gone);
