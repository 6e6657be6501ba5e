-- Reads of a whole log for a file: chat by chat in order of their ids, so that the file does not depend on how batches fell.

-- name: export_chats
-- $1 uuid: the last one that was read. $2 uuid: a person, or null. $3 int: rows at most. Deleted ones are among them.
SELECT s.stream_id, s.stream_id::text AS name
  FROM streams AS s
 WHERE s.kind = 'chat' AND ($1::uuid IS NULL OR s.stream_id > $1)
   AND ($2::uuid IS NULL OR $2 = (SELECT (e.data ->> 'owner_id')::uuid FROM events AS e WHERE e.stream_id = s.stream_id AND e.version = 1))
 ORDER BY s.stream_id
 LIMIT $3;

-- name: export_events
-- $1 uuid: a chat. $2 int: the last version that was read. $3 int: rows at most. Times in microseconds since 1970.
SELECT e.version, e.type, e.message_id::text, e.actor, e.data,
       (extract(epoch FROM coalesce(o.recorded_at, e.recorded_at)) * 1000000)::bigint AS at_us
  FROM events AS e LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.stream_id = $1 AND e.version > $2
 ORDER BY e.version
 LIMIT $3;

-- name: export_blob
SELECT content FROM blobs WHERE stream_id = $1 AND sha256 = decode($2, 'hex');

-- name: export_owner
-- $1 text: an e-mail address.
SELECT stream_id FROM claims WHERE kind = 'email' AND key = $1;

-- name: export_total
-- About how many events there are: positions have no gaps.
SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS events;
