-- name: take_run_slots
-- $1 uuid: an account. $2 uuid: a node. $3 uuid: a chat. $4 uuid[], $5 uuid[]: tasks, and the message of each. $6 int: slots at most.
SELECT take_run_slots($1, $2, $3, $4, $5, $6) AS held;

-- name: give_back_run_slots!
-- $1 uuid[]: tasks.
DELETE FROM run_slots WHERE task_id = ANY ($1::uuid[]);

-- name: count_run_slots
-- $1 uuid: an account.
SELECT count(*)::int AS held FROM run_slots AS r WHERE r.user_id = $1 AND run_slot_is_held(r);
