-- name: users
-- $1 int: offset. $2 int: rows at most. Each account holds one e-mail address: its claim leads to it.
SELECT claims.stream_id, count(*) OVER () AS total
  FROM claims JOIN events AS made ON made.stream_id = claims.stream_id AND made.version = 1
 WHERE claims.kind = 'email'
 ORDER BY made.position
OFFSET $1
 LIMIT $2;

-- name: users_found
-- $1 text: a piece of a name, in small letters. $2 boolean: it is looked for in e-mail addresses, too; otherwise only a whole address is found.
-- $3 boolean: also accounts that are deactivated, or pending. $4 boolean: in the order of names, otherwise of their making. $5 boolean: the
-- last one first. $6 int: offset. $7 int: rows at most.
SELECT found.stream_id, count(*) OVER () AS total
  FROM (SELECT c.stream_id, c.key, made.position,
               (SELECT e.data ->> 'name' FROM events AS e
                 WHERE e.stream_id = c.stream_id AND e.type IN ('user_created', 'user_renamed', 'role_changed', 'user_deactivated')
                   AND e.type IN ('user_created', 'user_renamed')
                 ORDER BY e.version DESC LIMIT 1) AS name,
               (SELECT e.data ->> 'role' FROM events AS e
                 WHERE e.stream_id = c.stream_id AND e.type IN ('user_created', 'user_renamed', 'role_changed', 'user_deactivated')
                   AND e.type IN ('user_created', 'role_changed')
                 ORDER BY e.version DESC LIMIT 1) AS role
          FROM claims AS c JOIN events AS made ON made.stream_id = c.stream_id AND made.version = 1
         WHERE c.kind = 'email') AS found
 WHERE (strpos(lower(found.name), $1) > 0 OR found.key = $1 OR ($2 AND strpos(found.key, $1) > 0))
   AND ($3 OR (found.role <> 'pending'
               AND NOT EXISTS (SELECT FROM events AS e
                                WHERE e.stream_id = found.stream_id
                                  AND e.type IN ('user_created', 'user_renamed', 'role_changed', 'user_deactivated')
                                  AND e.type = 'user_deactivated')))
 ORDER BY CASE WHEN $4 AND NOT $5 THEN lower(found.name) END, CASE WHEN $4 AND $5 THEN lower(found.name) END DESC,
          CASE WHEN NOT $5 THEN found.position END, found.position DESC
OFFSET $6
 LIMIT $7;
