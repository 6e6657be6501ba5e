-- Whether an event can be written: writes one that needs room of its own and takes it back, so nobody ever sees it.
-- p_data: some ten kilobytes that do not compress, so that they fit into no page that is there.
-- Raises what the write raises: no room, no permission, read-only. Each call leaves dead rows, so it is asked only after an append failed.
CREATE OR REPLACE FUNCTION probe_append(p_data json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- The position is below all that are read, and another at each call: two that ask at once do not wait for each other.
    INSERT INTO events (position, stream_id, version, type, data, recorded_at)
    VALUES (-1 - floor(random() * 1e15)::bigint, gen_random_uuid(), 1, 'probe', p_data, clock_timestamp());
    RAISE EXCEPTION USING ERRCODE = 'UP001';
EXCEPTION
    WHEN SQLSTATE 'UP001' THEN
        NULL;
END
$$;
