-- name: add_outgoing_webhook!
-- $3 bytea: what the log does not hold. $4 int: what comes above this version of the channel is sent. Safe to repeat.
INSERT INTO outgoing_webhooks (webhook_id, channel_id, secrets, sent_version) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: remove_outgoing_webhook!
DELETE FROM outgoing_webhooks WHERE webhook_id = $1;

-- name: outgoing_channels
SELECT DISTINCT channel_id FROM outgoing_webhooks;

-- name: outgoing_states
-- $1 uuid[]: webhooks.
SELECT webhook_id, sent_version, sent, sent_at, failures, failure, due_at FROM outgoing_webhooks WHERE webhook_id = ANY ($1::uuid[]);

-- name: take_outgoing_webhooks
-- $1 uuid: the node. $2 float: the lease in seconds. $3 int: at most. Those that have something to send, are due, and are sent for by no other
-- node; those that have waited longest first. A node that dies is followed by another one when its lease is over.
UPDATE outgoing_webhooks AS w
   SET node_id = $1, leased_until = clock_timestamp() + make_interval(secs => $2::float8)
  FROM (SELECT webhook_id FROM outgoing_webhooks AS due
         WHERE due.due_at <= clock_timestamp() AND due.leased_until <= clock_timestamp()
           AND due.sent_version < (SELECT max(e.version) FROM events AS e WHERE e.stream_id = due.channel_id)
         ORDER BY due.due_at
         LIMIT $3
           FOR UPDATE SKIP LOCKED) AS taken
 WHERE w.webhook_id = taken.webhook_id
RETURNING w.webhook_id, w.channel_id, w.secrets, w.sent_version, w.failures;

-- name: note_outgoing_sent
-- $1 uuid: the webhook. $2 uuid: the node that holds it. $3 int: sent up to here. $4 int: how many more were taken. $5 float: the lease from now on,
-- in seconds; 0 gives it back. No row: the node does not hold it any more.
UPDATE outgoing_webhooks
   SET sent_version = $3, sent = sent + $4, sent_at = CASE WHEN $4 > 0 THEN clock_timestamp() ELSE sent_at END, failures = 0, failure = NULL,
       due_at = clock_timestamp(), leased_until = clock_timestamp() + make_interval(secs => $5::float8)
 WHERE webhook_id = $1 AND node_id = $2 AND leased_until > clock_timestamp()
RETURNING webhook_id;

-- name: note_outgoing_failure
-- $3 text: why. $4 float: when to try again, in seconds from now.
UPDATE outgoing_webhooks
   SET failures = failures + 1, failure = $3, due_at = clock_timestamp() + make_interval(secs => $4::float8), leased_until = clock_timestamp()
 WHERE webhook_id = $1 AND node_id = $2
RETURNING webhook_id;
