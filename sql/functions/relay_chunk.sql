-- Take one chunk of a direct connection: the next one, or with p_seq NULL whatever is next. outcome says what became of it: ok, repeat (it
-- was taken before), gap, full, or unknown, where there is no such connection of this account. next_seq is the chunk expected from now on.
-- The row's lock puts two tabs that send at the same time in line.
CREATE OR REPLACE FUNCTION relay_chunk(p_call_id uuid, p_user_id uuid, p_seq integer, p_session_id text, p_chunk bytea,
                                       p_waiting_max integer, p_bytes_max integer)
RETURNS TABLE (outcome text, next_seq integer) LANGUAGE plpgsql AS $$
DECLARE
    relay relays;
BEGIN
    SELECT * INTO relay FROM relays AS r WHERE r.call_id = p_call_id AND r.user_id = p_user_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'unknown', 0;
    ELSIF p_seq < relay.next_seq THEN
        RETURN QUERY SELECT 'repeat', relay.next_seq;
    ELSIF p_seq > relay.next_seq THEN
        RETURN QUERY SELECT 'gap', relay.next_seq;
    ELSIF relay.waiting >= p_waiting_max OR relay.waiting_bytes >= p_bytes_max THEN
        RETURN QUERY SELECT 'full', relay.next_seq;
    ELSE
        INSERT INTO relayed_chunks (call_id, seq, session_id, chunk) VALUES (p_call_id, relay.next_seq, p_session_id, p_chunk);
        UPDATE relays AS r
           SET next_seq = r.next_seq + 1, waiting = r.waiting + 1, waiting_bytes = r.waiting_bytes + octet_length(p_chunk)
         WHERE r.call_id = p_call_id;
        RETURN QUERY SELECT 'ok', relay.next_seq + 1;
    END IF;
END
$$;
