-- name: users
-- $1 int: offset. $2 int: rows at most. Each account holds one e-mail address: its claim leads to it.
SELECT claims.stream_id, count(*) OVER () AS total
  FROM claims JOIN events AS made ON made.stream_id = claims.stream_id AND made.version = 1
 WHERE claims.kind = 'email'
 ORDER BY made.position
OFFSET $1
 LIMIT $2;
