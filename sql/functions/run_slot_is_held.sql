-- Whether the slot's generation runs, or is about to begin: its node lives, and the log has no end of it. One that the log does not have
-- after two minutes was never begun: an append is given up sooner.
CREATE OR REPLACE FUNCTION run_slot_is_held(p_slot run_slots) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM nodes AS n WHERE n.node_id = p_slot.node_id)
       AND NOT EXISTS (SELECT FROM events AS e
                        WHERE e.stream_id = p_slot.chat_id AND e.message_id = p_slot.message_id
                          AND e.type <> 'message_delta' AND e.type <> 'content_block'
                          AND e.type IN ('message_end', 'error', 'cancelled', 'interrupted'))
       AND (p_slot.taken_at > clock_timestamp() - interval '2 minutes'
            OR EXISTS (SELECT FROM events AS e
                        WHERE e.stream_id = p_slot.chat_id AND e.message_id = p_slot.message_id
                          AND e.type <> 'message_delta' AND e.type <> 'content_block' AND e.type = 'message_start'));
$$;
