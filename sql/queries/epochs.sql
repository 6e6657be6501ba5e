-- name: newest_epoch
SELECT epoch, system_identifier, timeline, since_position FROM epochs ORDER BY recorded_at DESC, since_position DESC LIMIT 1;

-- name: add_epoch!
INSERT INTO epochs (epoch, system_identifier, timeline, since_position) VALUES ($1, $2, $3, $4);

-- name: this_server
SELECT (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
       coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS head,
       current_setting('fsync') AS fsync;

-- name: epoch_lock
-- Two servers that start at once mint one epoch, not two.
SELECT pg_advisory_xact_lock(7305804403);
