-- name: beat!
INSERT INTO nodes (node_id, beat, open_since) VALUES ($1, $2, $3)
ON CONFLICT (node_id) DO UPDATE SET beat = excluded.beat, open_since = excluded.open_since;

-- name: beats
SELECT node_id, beat, open_since FROM nodes;

-- name: leave!
DELETE FROM nodes WHERE node_id = $1;

-- name: open_generations
-- $1 bigint: a position. Every generation that began above it and has no end.
SELECT s.stream_id, s.message_id, (s.data ->> 'task_id')::uuid AS task_id, (s.data ->> 'node_id')::uuid AS node_id, s.version
  FROM events AS s
 WHERE s.position > $1 AND s.type = 'message_start'
   AND NOT EXISTS (SELECT FROM events AS e
                    WHERE e.position > s.position AND e.stream_id = s.stream_id AND e.version > s.version
                      AND e.message_id = s.message_id AND e.type IN ('message_end', 'error', 'cancelled', 'interrupted'));
