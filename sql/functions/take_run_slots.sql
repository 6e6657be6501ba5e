-- Takes a slot for each generation, all or none: null, or how many the account holds already. Slots that are free again are removed first.
-- One caller of an account after the other, in all processes: the lock lasts until the commit, and each statement sees what the one
-- before it committed (READ COMMITTED). Safe to repeat: slots of the same tasks are not counted twice.
CREATE OR REPLACE FUNCTION take_run_slots(
    p_user     uuid,
    p_node     uuid,
    p_chat     uuid,
    p_tasks    uuid[],
    p_messages uuid[],
    p_runs_max integer
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    held integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('run slots ' || p_user, 0));
    DELETE FROM run_slots AS r WHERE r.user_id = p_user AND NOT run_slot_is_held(r);
    SELECT count(*) INTO held FROM run_slots AS r WHERE r.user_id = p_user AND r.task_id <> ALL (p_tasks);
    IF held + cardinality(p_tasks) > p_runs_max THEN
        RETURN held;
    END IF;
    INSERT INTO run_slots (task_id, user_id, node_id, chat_id, message_id)
    SELECT task_id, p_user, p_node, p_chat, message_id FROM unnest(p_tasks, p_messages) AS one(task_id, message_id)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
